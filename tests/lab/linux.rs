//! Linux as a guest of QEMU, as exitlat sees it. Names begin with `qemu_`: they run where QEMU is in the lab.

use std::{collections::BTreeSet, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    guest::{Background, Live, Recording, Table, report},
    identity::list,
    parts::{demand_sums, ns},
    qemu::LinuxGuest,
};

/// vCPUs of the guest.
const VCPUS: u64 = 2;

/// Demands that no sample is missing. The exit before the first entry of each vCPU was before exitlat.
fn demand_no_loss(table: &Table) {
    for (name, count) in table.0["losses"].as_object().expect("losses by name") {
        let most = if name == "early_entries" { VCPUS } else { 0 };
        assert!(count.as_u64().unwrap() <= most, "{name}: {}", table.0["losses"]);
    }
}

/// Numbers and threads of the vCPUs in a table by vCPU; it must have no other VM than the guest.
fn vcpus(table: &Table, guest: &LinuxGuest) -> BTreeSet<(u64, u64)> {
    let row = |row: &Value| {
        assert_eq!((&row["vm"], &row["pid"]), (&guest.name.into(), &guest.pid().into()), "{row}");
        (row["vcpu"].as_u64().unwrap(), row["tid"].as_u64().unwrap())
    };
    table.rows().iter().map(row).collect()
}

/// Each vCPU's parts and its guest time add up to its wall time.
fn demand_wall_time(recording: &Path) {
    let table = report(recording, "--by vcpu,part");
    let mut sum = 0;
    for vcpu in 0..VCPUS {
        let parts = table.rows().iter().filter(|row| row["vcpu"] == vcpu);
        let vcpu: u64 = parts.map(|row| ns(row, "sum_ns")).sum();
        assert!(vcpu > 0, "{}", table.0);
        sum += vcpu;
    }
    let vms = table.0["vms"].as_array().unwrap();
    assert_eq!(vms.len(), 1, "{}", table.0);
    assert_eq!(sum, ns(&vms[0], "elapsed_ns"), "{}", table.0);
}

/// From its first exit on: firmware, boot, both vCPUs.
#[test]
fn qemu_boots_linux_under_record() {
    let recording = Recording::start("");
    let mut guest = LinuxGuest::boot("web");
    let threads = guest.vcpus();
    // Every vCPU is in QEMU then, with its last exit open, and makes no more.
    guest.stop();
    let exits = guest.kvm_exits();
    let recording = recording.stop();
    let table = report(&recording, "--by vcpu,reason");
    assert_eq!(vcpus(&table, &guest), threads);
    assert_eq!(threads.len() as u64, VCPUS);
    demand_no_loss(&table);
    demand_sums(&table);
    demand_wall_time(&recording);
    let samples: u64 = table.rows().iter().map(|row| row["samples"].as_u64().unwrap()).sum();
    assert_eq!(samples + VCPUS, exits, "KVM's own count: {}", table.0);
    let reasons = report(&recording, "--by reason");
    for reason in ["io", "npf", "hlt", "msr", "cpuid"] {
        assert!(reasons.reason(reason)["samples"].as_u64().unwrap() > 0, "{}", reasons.0);
    }
}

/// A program in the guest executes a known number of CPUID instructions. Nothing else does meanwhile.
#[test]
fn qemu_exits_of_a_program_in_linux_are_exact() {
    let mut guest = LinuxGuest::shared();
    let live = Live::start("-d 600 --by reason");
    let executed = guest.execute_cpuid();
    let table = Table::last(&live.stop(libc::SIGINT).1);
    assert_eq!(table.reason("cpuid")["samples"], executed, "{}", table.0);
    demand_no_loss(&table);
}

/// While QEMU asks KVM for registers, a vCPU that is paused sleeps in the VMM all the same.
#[test]
fn qemu_registers_are_read_by_the_vmm() {
    const READS: u32 = 50;
    let mut guest = LinuxGuest::shared();
    let live = Live::start("-d 600 --by vcpu,reason");
    // A vCPU that only halts is not known before its first exit.
    guest.use_both_vcpus();
    for _ in 0..READS {
        assert_eq!(guest.registers().matches("RIP=").count() as u64, VCPUS);
    }
    guest.stop();
    let paused = sleep_while(|| assert_eq!(guest.registers().matches("RIP=").count() as u64, VCPUS));
    guest.cont();
    guest.use_both_vcpus();
    let table = Table::last(&live.stop(libc::SIGINT).1);
    demand_sums(&table);
    demand_no_loss(&table);
    let parts = &table.0["vms"][0]["parts"];
    // Both vCPUs are in QEMU for all that time. A fault of memory may block for a while, not for a tenth of
    // it.
    assert!(ns(parts, "blocked_ns") < paused / 10, "{}", table.0);
    let vmm: u64 =
        ["user_ns", "user_blocked_ns", "stopped_ns", "runqueue_ns"].map(|part| ns(parts, part)).iter().sum();
    assert!(vmm >= VCPUS * paused * 9 / 10, "{}", table.0);
}

/// Calls `act` for a while, with pauses; returns the duration in nanoseconds.
fn sleep_while(mut act: impl FnMut()) -> u64 {
    const PAUSE: Duration = Duration::from_millis(50);
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        act();
        std::thread::sleep(PAUSE);
    }
    start.elapsed().as_nanos() as u64
}

/// By the name and UUID of its command line; another VM runs beside it.
#[test]
fn qemu_is_found_by_its_uuid() {
    let mut guest = LinuxGuest::shared();
    let other = Background::start("--name other --forever cpuid=100 io=1");
    other.go();
    let listed = list(&["-d", "0.1"]);
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["other-0", guest.name], "{listed:?}");
    let vm = &listed[guest.name];
    assert_eq!((&vm["uuid"], &vm["vmm"]), (&json!(LinuxGuest::UUID), &json!("qemu")), "{vm}");
    assert_eq!((&vm["pid"], &vm["vcpus_open"]), (&json!(guest.pid()), &json!([0, 1])), "{vm}");
    let vcpus: BTreeSet<(u64, u64)> = vm["threads"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|thread| Some((thread["vcpu"].as_u64()?, thread["tid"].as_u64().unwrap())))
        .collect();
    assert_eq!(vcpus, guest.vcpus(), "{vm}");

    let typed = format!("uuid:{}", &LinuxGuest::UUID[..6]);
    let recording = Recording::start(&format!("-g {typed}"));
    let executed = guest.execute_cpuid();
    let recording = recording.stop();
    other.kill();
    let table = report(&recording, &format!("--by vm,reason -g {typed}"));
    assert!(table.rows().iter().all(|row| row["vm"] == guest.name), "{}", table.0);
    assert_eq!(table.reason("cpuid")["samples"], executed, "{}", table.0);
    let recorded = list(&[recording.to_str().unwrap()]);
    assert_eq!(recorded.keys().collect::<Vec<_>>(), [guest.name], "{recorded:?}");
    assert_eq!(recorded[guest.name]["uuid"], LinuxGuest::UUID, "{recorded:?}");
}
