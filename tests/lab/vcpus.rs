//! vCPUs that do not run: never entered, never started; and tables that have room for those that are open.

use serde_json::Value;

use crate::guest::{Background, exitlat, json_lines, succeed};

fn finding(report: &[u8], subject: &str) -> Value {
    let report = json_lines(report).pop().unwrap();
    let found = report["findings"].as_array().unwrap().iter().find(|finding| finding["subject"] == subject);
    found.unwrap_or_else(|| panic!("{subject}: {report}")).clone()
}

/// A VMM that calls KVM_RUN in a loop, and a vCPU that never enters its guest.
#[test]
fn kvm_run_that_never_enters_a_guest_is_named() {
    let spinning = Background::start("--never-enter cpuid=1");
    spinning.go();
    let live = exitlat().args(["live", "1", "1"]).output().unwrap();
    let check = exitlat().args(["check", "--format", "json"]).output().unwrap();
    spinning.kill();
    let said = String::from_utf8_lossy(&live.stderr);
    assert_eq!(live.status.code(), Some(1), "{said}");
    assert!(
        said.contains("KVM_RUN returns") && said.contains("times a second without entering a guest"),
        "{said}"
    );
    assert!(!said.contains("no guest is running") && !said.contains("does not report"), "{said}");
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    let seen = finding(&check.stdout, "exits in 1 s");
    assert_eq!(seen["status"], "fault", "{seen}");
    assert!(seen["found"].as_str().unwrap().contains("without entering a guest"), "{seen}");
}

#[test]
fn a_vcpu_without_exits_is_named() {
    // One thread runs both, one after the other, and the first has no end.
    let guests = Background::start("--name half --vcpus 2 --single-thread --forever cpuid=100");
    guests.go();
    let pid = guests.ready["vms"][0]["pid"].as_u64().unwrap();
    let json = succeed(exitlat().args(["live", "0.5", "2", "--format", "json"]));
    for block in json_lines(&json.stdout) {
        let unseen = block["unseen"].as_array().unwrap_or_else(|| panic!("{block}"));
        let expected = serde_json::json!({ "vm": "half-0", "pid": pid, "open": 2, "seen": 1, "vcpus": [1] });
        assert_eq!(unseen[..], [expected]);
    }
    let words = "2 vCPUs open, 1 seen: vCPU 1 had no exit yet";
    let text = succeed(exitlat().args(["live", "0.5", "1"]));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains(&format!("half-0[{pid}]: {words}")), "{text}");
    let check = succeed(exitlat().args(["check", "--format", "json"]));
    let open = finding(&check.stdout, "open vCPUs");
    assert_eq!(open["found"], format!("half-0[{pid}]: {words}"));
    // Other VMs are not reported.
    let other = exitlat().args(["live", "0.2", "1", "-g", "other", "--format", "json"]).output().unwrap();
    assert!(json_lines(&other.stdout).iter().all(|block| block["unseen"].is_null()), "{other:?}");
    guests.kill();
}

#[test]
fn tables_have_room_for_the_vcpus_that_are_open() {
    let guests = Background::start("--vms 2 --vcpus 80 cpuid=1");
    let check = succeed(exitlat().args(["check", "--no-probe", "--format", "json"]));
    guests.kill();
    let tables = finding(&check.stdout, "tables");
    let found = tables["found"].as_str().unwrap();
    assert!(
        found.contains("4800 slots and 1024 vCPU threads") && found.contains("160 vCPUs are open"),
        "{found}"
    );
    assert!(found.contains("MiB"), "{found}");
}
