//! Each output that a user meets, held as a file that a person can read.
//!
//! A case is a command line (`cases.rs`). It runs in a directory of its own with the recordings that it names
//! (`input.rs`). Its output, made readable (`view.rs`), must be the one in `snapshots/GROUP/CASE.snap`.
//! `INSTA_UPDATE=always cargo test -p exitlat-tests --test host snapshots` writes these files.

use std::{collections::BTreeSet, fs, path::Path};

use exitlat_tests::program;

mod cases;
mod input;
mod view;

use view::View;

/// Where the snapshots are.
const SNAPSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/host/snapshots");

/// Runs `exitlat` with these arguments and compares the output with the snapshot.
fn check(group: &str, case: &str, view: View, arguments: &str) {
    let dir = tempfile::tempdir().unwrap();
    let words: Vec<_> = arguments.split_whitespace().collect();
    words.iter().for_each(|word| input::place(dir.path(), word));
    // The help is as wide as the terminal, and this wide where there is none.
    let mut command = program::exitlat();
    command.args(&words).current_dir(dir.path()).env("COLUMNS", "100");
    let (status, out, err) = program::text(command.output().unwrap());
    let mut text = view.show(&out, dir.path());
    if !err.is_empty() {
        text += &format!("\n[standard error]\n{err}");
    }
    if status != Some(0) {
        text += &format!("\n[exit status {}]\n", status.expect("no signal ends it"));
    }
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(Path::new(SNAPSHOTS).join(group));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(format!("exitlat {arguments}"));
    settings.bind(|| insta::assert_snapshot!(case, view::plain(&text)));
}

/// A snapshot without a case checks nothing, so there must be none.
#[test]
fn every_snapshot_has_its_case() {
    let file = |(group, case)| Path::new(SNAPSHOTS).join(group).join(format!("{case}.snap"));
    let cases: BTreeSet<_> = cases::ALL.iter().copied().map(file).collect();
    let entries = |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = entries(Path::new(SNAPSHOTS)).filter(|path| path.is_dir()).flat_map(|group| entries(&group));
    let stray: Vec<_> = files.filter(|file| !cases.contains(file)).collect();
    assert!(stray.is_empty(), "{stray:#?}");
}
