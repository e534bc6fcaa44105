//! The command line, as its users meet it: no root, no KVM needed.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use exitlat_tests::program::{self, text};
use tracer_user::{
    model::{Interval, Threads, losses::LOSSES},
    recording::Writer,
};

/// The program. The test harness builds it beside itself.
pub fn exitlat(arguments: &str) -> Command {
    let mut command = program::exitlat();
    command.args(arguments.split_whitespace());
    command
}

fn run(arguments: &str) -> (Option<i32>, String, String) {
    text(exitlat(arguments).output().unwrap())
}

#[test]
fn the_manual_has_every_loss() {
    let page = include_str!("../../docs/measurement.md");
    let (missing, notes) = page.split_once("<!-- table: notes -->").expect("the second of two tables");
    for info in &LOSSES {
        let row = format!("\n| {} (`{}`) | ", info.text, info.name);
        let count = |text: &str| text.matches(&row).count();
        assert_eq!(
            (count(missing), count(notes)),
            (info.missing.into(), (!info.missing).into()),
            "{}",
            info.name
        );
    }
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [
        "--no-such",
        "live -d nonsense",
        "live --by host",
        "live --by cpu",
        "report",
        "record -o",
        "record --max-files 3",
        "record --switch-output 5",
        "record --switch-output 1h -o -",
        "record --fsync sometimes",
        "frobnicate",
    ] {
        let (status, out, err) = run(arguments);
        assert_eq!((status, out.as_str()), (Some(2), ""), "{arguments}: {err}");
        assert!(!err.is_empty());
    }
}

/// A recording on standard input gives the same report in each format as its file, whose tables are in
/// `snapshots`.
#[test]
fn report_reads_standard_input() {
    let dump = include_bytes!("../fixtures/schema-1.exitlat");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/schema-1.exitlat");
    let report = |options: &str| {
        let mut child = exitlat(&format!("report - {options}"));
        let mut child =
            child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A report that ends early closes the pipe; what it printed is looked at below.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(dump)));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        let (status, out, err) = text(output);
        assert_eq!(status, Some(0), "{err}");
        assert_eq!(run(&format!("report {path} {options}")), (status, out.clone(), err));
        out
    };
    for options in ["", "--hist=^cpuid$", "--idle -k name"] {
        report(options);
    }
    let json: serde_json::Value = serde_json::from_str(&report("--format json")).unwrap();
    assert_eq!(json["schema"], "exitlat.table/1");
    let cpuid = json["rows"].as_array().unwrap().iter().find(|row| row["reason"] == "cpuid").unwrap();
    assert_eq!(cpuid["samples"], 2000);
    let csv = report("--format csv --by vcpu,reason");
    assert_eq!(csv.lines().filter(|line| line.contains(",cpuid,,,false,")).count(), 2, "{csv}");
    let (status, _, err) = text(exitlat("report tests/fixtures/none -g nobody").output().unwrap());
    assert_eq!(status, Some(1), "{err}");
}

#[test]
fn an_empty_dump_is_reported_as_empty() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let header = include_str!("../fixtures/lab-6.1-svm.exitlat").lines().next().unwrap();
    let header = serde_json::from_str(header).unwrap();
    let mut writer = Writer::new(file.reopen().unwrap(), header).unwrap();
    writer.interval(Interval { number: 1, ..Interval::default() }.with(&Threads::default())).unwrap();
    writer.end("elapsed").unwrap();
    let (status, out, err) = run(&format!("report {}", file.path().display()));
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert!(out.contains("No exits to show."), "{out}");
}

/// perf's own recording, by name, through a pipe, and as the dump that was made of it.
#[test]
fn a_recording_of_perfs_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (file, dump) = (dir.path().join("perf.data"), dir.path().join("dump"));
    let data = super::perfdata::unpacked(include_bytes!("../fixtures/perf-6.1-svm.data.zst"));
    std::fs::write(&file, &data).unwrap();
    let rows = |arguments: &str, stdin: Stdio| {
        let output = exitlat(arguments).args(["--format", "json"]).stdin(stdin).output().unwrap();
        let (status, out, err) = text(output);
        assert_eq!((status, err.as_str()), (Some(0), ""), "{arguments}");
        let table: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(table["samples"], 320, "{out}");
        table["rows"].clone()
    };
    let convert = format!("report {} --save {}", file.display(), dump.display());
    let named = rows(&convert, Stdio::null());
    assert_eq!(named, rows("report -", std::fs::File::open(&file).unwrap().into()));
    assert_eq!(named, rows(&format!("report {}", dump.display()), Stdio::null()));
    let (status, _, err) = run(&convert);
    assert_eq!(status, Some(2), "{err}");
}
