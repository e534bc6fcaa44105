//! What `report` and `diff` show and how they end: names, shares, what is open, readers that go away.

use std::{io, process::Stdio};

use exitlat_tests::{
    noise::{DISTRIBUTIONS, Effect, Load},
    program,
    synthetic::Synthetic,
};
use serde_json::Value;
use tracer_user::{
    model::provenance::Header,
    model::{ClockChange, Interval},
    recording::{Reader, Writer},
};

use crate::files::{Files, header, run};

const LOAD: Load = Load { intervals: 20, exits: 2000.0, rate: 0.05, duration: 0.0, memory: 0.0 };

/// Made-up recordings with everything in them, open exits too.
const SPLIT: Synthetic = Synthetic { split: true, incident: false };

fn dump(files: &Files, name: &str, header: Header, vm: &str, effect: Effect) -> String {
    files.dump(name, header, vm, (&DISTRIBUTIONS[..2], LOAD, effect, 3))
}

fn json(arguments: &[&str]) -> Value {
    let (status, out, err) = run(&[arguments, &["--format", "json"]].concat());
    assert_eq!(status, 0, "{err}");
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

/// The status when nobody reads the output.
fn unread(arguments: &[&str]) -> Option<i32> {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = program::exitlat();
    command.args(arguments).stdout(writer).stderr(Stdio::null()).status().unwrap().code()
}

/// A reader that closes the pipe early changes neither the exit status nor the saved recording.
#[test]
fn a_reader_that_goes_changes_no_verdict_and_no_dump() {
    let files = Files::new();
    let slow = Effect { tenth_ns: 50_000.0, ..Effect::default() };
    let base = dump(&files, "base", header("one"), "web", Effect::default());
    let new = dump(&files, "new", header("one"), "web", slow);
    assert_eq!(run(&["diff", &base, &new]).0, 3);
    assert_eq!(unread(&["diff", &base, &new]), Some(3));
    assert_eq!(unread(&["report", &base]), Some(0));
    let copy = files.path("copy").to_str().unwrap().to_owned();
    assert_eq!(unread(&["report", &base, "--intervals", "--save", &copy]), Some(0));
    assert_eq!(json(&["report", &copy])["samples"], json(&["report", &base])["samples"]);
}

/// Three times as fast is an improvement, by every metric: the distribution's too, which moved by 200 %.
#[test]
fn much_faster_is_improved_and_not_just_changed() {
    let files = Files::new();
    let base = dump(&files, "base", header("one"), "web", Effect::default());
    let new = dump(&files, "new", header("one"), "web", Effect { longer: -2.0 / 3.0, ..Effect::default() });
    let (status, out, _) = run(&["diff", &base, &new]);
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("verdict: improved") && !out.contains("changed"), "{out}");
    let (status, out, _) = run(&["diff", &new, &base]);
    assert!(status == 3 && !out.contains("changed"), "{out}");
}

