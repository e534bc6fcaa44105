//! Exports: their contents, and the use of the command.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use exitlat_tests::{
    program::{exitlat, text},
    synthetic::{GUESTS, INTERVALS, Synthetic, header, threads},
};
use serde_json::Value as Json;
use tracer_user::{
    export::{
        Export,
        hlog::Hlog,
        long::{Form, Long},
        openmetrics::{self, OpenMetrics},
    },
    model::{GroupBy, Interval, Rows},
};

const SPLIT: Synthetic = Synthetic { split: true, incident: false };
const PLAIN: Synthetic = Synthetic { split: false, incident: false };

fn by(text: &str) -> GroupBy {
    text.parse().unwrap()
}

fn open_metrics() -> OpenMetrics {
    OpenMetrics::new(header(), Rows::new(by("vm,reason")), openmetrics::Form::OpenMetrics)
}

/// The text of intervals in one format.
fn render(mut export: impl Export, intervals: &[Interval]) -> String {
    let mut out = Vec::new();
    for interval in intervals {
        export.interval(&mut out, interval.with(&threads())).unwrap();
    }
    export.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn objects(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A dump in a directory of its own.
fn dump(what: Synthetic) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump");
    fs::write(&path, what.dump()).unwrap();
    (dir, path)
}

fn export(dump: &Path, options: &str) -> (Option<i32>, String, String) {
    text(exitlat().arg("export").arg(dump).args(options.split_whitespace()).output().unwrap())
}

/// The long form has the exits once, the causes beside them, the parts, and the time of vCPUs.
#[test]
fn the_long_form_tells_exits_from_causes() {
    let intervals = SPLIT.intervals();
    let lines = objects(&render(Long::new(header(), Rows::new(by("vcpu,reason")), Form::Json), &intervals));
    assert_eq!((&lines[0]["kind"], &lines[0]["host"]), (&"header".into(), &"node-17".into()));
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in &lines[1..] {
        let (count, sum) = kinds.entry(line["kind"].as_str().unwrap()).or_default();
        *count += line["count"].as_u64().unwrap();
        *sum += line["sum_ns"].as_u64().unwrap_or(0);
    }
    assert_eq!(
        kinds.keys().copied().collect::<Vec<_>>(),
        ["exit", "guest", "loss", "open", "user_exit", "vcpu", "whole"]
    );
    let cells = |wanted: fn(u64) -> bool| {
        let cells = intervals.iter().flat_map(|interval| &interval.cells);
        cells
            .filter(|cell| wanted(cell.subkey >> 56))
            .fold((0, 0), |(n, ns), cell| (n + cell.count, ns + cell.sum_ns))
    };
    assert_eq!(kinds["exit"], cells(|kind| kind < 2));
    assert_eq!(kinds["whole"], cells(|kind| kind == 2));
    assert_eq!(kinds["guest"], cells(|kind| kind == 3));
    assert_eq!(kinds["user_exit"], cells(|kind| kind == 4));
    for line in lines[1..].iter().filter(|line| line["kind"] == "exit" || line["kind"] == "vcpu") {
        let parts = ["kernel", "poll", "halt", "blocked", "runqueue", "user", "user_blocked", "stopped"];
        let parts: u64 = parts.iter().map(|part| line[format!("{part}_ns")].as_u64().unwrap()).sum();
        // Idle time is a part of an exit, and not of its handled time.
        let idle = if line["kind"] == "exit" { line["halt_ns"].as_u64().unwrap() } else { 0 };
        let whole = line["sum_ns"].as_u64().unwrap() + idle - line["guest_ns"].as_u64().unwrap_or(0);
        let lost = if line["kind"] == "vcpu" && line["interval"] == 12 { 2_000_000 } else { 0 };
        assert_eq!(parts, whole - lost, "{line}");
    }
    let user = lines.iter().find(|line| line["kind"] == "user_exit" && line["reason"] == "io").unwrap();
    assert_eq!((&user["detail"], &user["kernel_ns"]), (&"KVM_EXIT_IO".into(), &Json::Null));
}

/// A recording exports like intervals that were never written: parts, causes, times of vCPUs.
#[test]
fn a_dump_loses_nothing() {
    let (_dir, dump) = dump(SPLIT);
    for (format, form) in [("json", Form::Json), ("csv", Form::Csv)] {
        let (status, exported, err) = export(&dump, &format!("--format {format}"));
        assert_eq!((status, err.as_str()), (Some(0), ""));
        let direct = render(Long::new(header(), Rows::new(by("vcpu,reason")), form), &SPLIT.intervals());
        let (exported, direct): (Vec<_>, Vec<_>) = (exported.lines().collect(), direct.lines().collect());
        assert_eq!(exported.len(), direct.len());
        // The first line is the header, which knows the parts in the dump only.
        for (exported, direct) in exported.iter().zip(&direct).skip(1) {
            assert_eq!(exported, direct);
        }
    }
}

/// Parts that were not measured are empty, not zero: zero would be a measurement.
#[test]
fn what_was_not_measured_is_empty() {
    let lines =
        objects(&render(Long::new(header(), Rows::new(by("reason")), Form::Json), &PLAIN.intervals()[..1]));
    let exits: Vec<_> = lines.iter().filter(|line| line["kind"] == "exit").collect();
    assert_eq!(exits.len(), 8);
    assert!(exits.iter().all(|line| line["kernel_ns"].is_null() && line["vm"].is_null()));
    assert_eq!(exits.iter().filter(|line| line["idle"] == true).count(), 1);
    let csv = render(Long::new(header(), Rows::new(by("vcpu,reason")), Form::Csv), &PLAIN.intervals()[..1]);
    assert!(csv.lines().next().unwrap().contains("runqueue_ns,user_ns,user_blocked_ns,stopped_ns,vm_fd"));
    assert!(csv.contains("\"'=cmd|' /C calc'!A1, \"\"x\"\"\\r\\n# EOF\\\""), "the name of the third guest");
}

/// Times of vCPUs and parts are counters, and add up to the time that passed.
#[test]
fn metrics_have_the_parts() {
    let metrics = render(open_metrics(), &SPLIT.intervals());
    let sum = |start: &str| -> f64 {
        let lines = metrics.lines().filter(|line| line.starts_with(start));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    let elapsed = 1.0003 * INTERVALS as f64;
    assert!((sum("exitlat_vcpu_seconds_total") - (4.0 * elapsed - 4.0 * 0.002)).abs() < 1e-6);
    let idle =
        metrics.lines().filter(|line| line.starts_with("exitlat_exit_part") && line.contains("\"halt\""));
    let idle: f64 = idle.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert!(idle > 1.0);
    let parts = sum("exitlat_exit_part_seconds_total") - idle;
    assert!((parts - sum("exitlat_exit_duration_seconds_sum")).abs() < 1e-6);
    assert!((sum("exitlat_elapsed_seconds ") - elapsed).abs() < 1e-6);
    assert!(metrics.contains("exitlat_losses_total{cause=\"unpaired_exits\",missing=\"true\"} 3\n"));
    assert!(
        metrics.contains("vm=\"=cmd|' /C calc'!A1, \\\"x\\\"\\\\r\\\\n# EOF\\\\\""),
        "the name of the third guest"
    );
    assert!(metrics.ends_with("# EOF\n"));
}

/// The open exits are those at the end of each host's recording.
#[test]
fn open_exits_are_those_at_each_hosts_end() {
    let all = SPLIT.intervals();
    let open: Vec<_> = all.iter().filter(|interval| !interval.open.is_empty()).cloned().collect();
    let (one, count) = (open[0].clone(), open[0].open.len());
    let in_flight = |hosts: [&str; 2]| {
        let intervals = hosts.map(|host| Interval { host: Some(host.to_owned()), ..one.clone() });
        let metrics = render(open_metrics(), &intervals);
        let line = metrics.lines().find(|line| line.starts_with("exitlat_in_flight ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!((in_flight(["a", "a"]), in_flight(["a", "b"])), (count, 2 * count));
}

/// The crate's own reader reads the interval log back, tag by tag.
#[test]
fn the_interval_log_is_read_back() {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let log = render(Hlog::new(header(), Rows::new(by("vm,reason"))), &PLAIN.intervals());
    assert!(log.starts_with("#[Histogram log format version 1.3]\n"), "{}", &log[..80]);
    assert!(
        log.contains("\n#[StartTime: 1795252500.000 (seconds since epoch)]\n#[BaseTime: 1795252500.000 (")
    );
    let without_legend: String =
        log.lines().filter(|line| !line.starts_with('"')).map(|line| format!("{line}\n")).collect();
    let entries: Vec<_> = IntervalLogIterator::new(without_legend.as_bytes()).map(Result::unwrap).collect();
    let intervals = entries.iter().filter_map(|entry| match entry {
        LogEntry::Interval(interval) => Some(interval),
        _ => None,
    });
    let (tagged, totals): (Vec<_>, Vec<_>) = intervals.partition(|interval| interval.tag().is_some());
    assert_eq!(totals.len() as u64, INTERVALS);
    assert!((totals[29].start_timestamp().as_secs_f64() - 29.0 * 1.0003).abs() < 0.001);
    assert!(tagged.iter().any(|interval| interval.tag().unwrap().as_str() == "web01[4101]/cpuid"));
}

#[test]
fn the_ending_says_the_format_and_files_are_not_overwritten() {
    let (dir, dump) = dump(PLAIN);
    let out = dir.path().join("page.html");
    let to = format!("-o {}", out.display());
    assert_eq!(export(&dump, &to), (Some(0), String::new(), String::new()));
    assert!(fs::read_to_string(&out).unwrap().starts_with("<!DOCTYPE html>"));
    let (status, _, err) = export(&dump, &to);
    assert_eq!(status, Some(2));
    assert!(err.contains("--force"), "{err}");
    assert_eq!(export(&dump, &format!("{to} --force --format csv")).0, Some(0));
    assert!(fs::read_to_string(&out).unwrap().starts_with("interval,start_ns"));
    for (options, word) in [
        ("", "which format"),
        ("-o x.pdf", "which format"),
        ("--format csv --diff-base x", "html"),
        ("--format csv --names none --names-key x", "hash"),
        ("--format csv -g nobody", "web01"),
        ("--format csv --by part", "columns"),
    ] {
        let (status, _, err) = export(&dump, options);
        assert_eq!(status, Some(2), "{options}: {err}");
        assert!(err.contains(word), "{options}: {err}");
    }
}

#[test]
fn percentile_tables_go_to_a_directory_or_one_by_one() {
    let (dir, dump) = dump(PLAIN);
    let (status, out, err) = export(&dump, "--format hgrm");
    assert_eq!((status, out.as_str()), (Some(2), ""));
    assert!(err.contains("cpuid") && err.contains("-f"), "{err}");
    let (status, table, _) = export(&dump, "--format hgrm -f ^cpuid$");
    assert_eq!(status, Some(0));
    assert!(table.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"), "{table}");
    let tables = dir.path().join("tables");
    assert_eq!(export(&dump, &format!("--format hgrm --by vm,reason -o {}/", tables.display())).0, Some(0));
    let mut names: Vec<_> = fs::read_dir(&tables)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert!(names.contains(&"web01[4101]_cpuid.hgrm".to_owned()), "{names:?}");
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-[]%.".contains(c);
    assert!(names.iter().all(|name| !name.starts_with('.') && name.chars().all(harmless)), "{names:?}");
    assert_eq!(
        fs::read_to_string(tables.join("web01[4101]_cpuid.hgrm")).unwrap().lines().last().unwrap().len(),
        56
    );
}

/// No format has an anonymized name: of a guest, of the host, or in the command line.
#[test]
fn names_go_where_they_are_to_go() {
    let (dir, dump) = dump(PLAIN);
    let key = dir.path().join("key");
    fs::write(&key, "0123456789abcdef\n").unwrap();
    let secrets = ["web01", "onerror", "calc", "node-17", "secret", "virsh", "/home"];
    let hash = format!("--names hash --names-key {}", key.display());
    for names in ["--names none", hash.as_str()] {
        for format in ["hlog", "csv", "json", "prometheus", "openmetrics", "html"] {
            let (status, out, err) = export(&dump, &format!("--format {format} --by vm,reason {names}"));
            assert_eq!((status, err.as_str()), (Some(0), ""), "{format}");
            let leaked: Vec<_> = secrets.iter().filter(|name| out.contains(**name)).collect();
            assert!(leaked.is_empty(), "{format} {names}: {leaked:?}");
            // Without the option, the names are there.
            assert!(
                export(&dump, &format!("--format {format} --by vm,reason")).1.contains("web01"),
                "{format}"
            );
        }
    }
    // printf vm:web01 | openssl dgst -sha256 -hmac 0123456789abcdef
    assert!(export(&dump, &format!("--format csv {hash}")).1.contains(",vm-1d08ae370910,4101,"));
    let once = export(&dump, "--format csv --names hash").1;
    assert_ne!(once, export(&dump, "--format csv --names hash").1, "each export has its own key");
    // Guests are still chosen by their own names.
    let (_, one, _) = export(&dump, "--format csv --names none -g web01");
    assert!(one.contains(",vm-1,4101,") && !one.contains(",vm-2,"), "{}", &one[..400]);
    fs::write(&key, "short").unwrap();
    assert_eq!(export(&dump, &format!("--format csv {hash}")).0, Some(2));
}

/// An export without exits is well-formed in every format.
#[test]
fn an_empty_dump_is_exported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump");
    fs::write(&path, Synthetic::dump_of(&[])).unwrap();
    for (format, word) in [
        ("hlog", "#[StartTime: 1795252500.000"),
        ("csv", "interval,start_ns"),
        ("json", "\"kind\":\"header\""),
        ("prometheus", "exitlat_recording_info{tool="),
        ("openmetrics", "# EOF"),
        ("html", "There are no exits at all."),
    ] {
        let (status, out, err) = export(&path, &format!("--format {format}"));
        assert_eq!((status, err.as_str()), (Some(0), ""), "{format}");
        assert!(out.contains(word), "{format}: {out}");
    }
    fs::write(&path, Synthetic::dump_of(&[Interval { number: 1, end_ns: 5, ..Interval::default() }]))
        .unwrap();
    assert!(export(&path, "--format html").1.contains("There are no handled exits."));
}

/// `--by` decides what is told apart, filters what is taken.
#[test]
fn options_choose_rows() {
    let (_dir, dump) = dump(PLAIN);
    let count = |options: &str| {
        let (status, out, err) = export(&dump, &format!("--format json {options}"));
        assert_eq!(status, Some(0), "{err}");
        let exits: Vec<_> = objects(&out).into_iter().filter(|line| line["kind"] == "exit").collect();
        let samples: u64 = exits.iter().map(|line| line["count"].as_u64().unwrap()).sum();
        (exits.len() as u64, samples)
    };
    let (lines, samples) = count("");
    assert_eq!(count("--by vm,reason").1, samples);
    assert_eq!(count("--by reason"), (8 * INTERVALS, samples));
    let guests: Vec<_> = GUESTS.iter().map(|(pid, _)| count(&format!("-p {pid}"))).collect();
    assert_eq!(guests.iter().map(|(lines, _)| lines).sum::<u64>(), lines);
    assert_eq!(guests.iter().map(|(_, samples)| samples).sum::<u64>(), samples);
    assert_eq!(count("-f ^cpuid$ --by reason").0, INTERVALS);
    assert_eq!(count("--vcpu 1 --by vcpu").0, 2 * INTERVALS);
}
