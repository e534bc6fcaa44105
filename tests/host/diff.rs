//! `exitlat diff`: noise is never reported, real changes are found, and rows that cannot be judged are named.

use exitlat_tests::noise::{DISTRIBUTIONS, Distribution, Effect, Load, record};
use fastrand::Rng;
use serde_json::Value;
use tracer_user::model::compare::{Comparison, Metric, Settings, Verdict, compare};

use crate::files::{Files, header, run};

const STEADY: Load = Load { intervals: 20, exits: 100.0, rate: 0.0, duration: 0.0, memory: 0.0 };
const FLUCTUATING: Load = Load { rate: 0.3, duration: 0.05, ..STEADY };
const NOTHING: Effect = Effect { tenth_ns: 0.0, longer: 0.0, more: 0.0, hollow: false };
const SLOW_TENTH: Effect = Effect { tenth_ns: 50_000.0, ..NOTHING };

fn pair(distributions: &[Distribution], load: Load, effect: Effect, seed: u64) -> Comparison {
    let mut rng = Rng::with_seed(seed);
    let base = record(distributions, load, NOTHING, &mut rng);
    let new = record(distributions, load, effect, &mut rng);
    compare(&base, &new, Settings::default(), &[])
}

/// Two recordings of the same workload, a hundred times for each kind of load: none fails.
#[test]
fn chance_alone_does_not_fail() {
    let single = Load { intervals: 1, exits: 2000.0, ..STEADY };
    let few = Load { intervals: 8, exits: 250.0, ..FLUCTUATING };
    for (name, load) in [("steady", STEADY), ("fluctuating", FLUCTUATING), ("few", few), ("single", single)] {
        let failed = (0..100).filter(|seed| pair(&DISTRIBUTIONS, load, NOTHING, *seed).failed()).count();
        assert_eq!(failed, 0, "of 100 pairs, {name}");
    }
}

/// 50 us more on every tenth of 2000 samples that take 10 to 30 us: the 99 % quantile moves, the median
/// hardly.
#[test]
fn a_slow_tenth_is_found() {
    let one = Load { intervals: 1, exits: 2100.0, ..STEADY };
    let tries = 20;
    for load in [STEADY, FLUCTUATING, one].map(|load| Load { exits: load.exits * 1.1, ..load }) {
        let found: Vec<_> =
            (0..tries).map(|seed| pair(&DISTRIBUTIONS[..1], load, SLOW_TENTH, seed)).collect();
        let by = |metric: Metric| {
            let regressed = |found: &&Comparison| found.rows[0].finding(metric).verdict == Verdict::Regressed;
            found.iter().filter(regressed).count()
        };
        assert_eq!(found.iter().filter(|found| found.failed()).count(), tries as usize, "{load:?}");
        assert!(
            by(Metric::quantile(0.99)) >= 18 && by(Metric::quantile(0.5)) <= 4,
            "{} {}",
            by(Metric::quantile(0.99)),
            by(Metric::quantile(0.5))
        );
    }
}

/// A gap opens in the distribution, but no printed quantile moves.
#[test]
fn a_change_of_shape_alone_is_seen() {
    let hollow = Effect { hollow: true, ..NOTHING };
    let found = pair(&DISTRIBUTIONS[1..2], Load { exits: 500.0, ..STEADY }, hollow, 1);
    let row = &found.rows[0];
    assert_eq!(row.finding(Metric::quantile(0.5)).verdict, Verdict::Same);
    assert_eq!(row.finding(Metric::quantile(0.99)).verdict, Verdict::Same);
    assert!(row.finding(Metric::Shape).verdict > Verdict::Same, "{row:?}");
}

#[test]
fn the_same_dump_is_the_same() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/lab-6.1-svm.exitlat");
    let (status, out, err) = run(&["diff", path, path]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("judged)\n") && out.contains("verdict: same"), "{out}");
    for word in ["intervals are too few", "p99.9", "95 % interval", "too few samples", "cpuid"] {
        assert!(out.contains(word), "{word} is not in\n{out}");
    }
}

/// A base and a slower dump, and the arguments to compare them.
fn slower(files: &Files, vm: &str) -> [String; 2] {
    let of = |effect, seed| (&DISTRIBUTIONS[..2], STEADY, effect, seed);
    let base = files.dump("base", header("one"), vm, of(NOTHING, 1));
    let new = files.dump("new", header("one"), vm, of(SLOW_TENTH, 2));
    [base, new]
}

