//! The readers of histograms, tables and metrics.

use std::{fs, process::Command};

use exitlat_tests::synthetic::Synthetic;

use crate::{PLAIN, SPLIT, directory, dump, export, prepared, python, run};

/// HdrHistogram's Python port reads every histogram of the log, with the counts and in the buckets of the
/// JSON.
#[test]
fn python_reads_the_interval_log() {
    let dir = directory("hlog-python");
    let dump = dump(&dir, "dump", PLAIN);
    let (hlog, json) = (dir.join("log.hlog"), dir.join("rows.json"));
    export(&dump, &hlog, &["--by", "vm,reason"]);
    export(&dump, &json, &["--by", "vm,reason"]);
    assert!(python("hlog.py", &[&hlog, &json]).starts_with("histograms: "));
}

/// HdrHistogram's own log processor, in Java, makes of the log the very table that exitlat prints.
#[test]
fn java_makes_the_same_percentile_table() {
    let dir = directory("hgrm-java");
    let dump = dir.join("dump");
    fs::write(&dump, Synthetic::dump_of(&PLAIN.intervals()[..1])).unwrap();
    let hlog = dir.join("log.hlog");
    export(&dump, &hlog, &[]);
    let tables = dir.join("tables/");
    export(&dump, &tables, &["--format", "hgrm"]);
    let mut compared = 0;
    for reason in ["io", "npf", "msr", "cpuid", "interrupt", "vintr", "hypercall", "hlt"] {
        let theirs = dir.join(reason);
        let mut java = Command::new("java");
        java.arg("-cp").arg(prepared("EXITLAT_FOREIGN_HDRHISTOGRAM"));
        java.args([
            "org.HdrHistogram.HistogramLogProcessor",
            "-outputValueUnitRatio",
            "1000",
            "-tag",
            reason,
        ]);
        run(java.arg("-i").arg(&hlog).arg("-o").arg(&theirs));
        let ours = fs::read_to_string(tables.join(format!("{reason}.hgrm"))).unwrap();
        let theirs = fs::read_to_string(theirs.with_extension("hgrm")).unwrap();
        // Two comments about the log come first.
        let table = theirs.find("       Value").expect("a heading");
        assert_eq!(ours, theirs[table..], "{reason}");
        compared += 1;
    }
    assert_eq!(compared, fs::read_dir(&tables).unwrap().count());
}

/// The parser of Prometheus' Python client takes the text, and has the sums of the JSON.
#[test]
fn prometheus_parses_the_metrics() {
    let dir = directory("openmetrics");
    let dump = dump(&dir, "dump", PLAIN);
    let (metrics, json) = (dir.join("metrics.prom"), dir.join("rows.json"));
    export(&dump, &metrics, &["--by", "vcpu,reason"]);
    export(&dump, &json, &[]);
    assert!(python("openmetrics.py", &[&metrics, &json]).starts_with("samples: "));
    // With parts and the time of vCPUs.
    let dump = crate::dump(&dir, "split", SPLIT);
    export(&dump, &metrics, &["--by", "vcpu,reason", "--force"]);
    export(&dump, &json, &["--force"]);
    assert!(fs::read_to_string(&metrics).unwrap().contains("exitlat_vcpu_seconds_total"));
    assert!(python("openmetrics.py", &[&metrics, &json]).starts_with("samples: "));
}

/// A strict CSV reader has the same lines as the JSON, and no cell is a formula.
#[test]
fn csv_and_json_say_the_same() {
    let dir = directory("csv");
    let dump = dump(&dir, "dump", PLAIN);
    let (csv, json) = (dir.join("rows.csv"), dir.join("rows.json"));
    export(&dump, &csv, &[]);
    export(&dump, &json, &[]);
    assert!(python("table.py", &[&csv, &json]).starts_with("lines: "));
    let dump = crate::dump(&dir, "split", SPLIT);
    export(&dump, &csv, &["--force"]);
    export(&dump, &json, &["--force"]);
    assert!(python("table.py", &[&csv, &json]).starts_with("lines: "));
}
