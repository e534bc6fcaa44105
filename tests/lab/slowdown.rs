//! A VMM that got slower is caught by `diff`, with the right reason, and the same VMM is not. In guest time
//! that is a number of instructions, so that every run sees the same.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;

use crate::guest::{exitlat, json_lines, record, scratch, succeed};

/// Intervals short enough for some dozens of them.
const OPTIONS: &str = "-d 20ms";
const STEPS: &str = "--rounds 40 cpuid=100 msr=100 io=500";

fn dump(behaviour: &str) -> PathBuf {
    record(OPTIONS, &format!("{behaviour} {STEPS}"), "svm").1
}

fn diff(base: &Path, new: &Path, options: &str) -> Output {
    let mut command = exitlat();
    command.arg("diff").arg(base).arg(new).args(options.split_whitespace());
    command.output().unwrap()
}

#[test]
fn icount_a_slower_vmm_is_caught_and_the_same_one_is_not() {
    let (base, again) = (dump(""), dump(""));
    let slower = dump("--io-spin-us 50 --io-slow-every 10");

    let same = diff(&base, &again, "");
    assert_eq!(same.status.code(), Some(0), "{}", String::from_utf8_lossy(&same.stdout));

    let caught = diff(&base, &slower, "--format json");
    let text = String::from_utf8_lossy(&caught.stdout);
    assert_eq!(caught.status.code(), Some(3), "{text}\n{}", String::from_utf8_lossy(&caught.stderr));
    let result = json_lines(&caught.stdout).pop().unwrap_or_else(|| serde_json::from_str(&text).unwrap());
    let rows = result["rows"].as_array().expect("rows");
    let metric = |reason: &str, metric: &str| -> Value {
        let row =
            rows.iter().find(|row| row["reason"] == reason).unwrap_or_else(|| panic!("no {reason}: {text}"));
        row["metrics"][metric].clone()
    };
    assert_eq!(metric("io", "p99_ns")["verdict"], "regressed", "{text}");
    for reason in ["cpuid", "msr"] {
        assert_ne!(metric(reason, "p99_ns")["verdict"], "regressed", "{text}");
    }
    // A `--fail-on` rule for a pipeline finds the slowdown and nothing else.
    assert_eq!(diff(&base, &slower, "--fail-on p99:+50%,reason=io").status.code(), Some(3));
    assert_eq!(diff(&base, &again, "--fail-on p99:+50%,reason=io").status.code(), Some(0));

    let page = scratch("page.html");
    let mut export = exitlat();
    export.arg("export").arg(&slower).arg("--diff-base").arg(&base).arg("-o").arg(&page);
    succeed(&mut export);
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.contains("<svg") && page.contains(">io<"), "the page lacks the charts or the reason");
}