/// A single burst does not tell how the row fluctuates.
#[test]
fn a_single_burst_is_not_judged() {
    let files = Files::new();
    let burst = |name: &str, effect: Effect| {
        let whole = dump(&files, "whole", header("one"), "web", effect);
        files.rewritten(name, &whole, |interval| {
            let once = interval.number == 8;
            let first = interval.cells.first().map(|cell| cell.code);
            interval.cells.retain(|cell| once || Some(cell.code) != first);
        })
    };
    let (base, new) =
        (burst("base", Effect::default()), burst("new", Effect { longer: 0.2, ..Effect::default() }));
    let (_, out, _) = run(&["diff", &base, &new, "--format", "json", "--judge", "mean,p50,shape"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let verdicts =
        |row: &Value| ["mean_ns", "p50_ns", "shape"].map(|metric| row["metrics"][metric]["verdict"].clone());
    let rows = report["rows"].as_array().unwrap();
    let mut found: Vec<_> = rows.iter().map(verdicts).collect();
    found.sort_by_key(|verdicts| verdicts[0].to_string());
    assert_eq!(found, [["not judged"; 3], ["regressed"; 3]], "{out}");
}

/// Another VM may get the same pid later: after a reboot, or in a recording of days.
#[test]
fn a_pid_that_comes_back_is_another_vm() {
    let files = Files::new();
    let first = dump(&files, "first", header("one"), "web", Effect::default());
    let later = Header { start_unix_ms: 1, ..header("one") };
    let later = dump(&files, "later", later, "db", Effect::default());
    let all = files.merged("all", &[&first, &later]);
    let total = json(&["report", &all, "--by", "vm"]);
    let samples = |report: &Value, vm: &str| {
        let row = report["rows"].as_array().unwrap().iter().find(|row| row["vm"] == vm).unwrap();
        row["samples"].as_u64().unwrap()
    };
    assert_eq!(total["rows"].as_array().unwrap().len(), 2, "{total}");
    for (dump, vm) in [(&first, "web"), (&later, "db")] {
        assert_eq!(samples(&total, vm), samples(&json(&["report", dump, "--by", "vm"]), vm), "{vm}");
    }
    let (_, metrics, _) = run(&["export", &all, "--format", "openmetrics", "--by", "vm"]);
    assert_eq!(metrics.matches("exitlat_exits_total{").count(), 2, "{metrics}");
}

/// A pid that is cut off would be another pid.
#[test]
fn names_and_pids_are_never_cut_where_the_time_went() {
    let dump = String::from_utf8(SPLIT.dump()).unwrap();
    let name = "instance-0000abcd-of-a-tenant-with-long-names";
    let old = dump.split("\"vm\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let files = Files::new();
    let renamed = dump.replace(&format!("\"vm\":\"{old}\""), &format!("\"vm\":\"{name}\""));
    let file = files.file("long", renamed.as_bytes());
    let (status, out, err) = run(&["report", &file]);
    assert_eq!(status, 0, "{err}");
    let times = out.split("Of the vCPUs' wall time").nth(1).unwrap();
    assert!(times.lines().any(|line| line.starts_with(&format!("{name}["))), "{out}");
}

/// Each host's recording has its own end, and its own open exits there.
#[test]
fn open_exits_of_all_hosts_are_in_the_total() {
    let files = Files::new();
    let dumps = ["one", "two"].map(|host| {
        let bytes = SPLIT.dump();
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        let mut writer = Writer::new(Vec::new(), header(host)).unwrap();
        let mut interval = Interval::default();
        while reader.next_interval(&mut interval).unwrap() {
            writer.interval(interval.with(reader.threads())).unwrap();
        }
        files.file(host, &writer.end("elapsed").unwrap())
    });
    let all = files.merged("all", &[&dumps[0], &dumps[1]]);
    let open = |dump: &str, more: &[&str]| {
        json(&[&["report", dump], more].concat())["in_flight"].as_array().unwrap().clone()
    };
    let each = open(&dumps[0], &[]).len();
    assert!(each > 0);
    let both = open(&all, &[]);
    assert_eq!(both.len(), 2 * each);
    assert_eq!(both.iter().filter(|exit| exit["host"] == "two").count(), each);
    // Filters hold for open exits too.
    assert_eq!(open(&all, &["-f", "^nosuch$"]).len(), 0);
    let (_, out, _) = run(&["report", &all, "-f", "^nosuch$"]);
    assert!(out.contains("No exits to show.") && !out.contains("in flight"), "{out}");
    let (_, csv, _) = run(&["export", &all, "--format", "csv", "-f", "^nosuch$"]);
    assert!(!csv.contains(",open,"), "{csv}");
    assert_eq!(run(&["report", &all, "--by", "part", "-f", "hlt"]).0, 2);
}

/// A host on which no guest ran is in a merged dump, too.
#[test]
fn a_quiet_host_can_be_chosen() {
    let files = Files::new();
    let busy = dump(&files, "busy", header("busy"), "web", Effect::default());
    let mut writer = Writer::new(Vec::new(), header("quiet")).unwrap();
    writer
        .interval(Interval { number: 1, end_ns: 5, ..Interval::default() }.with(&Default::default()))
        .unwrap();
    let quiet = files.file("quiet", &writer.end("elapsed").unwrap());
    let all = files.merged("all", &[&busy, &quiet]);
    assert_eq!(json(&["report", &all, "--host", "quiet"])["samples"], 0);
    let (status, _, err) = run(&["report", &all, "--host", "other"]);
    assert!(status == 2 && err.contains("it has: busy, quiet"), "{err}");
}

/// With idle time among the samples a share means the same in every format.
#[test]
fn shares_with_idle_time_are_the_same_everywhere() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/schema-1.exitlat");
    let shares = |more: &[&str]| {
        let report = json(&[&["report", path], more].concat());
        let rows = report["rows"].as_array().unwrap().iter();
        rows.map(|row| (row["reason"].as_str().unwrap().to_owned(), row["time_share"].clone()))
            .collect::<Vec<_>>()
    };
    assert!(shares(&[]).iter().any(|(_, share)| share.is_null()), "idle time has no share");
    let with_idle = shares(&["--idle"]);
    let sum: f64 = with_idle.iter().map(|(_, share)| share.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{with_idle:?}");
    let (_, table, _) = run(&["report", path, "--idle"]);
    let (_, csv, _) = run(&["report", path, "--idle", "--format", "csv"]);
    for (reason, share) in &with_idle {
        let share = share.as_f64().unwrap();
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(reason)).unwrap();
        assert!(line.contains(&format!("{:.2}%", 100.0 * share)), "{line}");
        assert!(csv.contains(&format!("{share:.6}")), "{reason} {share}: {csv}");
    }
}

/// The cells of a row of the page's table.
fn cells<'a>(page: &'a str, label: &str) -> Vec<&'a str> {
    let table = page.split("<table class=\"rows-table\"").nth(1).unwrap().split("</table>").next().unwrap();
    let row =
        table.split("<tr>").find(|row| row.contains(label)).unwrap_or_else(|| panic!("no {label}: {table}"));
    row.split("<td").skip(1).map(|cell| cell.split('>').nth(1).unwrap().split('<').next().unwrap()).collect()
}