#[test]
fn a_regression_is_status_3_in_every_format() {
    let files = Files::new();
    let [base, new] = slower(&files, "web");
    let (status, table, err) = run(&["diff", &base, &new]);
    assert_eq!((status, err.as_str()), (3, ""), "{table}");
    assert!(table.contains("\nregressed: "), "{table}");
    let (status, table, _) = run(&["diff", &new, &base]);
    assert!(status == 0 && table.contains("improved: "), "{table}");

    let (status, json, _) = run(&["diff", &base, &new, "--format", "json", "--by", "vm,vcpu,reason"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (status, json["schema"].as_str(), json["failed"].as_bool()),
        (3, Some("exitlat.diff/1"), Some(true))
    );
    let row = &json["rows"][0];
    assert_eq!(
        (row["vm"].as_str(), row["vcpu"].as_str(), row["verdict"].as_str()),
        (Some("web"), Some("0"), Some("regressed"))
    );
    let p99 = &row["metrics"]["p99_ns"];
    assert!(p99["base"].is_number() && p99["high"].as_f64() > p99["low"].as_f64(), "{p99}");

    let (status, xml, _) = run(&["diff", &base, &new, "--format", "junit"]);
    assert_eq!(status, 3);
    assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"12\""), "{xml}");
    assert!(xml.contains("<failure message=\"mean +") && xml.contains("name=\"p99.9\""), "{xml}");
}

#[test]
fn rules_decide_where_there_are_any() {
    let files = Files::new();
    let [base, new] = slower(&files, "web");
    let reason = |rule: &str| {
        format!("{rule},reason={}", tracer_user::decode::decode(tracer_user::decode::Isa::VMX, 1))
    };
    for (rules, expected, said) in [
        (vec!["p99:+10%".to_owned()], 3, "rule p99:+10%: fired: "),
        (vec!["p99:+500%".to_owned()], 0, "held in 2 rows"),
        (vec!["rate:+20%".to_owned()], 0, "verdict: held"),
        (vec!["mean:-1%".to_owned()], 0, "held in 2 rows"),
        (vec![reason("mean:+10%")], 3, "fired: "),
        (vec!["mean:+10%,reason=NO_SUCH".to_owned()], 2, "no row matches"),
        (vec!["mean:+500%".to_owned(), "p99:+1%".to_owned()], 3, "verdict: failed"),
        (vec!["p99:+1%,vm=web".to_owned()], 2, "verdict: a rule matches no row"),
        (vec!["p99:+1%,vm=nobody".to_owned(), "p99:+10%".to_owned()], 2, "verdict: failed"),
    ] {
        let mut arguments = vec!["diff", &base, &new];
        rules.iter().for_each(|rule| arguments.extend(["--fail-on", rule]));
        let (status, out, err) = run(&arguments);
        assert_eq!(status, expected, "{rules:?}\n{out}{err}");
        assert!(out.contains(said), "{rules:?}: {said} is not in\n{out}");
    }
    let (status, xml, _) = run(&["diff", &base, &new, "--format", "junit", "--fail-on", "p99:+10%"]);
    assert!(status == 3 && xml.contains("classname=\"exitlat.rule\" name=\"p99:+10%\""), "{xml}");
    let typo = ["diff", &base, &new, "--fail-on", "p99:+10%,reason=NO_SUCH"];
    let (_, _, err) = run(&typo);
    assert!(err.contains("p99:+10%,reason=NO_SUCH") && err.contains("CPUID, EXTERNAL_INTERRUPT"), "{err}");
    let (status, xml, _) = run(&[&typo[..], &["--format", "junit"]].concat());
    assert!(status == 2 && xml.contains("failures=\"1\"") && xml.contains("no row matches"), "{xml}");
    let (status, _, err) = run(&["diff", &base, &new, "--fail-on", "max:+10%"]);
    assert!(status == 2 && err.contains("p99.9"), "{err}");
}

#[test]
fn thresholds_are_heeded() {
    let files = Files::new();
    let [base, new] = slower(&files, "web");
    assert_eq!(run(&["diff", &base, &new, "--min-samples", "1000000"]).0, 0);
    assert_eq!(run(&["diff", &base, &new, "--min-change", "1000%"]).0, 0);
    assert_eq!(run(&["diff", &base, &new, "--judge", "rate"]).0, 0);
    assert_eq!(run(&["diff", &base, &new, "-f", "^NO_SUCH$"]).0, 0);
    assert_eq!(run(&["diff", &base, &new, "-g", "w*", "--vcpu", "0"]).0, 3);
    let (status, _, err) = run(&["diff", &base, &new, "-g", "nobody"]);
    assert!(status == 2 && err.contains("web"), "{err}");
}

