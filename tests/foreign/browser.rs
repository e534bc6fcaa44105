//! The HTML page in a browser: it draws the right charts and numbers, and does nothing else.

use std::{fs, path::Path};

use exitlat_tests::synthetic::{GUESTS, INTERVALS, Synthetic, threads};
use serde_json::Value as Json;
use tracer_user::{
    decode::Isa,
    model::{GroupBy, Row, Rows, Store},
};

use crate::{PLAIN, SPLIT, directory, dump, export, python};

/// A recording with parts, without the incident.
const CALM: Synthetic = Synthetic { split: true, incident: false };

/// The browser's report about a page.
struct Seen {
    views: Vec<(String, Json)>,
}

impl Seen {
    fn of(page: &Path) -> Self {
        let text = fs::read_to_string(page).unwrap();
        assert!(!text.contains("http:") && !text.contains("https:"), "the page names an address");
        let dir = page.parent().unwrap();
        let seen: Json = serde_json::from_str(&python("browser.py", &[page, dir])).unwrap();
        assert_eq!(seen["complaints"], Json::Array(Vec::new()), "the browser complains");
        let Json::Object(views) = &seen["views"] else { panic!("{seen}") };
        let views: Vec<(String, Json)> =
            views.iter().map(|(name, view)| (name.clone(), view.clone())).collect();
        assert_eq!(views.len(), 4);
        let seen = Self { views };
        seen.check_what_every_page_has(dir);
        seen
    }

    fn check_what_every_page_has(&self, dir: &Path) {
        let mut papers = Vec::new();
        for (name, view) in &self.views {
            assert_eq!(view["overflow"], 0, "{name} is wider than the window");
            assert_eq!(view["faint"], Json::Array(Vec::new()), "{name} has words that are hard to read");
            assert_eq!((&view["scripts"], &view["handlers"]), (&Json::from(0), &Json::from(0)), "{name}");
            for chart in ["heat", "curves"] {
                let chart = &view[chart];
                let least = if name.starts_with("1280") { 900.0 } else { 250.0 };
                assert!(chart["width"].as_f64().unwrap() > least, "{name} {chart}");
                assert!(chart["height"].as_f64().unwrap() >= 250.0, "{name} {chart}");
                let named = chart["named"].as_array().unwrap();
                assert!(named.len() == 2 && named.iter().all(|text| text.as_str().unwrap().len() > 10));
            }
            for bar in view["bars"].as_array().unwrap() {
                let (width, filled) = (bar["width"].as_f64().unwrap(), bar["filled"].as_f64().unwrap());
                assert!((width - filled).abs() < 2.0 && width > 100.0, "{name} {bar}");
            }
            papers.push((name.ends_with("dark"), view["paper"].as_str().unwrap()));
            assert!(fs::metadata(dir.join(format!("{name}.png"))).unwrap().len() > 10_000, "{name}");
        }
        papers.sort_unstable();
        papers.dedup();
        assert_eq!(papers.len(), 2, "light and dark have a paper each: {papers:?}");
    }

    fn wide(&self) -> &Json {
        &self.views.iter().find(|(name, _)| name == "1280-light").unwrap().1
    }
}

/// The rows of a recording, those with the most time first.
fn rows(what: Synthetic) -> Vec<Row> {
    let mut store = Store::default();
    what.intervals().iter().for_each(|interval| store.add(interval.with(&threads())));
    let mut all = Rows::new(GroupBy::REASON);
    all.of_store(&store);
    let mut rows: Vec<Row> = all.exits().cloned().collect();
    rows.sort_by_key(|row| (row.idle, std::cmp::Reverse(row.stats.sum_ns)));
    rows
}