/// A host's exits per second are of its own seconds, not of those of all hosts.
#[test]
fn rates_on_the_page_are_those_of_a_host() {
    let files = Files::new();
    let dumps = ["one", "three"].map(|host| dump(&files, host, header(host), "web", Effect::default()));
    let all = files.merged("all", &[&dumps[0], &dumps[1]]);
    let page = |dump: &str, by: &str| run(&["export", dump, "--format", "html", "--by", by]).1;
    let (alone, both) = (page(&dumps[0], "reason"), page(&all, "host,reason"));
    let reason = json(&["report", &dumps[0]])["rows"][0]["reason"].as_str().unwrap().to_owned();
    assert_eq!(cells(&both, &format!("one \u{b7} {reason}"))[..2], cells(&alone, &reason)[..2]);
}

/// The machine was suspended in the middle: later intervals keep their time, and the page explains the gap.
#[test]
fn a_page_knows_that_the_machine_was_suspended() {
    const HOURS: u64 = 8 * 3_600_000;
    let files = Files::new();
    let awake = dump(&files, "awake", header("one"), "web", Effect::default());
    let mut last_ms = 0;
    let file = files.rewritten("slept", &awake, |interval| {
        if interval.number >= 11 {
            interval.end_unix_ms += HOURS;
        }
        if interval.number == 11 {
            interval.clock = Some(ClockChange { suspended_ms: HOURS, stepped_ms: 0 });
        }
        last_ms = interval.end_unix_ms;
    });
    let (_, page, _) = run(&["export", &file, "--format", "html"]);
    assert!(page.contains("the machine was suspended for 28800.0 s"));
    let seconds = last_ms / 1000 % 86_400 - 1;
    let last = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    assert!(page.contains(&format!("<th scope=\"row\">{last}</th>")), "{last} is no column");
}
