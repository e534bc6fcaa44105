//! Counts of KVM's that ours do not agree with, in the table and in JSON: of an interval and of all so far.

use exitlat_tests::synthetic::{Synthetic, threads};
use serde_json::{Value as Json, json};
use tracer_user::{
    model::{Disagreement, GroupBy, Rows, Store},
    render::{Printer, Span, View, json::JsonLines, table::Table},
};

fn of(pid: u32) -> Disagreement {
    let (vm, counter) = ("web\u{1b}[2J".into(), "exits");
    Disagreement { pid, vm, counter, ours: 270, kvm_low: 297, kvm_high: 303, lost: 1, slack: 2 }
}

/// The newest interval of two, and both, where the newest has these.
fn shown(all: &[Disagreement], printer: impl Fn(View) -> Box<dyn Printer>) -> [String; 2] {
    let mut threads = threads();
    let intervals = Synthetic { split: true, incident: false }.intervals();
    let (mut store, mut rows) = (Store::default(), Rows::new(GroupBy::REASON));
    // What was told before may have gone.
    threads.disagreements = vec![of(1)];
    store.add(intervals[0].with(&threads));
    threads.disagreements = all.to_vec();
    store.add(intervals[1].with(&threads));
    [Span::Interval, Span::Total].map(|span| {
        match span {
            Span::Interval => rows.of_interval(intervals[1].with(&threads)),
            Span::Total => rows.of_store(&store),
        }
        let mut out = Vec::new();
        printer(View::default()).print(&mut out, &rows, span).unwrap();
        String::from_utf8(out).unwrap()
    })
}

#[test]
fn disagreements_are_below_the_losses() {
    let line = "KVM's exits grew by 297 to 303 since the first reading, and exitlat counted 270; \
        1 are known to be lost";
    let all: Vec<_> = (10..25).map(of).collect();
    for text in shown(&all, |view| Box::new(Table::new(view))) {
        let (_, below) = text.split_once("\nLosses: ").unwrap();
        assert_eq!(below.matches(line).count(), 10, "{text}");
        assert!(below.contains("[10]: KVM's") && !below.contains("[20]: KVM's"), "{text}");
        assert!(below.contains("\nand 5 more VMs that KVM counts differently\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    for text in shown(&[], |view| Box::new(Table::new(view))) {
        assert!(!text.contains("KVM's"), "{text}");
    }
}

#[test]
fn json_has_all_of_them() {
    let json = |all: &[Disagreement]| {
        shown(all, |view| Box::new(JsonLines::new(view))).map(|text| {
            let block: Json = serde_json::from_str(&text).unwrap();
            block["disagreements"].clone()
        })
    };
    let expected = json!([{
        "vm": "web\u{1b}[2J", "pid": 10, "counter": "exits", "ours": 270, "kvm_low": 297, "kvm_high": 303,
        "lost": 1, "slack": 2,
    }]);
    assert_eq!(json(&[of(10)]), [expected.clone(), expected]);
    assert_eq!(json(&[]), [Json::Null, Json::Null]);
}