fn digits(text: &Json) -> u64 {
    text.as_str().unwrap().chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// Charts, rows and losses of one recording hold its numbers.
#[test]
fn a_page_shows_the_numbers() {
    let dir = directory("html");
    let (dump, page) = (dump(&dir, "dump", SPLIT), dir.join("page.html"));
    export(&dump, &page, &[]);
    let seen = Seen::of(&page);
    let view = seen.wide();
    let rows = rows(SPLIT);
    let handled: u64 = rows.iter().map(|row| row.stats.count).sum();
    assert_eq!(digits(&view["exits"]), handled);
    assert_eq!(view["heat"]["exits"], handled, "cells of the heat map");
    assert!(view["heat"]["cells"].as_u64().unwrap() > INTERVALS * 10);
    assert_eq!((&view["curves"]["curves"], &view["heat_before"]), (&Json::from(6), &Json::Null));
    let shown: Vec<(String, u64)> = view["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row[0].as_str().unwrap().lines().next().unwrap().to_owned(), digits(&row[1])))
        .collect();
    let expected: Vec<_> = rows.iter().map(|row| (row.reason_label(), row.stats.count)).collect();
    assert_eq!(shown, expected);
    assert_eq!(digits(&view["lost"]), 3);
    assert_eq!(view["losses"], serde_json::json!(["unpaired exits", "early entries"]));
    // Guest names are shown as text, even if they look like markup.
    let vms = view["vms"].as_array().unwrap();
    assert_eq!((vms.len(), view["bars"].as_array().unwrap().len()), (GUESTS.len(), 2 * GUESTS.len()));
    assert!(vms.iter().any(|vm| vm == "<img src=x onerror=alert(1)>\"'&\\u{202e}[4102]"), "{vms:?}");
    assert!(view["headings"].as_array().unwrap().iter().any(|text| text == "Below the reasons"));
}

/// With a base, there are two maps on one scale, twice the curves, and changes.
#[test]
fn a_page_shows_before_and_after() {
    let dir = directory("html-diff");
    let (before, page) = (dump(&dir, "before", CALM), dir.join("page.html"));
    export(&dump(&dir, "after", SPLIT), &page, &["--diff-base", before.to_str().unwrap()]);
    let seen = Seen::of(&page);
    let view = seen.wide();
    let count = |what| rows(what).iter().map(|row| row.stats.count).sum::<u64>();
    assert_eq!(
        (&view["heat"]["exits"], &view["heat_before"]["exits"]),
        (&count(SPLIT).into(), &count(CALM).into())
    );
    assert_eq!(view["curves"]["curves"], 12);
    assert_eq!(view["bars"].as_array().unwrap().len(), 4 * GUESTS.len());
    let (now, before) = (rows(SPLIT), rows(CALM));
    let of = |rows: &[Row]| {
        let io = rows.iter().find(|row| row.reason == Some((Isa::SVM, 0x7b))).unwrap();
        io.stats.quantile_ns(0.99).unwrap() as f64
    };
    let change = format!("{:+.1}", 100.0 * (of(&now) / of(&before) - 1.0));
    let io = view["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row[0].as_str().unwrap().starts_with("io"))
        .unwrap();
    assert!(io[7].as_str().unwrap().contains(&change), "{io}: {change}");
    let calm = view["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row[0].as_str().unwrap().starts_with("cpuid"))
        .unwrap();
    assert!(calm[7].as_str().unwrap().ends_with('\u{2248}'), "{calm}");
}

/// A page of a recording without parts says so, and has none of the anonymized names.
#[test]
fn a_page_has_no_names() {
    let dir = directory("html-names");
    let (dump, page) = (dump(&dir, "dump", PLAIN), dir.join("page.html"));
    export(&dump, &page, &["--by", "vm,reason", "--names", "hash", "--diff-base", dump.to_str().unwrap()]);
    let seen = Seen::of(&page);
    let view = seen.wide();
    let handled: u64 = rows(PLAIN).iter().filter(|row| !row.idle).map(|row| row.stats.count).sum();
    assert_eq!((digits(&view["exits"]), &view["heat"]["exits"]), (handled, &Json::from(handled)));
    assert!(view["words"].as_str().unwrap().contains("has no time split"));
    assert_eq!(view["vms"], serde_json::json!([]));
    let text = fs::read_to_string(&page).unwrap();
    for name in ["web01", "onerror", "calc", "node-17", "secret", "virsh"] {
        assert!(!text.contains(name), "{name} is still there");
    }
}
