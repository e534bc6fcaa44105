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
fn help_has_examples_and_statuses() {
    let (status, out, _) = run("--help");
    assert_eq!(status, Some(0));
    for word in ["Examples:", "Exit status:", "record", "report", "check", "--by", "--hist"] {
        assert!(out.contains(word), "{word}");
    }
    for command in ["live", "record", "report", "export"] {
        assert!(run(&format!("{command} --help")).1.contains("Examples:"), "{command}");
    }
    assert_eq!(run("--version").0, Some(0));
}

#[test]
fn the_readme_has_every_loss() {
    let readme = include_str!("../../README.md");
    let (missing, notes) = readme.split_once("After a semicolon follows").expect("the second of two tables");
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

#[test]
fn a_missing_or_foreign_file_is_said_in_one_line() {
    let (status, _, err) = run("report /no/such/dump");
    assert_eq!((status, err.lines().count()), (Some(1), 1), "{err}");
    assert!(err.contains("/no/such/dump") && err.contains("No such file"), "{err}");
    let (status, _, err) = run("report /proc/self/status");
    assert_eq!((status, err.lines().count()), (Some(1), 1), "{err}");
    assert!(err.contains("not an exitlat recording"), "{err}");
}

/// A dump through standard input, in each format.
#[test]
fn report_reads_standard_input() {
    let dump = include_bytes!("../fixtures/lab-6.1-svm.exitlat");
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
        out
    };
    let table = report("");
    assert!(table.starts_with("recorded on lab (Linux 6.1"), "{table}");
    for word in ["VM-EXIT", "Samples%", "Avg time", "p99.9", "cpuid", "idle (not in Time%)", "Losses:"] {
        assert!(table.contains(word), "{word} is not in\n{table}");
    }
    let json: serde_json::Value = serde_json::from_str(&report("--format json")).unwrap();
    assert_eq!(json["schema"], "exitlat.table/1");
    let cpuid = json["rows"].as_array().unwrap().iter().find(|row| row["reason"] == "cpuid").unwrap();
    assert_eq!(cpuid["samples"], 2000);
    let csv = report("--format csv --by vcpu,reason");
    assert_eq!(csv.lines().filter(|line| line.contains(",cpuid,,,false,")).count(), 2, "{csv}");
    assert!(report("--hist=^cpuid$").contains("distribution"));
    assert!(report("--idle -k name").contains("hlt"));
    let (status, _, err) = text(exitlat("report tests/fixtures/none -g nobody").output().unwrap());
    assert_eq!(status, Some(1), "{err}");
}

#[test]
fn an_empty_dump_is_reported_as_empty() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let header = include_str!("../fixtures/lab-6.1-svm.exitlat").lines().next().unwrap();
    let header = serde_json::from_str(header).unwrap();
    let mut writer = Writer::new(file.reopen().unwrap(), header).unwrap();
    writer.interval(&Interval { number: 1, ..Interval::default() }, &Threads::default()).unwrap();
    writer.end("elapsed").unwrap();
    let (status, out, err) = run(&format!("report {}", file.path().display()));
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert!(out.contains("No exits to show."), "{out}");
}

#[test]
fn an_unknown_guest_names_those_in_the_dump() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/lab-6.1-svm.exitlat");
    let (status, _, err) = run(&format!("report {path} -g nobody"));
    assert_eq!(status, Some(2));
    assert!(err.contains("nobody") && err.contains("lab-0"), "{err}");
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
    std::fs::write(&file, &data[..data.len() / 2]).unwrap();
    let (status, _, err) = run(&format!("report {}", file.display()));
    assert_eq!((status, err.lines().count()), (Some(1), 1), "{err}");
    assert!(err.contains("the recording ends within"), "{err}");
}
