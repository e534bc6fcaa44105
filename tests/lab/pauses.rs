//! vCPUs whose VMM keeps them from their guest: one that waits for a lock of its VMM, and whole VMs that are
//! paused.

use crate::{
    guest::{record, report},
    parts::{demand_sums, ns},
};

/// A vCPU that is kicked out of KVM_RUN and waits 300 ms for a lock of its VMM, while the other vCPU goes on:
/// that is the VMM's time, and the guest notices it.
#[test]
fn a_kicked_vcpu_that_waits_for_a_lock_is_handled() {
    const KICKS: u64 = 3;
    const WAIT_NS: u64 = 300_000_000;
    let (vcpus, recording) = record(
        "",
        &format!("--vcpus 2 --forever --kick {KICKS} --kick-us {} cpuid=50 spin=1000", WAIT_NS / 1000),
        "svm",
    );
    let table = report(&recording, "--by vcpu,reason");
    demand_sums(&table);
    let [kicked, other] = [0, 1].map(|vcpu| {
        let rows = table.rows().iter().filter(|row| row["vcpu"] == vcpu).collect::<Vec<_>>();
        move |part: &str| rows.iter().map(|row| ns(row, part)).sum::<u64>()
    });
    assert_eq!(vcpus[0].raw["interrupted"], KICKS);
    let waited = ns(&vcpus[0].raw, "lock_wait_ns_total");
    assert!(waited >= KICKS * WAIT_NS);
    assert_eq!(kicked("stopped_ns"), 0, "{}", table.0);
    // The VMM's measurement includes going to sleep, waking up and the wait for a CPU.
    let in_vmm = kicked("user_ns") + kicked("user_blocked_ns") + kicked("runqueue_ns");
    assert!(in_vmm >= waited, "waited {waited}: {}", table.0);
    assert!(kicked("user_blocked_ns") > waited / 2, "most of it is sleep: {}", table.0);
    assert!(kicked("sum_ns") >= waited, "it is handled time: {}", table.0);
    let longest = table.rows().iter().filter(|row| row["vcpu"] == 0).map(|row| ns(row, "max_ns")).max();
    assert!(longest.unwrap() >= WAIT_NS, "{}", table.0);
    let returns = table.rows().iter().filter(|row| row["vcpu"] == 0 && !row["user_exits"].is_null());
    let returns = returns.flat_map(|row| row["user_exits"].as_array().unwrap());
    let kicks = returns.filter(|cause| cause["cause"] == "KVM_EXIT_INTR").collect::<Vec<_>>();
    let sum = |name: &str| kicks.iter().map(|kick| ns(kick, name)).sum::<u64>();
    assert_eq!(sum("samples"), KICKS, "{}", table.0);
    assert!(kicks.iter().all(|kick| ns(kick, "min_ns") >= WAIT_NS / 2), "{}", table.0);
    assert_eq!((other("stopped_ns"), vcpus[1].raw["interrupted"].as_u64()), (0, Some(0)), "{}", table.0);
}
