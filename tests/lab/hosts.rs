//! What `check` reports about this host, and exitlat's tables against the running kernel's.

use std::fs;

use tracer_user::decode::{Isa, kernel_table::disagreements};

use crate::guest::{Background, exitlat, json_lines, succeed};

const FORMAT: &str = "/sys/kernel/tracing/events/kvm/kvm_exit/format";

/// Kernels older than a rename print the old name; everything else has to agree.
const RENAMED: [&str; 1] = ["PENDING_INTERRUPT"];

#[test]
fn decode_tables_agree_with_this_kernel() {
    let format = fs::read_to_string(FORMAT).unwrap();
    let mut found = disagreements(&format).unwrap();
    found.retain(|line| !RENAMED.iter().any(|name| line.contains(name)));
    assert!(found.is_empty(), "{found:#?}");
    // The test would also pass if the parser found no table.
    let tables = tracer_user::decode::kernel_table::parse_format_symbols(&format).unwrap();
    for isa in [Isa::VMX, Isa::SVM] {
        let table =
            tables.iter().find(|table| table.isa == Some(isa)).unwrap_or_else(|| panic!("no table of {isa}"));
        assert!(table.entries.len() > 30, "{isa}: {}", table.entries.len());
    }
}

#[test]
fn check_sees_exits_on_this_host() {
    let busy = Background::start("--forever cpuid=1000");
    busy.go();
    let output = succeed(exitlat().args(["check", "--format", "json"]));
    busy.kill();
    let report = json_lines(&output.stdout).pop().unwrap();
    let findings = report["findings"].as_array().unwrap();
    let find = |subject: &str| {
        findings
            .iter()
            .find(|finding| finding["subject"] == subject)
            .unwrap_or_else(|| panic!("{subject}: {report}"))
    };
    for subject in ["KVM backend", "tracefs", "KVM events", "rights", "programs", "exits in 1 s"] {
        assert_eq!(find(subject)["status"], "ok", "{report}");
    }
    assert!(find("exits in 1 s")["found"].as_str().unwrap().contains("kvm_exit fires"));
}