/// New and vanished reasons are rows of their own.
#[test]
fn what_appears_is_a_regression_and_what_vanishes_is_not() {
    let files = Files::new();
    let of = |distributions, seed| (distributions, STEADY, NOTHING, seed);
    let base = files.dump("base", header("one"), "web", of(&DISTRIBUTIONS[..1], 1));
    let new = files.dump("new", header("one"), "web", of(&DISTRIBUTIONS[..2], 2));
    let (status, out, _) = run(&["diff", &base, &new]);
    assert!(status == 3 && out.contains(" (new)") && out.contains("rate from 0"), "{out}");
    let (status, out, _) = run(&["diff", &new, &base]);
    assert!(status == 0 && out.contains(" (vanished)") && out.contains("rate -100.0%"), "{out}");
}

#[test]
fn what_differs_beside_the_numbers_is_said_first() {
    let files = Files::new();
    let of = |seed| (&DISTRIBUTIONS[..1], STEADY, NOTHING, seed);
    let base = files.dump("base", header("one"), "web", of(1));
    let mut other = header("two");
    (other.kernel, other.options) = ("6.12.0".into(), vec!["record".into(), "-d".into(), "5".into()]);
    let new = files.dump("new", other.clone(), "web", of(2));
    let (status, out, _) = run(&["diff", &base, &new]);
    assert_eq!(status, 0);
    for note in [
        "note: host: base `one`, new `two`",
        "note: kernel: base `6.1.0`, new `6.12.0`",
        "note: options: base `record`, new `record -d 5`",
    ] {
        assert!(out.contains(note) && out.find(note) < out.find("95 %"), "{note} is not in\n{out}");
    }
    other.arch = "aarch64".into();
    let foreign = files.dump("foreign", other, "web", of(2));
    let (status, out, err) = run(&["diff", &base, &foreign]);
    assert_eq!(status, 1);
    assert!(
        err.contains("not comparable: architecture") && out.contains("verdict: not comparable"),
        "{out}{err}"
    );
    let lab = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/lab-6.1-svm.exitlat");
    let (status, out, err) = run(&["diff", &base, lab]);
    assert!(
        status == 1 && err.contains("VMX") && err.contains("SVM") && out.contains("cpuid (new)"),
        "{err}"
    );
}

/// A hostile guest name cannot control a terminal or break XML.
#[test]
fn names_of_guests_are_escaped() {
    let files = Files::new();
    let [base, new] = slower(&files, "\u{1b}[2J<&>\"'\n]]>\u{fffe}\u{202e}");
    let (_, table, _) = run(&["diff", &base, &new, "--by", "vm", "--color", "never"]);
    assert!(
        !table.contains('\u{1b}') && !table.contains('\u{202e}') && table.contains("\\u{1b}[2J"),
        "{table}"
    );
    let (_, xml, _) = run(&["diff", &base, &new, "--by", "vm", "--format", "junit"]);
    assert!(xml.contains("\\u{1b}[2J&lt;&amp;&gt;&quot;"), "{xml}");
    assert!(!xml.contains(['\u{1b}', '\u{fffe}', '\u{202e}']), "{xml}");
    let mut reader = quick_xml::Reader::from_str(&xml);
    reader.config_mut().check_end_names = true;
    while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
    let (_, json, _) = run(&["diff", &base, &new, "--by", "vm", "--format", "json"]);
    assert!(serde_json::from_str::<Value>(&json).is_ok());
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let files = Files::new();
    let [base, new] = slower(&files, "web");
    let whole = std::fs::read(&base).unwrap();
    let empty = files.file("empty", b"");
    let foreign = files.file("foreign", b"#!/bin/sh\n");
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle..middle + 40].fill(b'x');
    let damaged = files.file("damaged", &damaged);
    let newer = String::from_utf8(whole.clone()).unwrap().replacen("\"schema\":3", "\"schema\":99", 1);
    let newer = files.file("newer", newer.as_bytes());
    for bad in ["/no/such/dump", &empty, &foreign, &damaged, &newer] {
        for arguments in [["diff", &base, bad], ["diff", bad, &base]] {
            let (status, out, err) = run(&arguments);
            assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{bad}: {err}");
            assert!(err.contains(bad), "{err}");
        }
    }
    let torn = files.file("torn", &whole[..middle]);
    let (status, out, _) = run(&["diff", &torn, &new]);
    assert!(status != 1 && out.contains("note: base: line ") && out.contains("torn"), "{out}");
    let headed = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let headed = files.file("headed", &whole[..headed]);
    let (status, out, _) = run(&["diff", &headed, &headed]);
    assert!(status == 0 && out.contains("No exits to compare."), "{out}");
    assert_eq!(run(&["diff", "-", "-"]).0, 2);
}
