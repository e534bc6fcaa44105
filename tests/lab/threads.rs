//! Which thread an exit belongs to. Raw tracepoints find the thread by `struct kvm_vcpu`, and keep what they
//! learnt while KVM_RUN lasts; tracepoints look it up at every event. Where vCPUs change threads, threads
//! change vCPUs, and vCPUs change VMCBs, both must agree.

use std::collections::{BTreeMap, BTreeSet};

use crate::guest::{Background, Live, Table, Vcpu, has_module_btf};

/// The oracle, and the tables of raw tracepoints and of tracepoints over the same exits.
fn on_both_paths(workload: &str, isa: &str) -> (Vec<Vcpu>, Table, Table) {
    let live = |path: &str| Live::start(&format!("-d 600 --attach {path} --by vcpu,reason"));
    // Without raw tracepoints, the oracle alone checks the tracepoints.
    let (auto, classic) = (live(if has_module_btf() { "raw" } else { "auto" }), live("tp"));
    let guests = Background::start(workload);
    guests.go();
    let vcpus = guests.finish(isa);
    let [auto, classic] = [auto, classic].map(|live| Table::last(&live.stop(libc::SIGINT).1));
    for loss in
        ["died_in_exit", "early_entries", "unpaired_exits", "unpaired_entries", "clock_back", "read_failed"]
    {
        assert_eq!(auto.loss(loss), classic.loss(loss), "{loss}");
    }
    (vcpus, auto, classic)
}

/// Whether raw tracepoints are used, which tell when a vCPU goes on in another thread.
fn tells_vcpus() -> bool {
    has_module_btf()
}

/// Exits of all vCPUs by reason, as the workload made them.
fn made(vcpus: &[Vcpu]) -> BTreeMap<&str, u64> {
    let mut made = BTreeMap::new();
    for (reason, count) in vcpus.iter().flat_map(|vcpu| &vcpu.exits) {
        *made.entry(reason.as_str()).or_default() += count;
    }
    made
}

/// Samples of all threads with this reason.
fn samples(table: &Table, reason: &str) -> u64 {
    let rows = table.rows().iter().filter(|row| row["reason"] == reason);
    rows.map(|row| row["samples"].as_u64().unwrap()).sum()
}

fn take_turns(isa: &str, cpuid: &str, msr: &str) {
    let (vcpus, table, classic) = on_both_paths("--vcpus 2 --hand-over --rounds 20 cpuid=5 io=1 msr=3", isa);
    let made = made(&vcpus);
    for reason in [cpuid, msr] {
        // Between two returns to the VMM: none of these is cut in two.
        assert_eq!(samples(&table, reason), made[reason], "{reason}: {}", table.0);
    }
    for reason in [cpuid, msr] {
        assert_eq!(samples(&classic, reason), made[reason], "{reason}: {}", classic.0);
    }
    // A thread that takes its vCPU back has another one's time in its exit: ten for each vCPU.
    assert_eq!(table.loss("moved"), if tells_vcpus() { 2 * 10 } else { 0 }, "{}", table.0);
    assert_eq!(classic.loss("moved"), 0, "{}", classic.0);
    let threads: BTreeSet<_> = table.rows().iter().map(|row| row["tid"].as_u64()).collect();
    // Ten of 21 calls of KVM_RUN for each vCPU are made by threads of their own.
    assert_eq!(threads.len(), 2 * (1 + 10), "{}", table.0);
    // Each of these leaves its last exit open.
    assert_eq!(table.loss("died_in_exit"), 2 * 10 + 2, "{}", table.0);
}

#[test]
fn exact_while_threads_take_turns() {
    take_turns("svm", "cpuid", "msr");
}

#[test]
fn intel_exact_while_threads_take_turns() {
    take_turns("vmx", "CPUID", "MSR_READ");
}

#[test]
fn exact_for_vcpus_one_after_the_other_in_one_thread() {
    let (vcpus, table, classic) = on_both_paths("--vcpus 4 --single-thread cpuid=50 io=5 msr=7", "svm");
    let made = made(&vcpus);
    // The last exit of a vCPU is open when the thread goes on to the next one; that of the last one for ever.
    let vcpus_told =
        |table: &Table| table.rows().iter().map(|row| row["vcpu"].as_u64()).collect::<BTreeSet<_>>();
    for table in [&table, &classic] {
        let told = vcpus_told(table).len() as u64;
        assert_eq!(table.loss("moved"), told - 1, "{}", table.0);
        for (reason, count) in &made {
            let open = if *reason == "io" { told.max(1) } else { 0 };
            assert_eq!(samples(table, reason), count - open, "{reason}: {}", table.0);
        }
    }
    assert_eq!(vcpus_told(&table).len(), 4, "{}", table.0);
}

/// The exits of a nested guest (L2) are in a VMCB of their own.
#[test]
fn exact_with_guests_in_guests() {
    let (vcpus, table, classic) = on_both_paths("--vcpus 2 --rounds 3 vmrun=100 cpuid=70 io=2", "svm");
    assert_eq!(table.keys(), classic.keys());
    for vcpu in &vcpus {
        let mut samples = table.samples(vcpu.tid);
        let total: u64 = samples.values().sum();
        if let Some(kvm) = vcpu.kvm_exits {
            assert_eq!(total + vcpu.unpaired, kvm, "KVM's own count: {}", table.0);
        }
        samples.retain(|reason, _| vcpu.exits.contains_key(reason) && reason != "npf");
        let mut made = vcpu.exits.clone();
        made.remove("npf");
        *made.get_mut("io").unwrap() -= vcpu.unpaired;
        assert_eq!(samples, made, "{}", table.0);
        assert_eq!((made["vmrun"], made["hypercall"], made["cpuid"]), (300, 300, 510));
    }
}
