//! The page in a browser.

use std::{fs, path::Path};

use exitlat_tests::synthetic::{Synthetic, header, roster};
use tracer_user::{
    model::{By, Selection},
    render::export::{
        Export as _,
        html::{Data, Html},
    },
};

use crate::{directory, python};

fn data(what: Synthetic) -> Data {
    let mut data = Data::new(header(), By::REASON);
    for interval in what.intervals() {
        data.add(&interval, &roster(), &Selection::default());
    }
    data
}

/// A page of recordings that know parts.
fn page(path: &Path, base: Option<Synthetic>) {
    let what = Synthetic { split: true, incident: true };
    let mut out = Vec::new();
    Html::new(data(what), base.map(data)).finish(&mut out).unwrap();
    fs::write(path, out).unwrap();
}

#[test]
fn look() {
    let dir = directory("html");
    page(&dir.join("page.html"), None);
    let out = python("browser.py", &[&dir.join("page.html"), &dir]);
    fs::write(dir.join("seen.json"), out).unwrap();
    let dir = directory("html-diff");
    page(&dir.join("page.html"), Some(Synthetic { split: true, incident: false }));
    let out = python("browser.py", &[&dir.join("page.html"), &dir]);
    fs::write(dir.join("seen.json"), out).unwrap();
}
