//! The readers of histograms and tables.

use std::{fs, path::Path, process::Command};

use exitlat_tests::{program::text, synthetic::Synthetic};

use crate::{PLAIN, SPLIT, directory, dump, export, prepared, python, run, unpacked};

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

/// HdrHistogram's own log processor, in Java, turns the log into the same table that exitlat prints.
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

/// HdrHistogram in C reads the log of a host with a long name and a processor with a long model. It reads
/// lines of the head into 128 bytes.
#[test]
fn c_reads_the_interval_log() {
    let dir = directory("hlog-c");
    let host = "compute-node-0017.eu-central-1.prod.example.com";
    let cpu = "Intel(R) Xeon(R) Platinum 8480+ CPU @ 2.00GHz";
    let text = String::from_utf8(SPLIT.dump()).unwrap();
    let real = text.replacen("\"node-17\"", &format!("\"{host}\""), 1).replacen(
        "\"a CPU\"",
        &format!("\"{cpu}\""),
        1,
    );
    let (dump, hlog) = (dir.join("dump"), dir.join("log.hlog"));
    fs::write(&dump, real).unwrap();
    export(&dump, &hlog, &["--by", "vm,reason"]);
    let log = fs::read_to_string(&hlog).unwrap();
    assert!(log.contains(host) && log.contains("Platinum 8480+"), "{log:.500}");
    let table = decoded(&hlog).unwrap();
    assert!(table.contains("#[Mean") && table.contains("1/(1-Percentile)"), "{table}");
    // Longer lines do fail: with one comment of 128 bytes it reads nothing.
    let long = format!("#[{}]\n{log}", "x".repeat(125));
    fs::write(&hlog, long).unwrap();
    assert!(decoded(&hlog).unwrap_err().contains("Failed"));
}

/// Output of HdrHistogram's C decoder for a log, or its error message. The decoder runs with the C library it
/// was built for, which is newer than that of stable distributions.
fn decoded(hlog: &Path) -> Result<String, String> {
    let libraries = prepared("EXITLAT_FOREIGN_PROGRAMS").join("usr/lib/x86_64-linux-gnu");
    let mut decoder = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    decoder.arg("--library-path").arg(&libraries).arg(unpacked("hdr_decoder")).arg(hlog);
    let (_, out, err) = text(decoder.output().unwrap());
    // The exit status does not tell whether it failed.
    if err.is_empty() { Ok(out) } else { Err(err) }
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
