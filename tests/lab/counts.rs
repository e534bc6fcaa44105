//! Counts: N exits made are N exits shown, by reason, vCPU and VM.

use crate::guest::{
    Background, Live, Table, demand_exact, demand_names, exitlat, has_module_btf, record, record_alive,
    record_and_listen, report, scratch,
};

const MIX: &str = "cpuid=1000 msr=400 wrmsr=300 io=200 mmio=150 hlt=50";
const BY: &str = "--by vcpu,reason";

#[test]
fn exact_one_vcpu() {
    let (vcpus, dump) = record("", MIX, "svm");
    demand_exact(&report(&dump, BY), &vcpus, "svm");
}
/// Tracepoints and raw tracepoints give the same table of the same exits.
#[test]
fn exact_on_both_paths() {
    for (path, name) in [("tp", "tracepoints"), ("raw", "raw tracepoints")] {
        if path == "raw" && !has_module_btf() {
            let output = exitlat().args(["live", "--once", "--attach", "raw"]).output().unwrap();
            assert_eq!(output.status.code(), Some(4), "{output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("--attach tp"), "{output:?}");
            continue;
        }
        let (vcpus, dump) = record(&format!("--attach {path}"), &format!("--vcpus 2 {MIX}"), "svm");
        let table = report(&dump, BY);
        demand_exact(&table, &vcpus, "svm");
        assert_eq!(table.loss("read_failed"), 0);
        let header = std::fs::read_to_string(&dump).unwrap();
        assert!(header.lines().next().unwrap().contains(&format!("\"path\":\"{name}")), "{header}");
    }
}

/// N accesses of an MSR are N samples of one cause below their reason.
#[test]
fn exact_causes_of_msrs() {
    let (vcpus, recording) = record("--causes msr", "msr=400 wrmsr=300 cpuid=100 io=20", "svm");
    let table = report(&recording, BY);
    demand_exact(&table, &vcpus, "svm");
    let row = table.reason("msr");
    let causes = row["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let counts: Vec<_> = causes.iter().map(|cause| (cause["cause"].as_str(), &cause["samples"])).collect();
    // IA32_MCG_STATUS.
    for (cause, samples) in [("MSR 0x17a read", 400), ("MSR 0x17a write", 300)] {
        assert!(counts.contains(&(Some(cause), &samples.into())), "{row}");
    }
    assert_eq!(causes.iter().map(|cause| cause["samples"].as_u64().unwrap()).sum::<u64>(), row["samples"]);
    assert!(causes.iter().all(|cause| cause["cause"] != "none"), "{row}");
}

/// Two tracers, one per type of tracepoint, over the same exits: the same codes, counts and vCPU numbers.
#[test]
fn exact_for_both_paths_at_once() {
    let classic = Live::start(&format!("-d 600 --attach tp {BY}"));
    let auto = Live::start(&format!("-d 600 {BY}"));
    let guests = Background::start(&format!("--vcpus 2 {MIX}"));
    guests.go();
    let vcpus = guests.finish("svm");
    let (auto, classic) = (auto.stop(libc::SIGINT).1, classic.stop(libc::SIGINT).1);
    let (auto, classic) = (Table::last(&auto), Table::last(&classic));
    demand_exact(&auto, &vcpus, "svm");
    assert_eq!(auto.keys(), classic.keys());
}

#[test]
fn exact_two_vms_of_two_vcpus() {
    let (vcpus, dump) = record_alive("-d 0.2", &format!("--vms 2 --vcpus 2 {MIX}"), "svm");
    assert_eq!(vcpus.len(), 4);
    let table = report(&dump, BY);
    demand_exact(&table, &vcpus, "svm");
    demand_names(&table, &vcpus);
    // Every grouping has the same samples.
    for by in ["reason", "vm", "vm,reason"] {
        assert_eq!(report(&dump, &format!("--by {by}")).0["samples"], table.0["samples"], "{by}");
    }
    assert_eq!(report(&dump, "--by vm -g lab-1").rows().iter().filter(|row| row["vm"] != "lab-1").count(), 0);
    let only = report(&dump, "--by vcpu,reason --vcpu 1 -f ^cpuid$");
    assert_eq!(only.rows().len(), 2);
    assert!(only.rows().iter().all(|row| row["vcpu"] == 1 && row["samples"] == 1000), "{}", only.0);
}

#[test]
fn exact_while_threads_migrate_in_mid_exit() {
    let (vcpus, dump) = record("", "--vcpus 2 --migrate cpuid=500 io=500", "svm");
    demand_exact(&report(&dump, BY), &vcpus, "svm");
}

#[test]
fn exact_halts_in_the_kernel() {
    let (vcpus, dump) = record("", "khlt=100", "svm");
    let table = report(&dump, BY);
    demand_exact(&table, &vcpus, "svm");
    let halted = table.rows().iter().find(|row| row["reason"] == "hlt").expect("halts are seen");
    // The cost of a halt without the sleep is handled time.
    assert_eq!((&halted["idle"], halted["time_share"].is_number()), (&false.into(), true));
}

#[test]
fn exact_many_small_vms() {
    const WORKLOAD: &str = "--vms 24 --vcpus 2 cpuid=30 msr=20 io=5";
    // Guests that come and go, then guests that are all alive at the end.
    let (vcpus, dump) = record("", WORKLOAD, "svm");
    assert_eq!(vcpus.len(), 48);
    demand_exact(&report(&dump, BY), &vcpus, "svm");
    let (vcpus, dump) = record_alive("", WORKLOAD, "svm");
    let table = report(&dump, BY);
    demand_exact(&table, &vcpus, "svm");
    demand_names(&table, &vcpus);
}

#[test]
fn exact_for_two_tracers_at_once() {
    let first = Live::start(&format!("-d 600 {BY}"));
    let (vcpus, dump) = record("", MIX, "svm");
    let (status, output) = first.stop(libc::SIGINT);
    assert_eq!(status, 0);
    demand_exact(&Table::last(&output), &vcpus, "svm");
    demand_exact(&report(&dump, BY), &vcpus, "svm");
}

#[test]
fn exact_for_the_guest_asked_for() {
    let guests = Background::start(&format!("--vms 3 --vcpus 1 {MIX}"));
    let by_name = Live::start(&format!("-d 600 -g lab-1 {BY}"));
    let pids: Vec<String> = guests.ready["vms"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|vm| vm["name"] != "lab-1")
        .map(|vm| vm["pid"].to_string())
        .collect();
    let by_pid = Live::start(&format!("-d 600 -p {} {BY}", pids.join(",")));
    guests.go();
    let (named, others): (Vec<_>, Vec<_>) =
        guests.finish("svm").into_iter().partition(|vcpu| vcpu.vm == "lab-1");
    assert_eq!((named.len(), others.len()), (1, 2));
    demand_exact(&Table::last(&by_name.stop(libc::SIGINT).1), &named, "svm");
    demand_exact(&Table::last(&by_pid.stop(libc::SIGINT).1), &others, "svm");
}

/// A VM that starts while tracing goes on is matched against the requested names.
#[test]
fn a_guest_that_starts_later_is_traced_by_its_name() {
    let mut live = Live::start("-d 50ms -g late* --by vm");
    let mut blocks = live.blocks();
    let other = Background::start("--name other --forever cpuid=10");
    other.go();
    let late = Background::start("--name late --forever cpuid=10");
    late.go();
    let rows = blocks.find_map(|block| block["rows"].as_array().filter(|rows| !rows.is_empty()).cloned());
    let rows = rows.expect("exits of the VM that started later");
    assert!(rows.iter().all(|row| row["vm"] == "late-0"), "{rows:?}");
    late.kill();
    other.kill();
    drop(blocks);
    live.stop(libc::SIGINT);
}

#[test]
fn exact_with_many_readings_in_between() {
    let guests = Background::start("--vcpus 2 cpuid=20000 io=500");
    let mut live = Live::start(&format!("-d 5ms {BY}"));
    // Read all along: exitlat blocks on a full pipe.
    let blocks = live.blocks();
    let blocks = std::thread::spawn(|| blocks.collect::<Vec<_>>());
    guests.go();
    let vcpus = guests.finish("svm");
    assert_eq!(live.stop(libc::SIGINT).0, 0);
    let blocks = blocks.join().unwrap();
    let (total, intervals) = blocks.split_last().unwrap();
    assert!(intervals.len() > 5, "{} intervals", intervals.len());
    let sum = |name: &str| intervals.iter().map(|block| block[name].as_u64().unwrap()).sum::<u64>();
    for name in ["samples", "handled_ns", "idle_ns", "elapsed_ns"] {
        assert_eq!(total[name].as_u64().unwrap(), sum(name), "{name}");
    }
    demand_exact(&Table(total.clone()), &vcpus, "svm");
}

#[test]
fn exact_losses_when_the_slots_are_full() {
    // No returns to the VMM: they would need slots of their own.
    let (vcpus, dump) = record("--slots 1", "cpuid=300 msr=200", "svm");
    let table = report(&dump, BY);
    let shown: u64 = table.samples(vcpus[0].tid).values().sum();
    let expected: u64 = vcpus[0].exits.values().sum();
    let interrupts = vcpus[0].kvm_exits.map(|kvm| kvm - expected);
    let lost = table.loss("slot_table_full");
    assert!(lost >= 200, "{}", table.0);
    assert!(table.rows().len() <= 1);
    match interrupts {
        Some(interrupts) => assert_eq!(shown + lost + vcpus[0].unpaired, expected + interrupts),
        None => assert!(shown + lost + vcpus[0].unpaired >= expected),
    }
}

#[test]
fn exact_losses_when_the_vcpus_are_full() {
    let (vcpus, dump) = record("--max-vcpus 1", "--vcpus 2 cpuid=300", "svm");
    let table = report(&dump, BY);
    let traced: Vec<_> = vcpus.iter().filter(|vcpu| !table.samples(vcpu.tid).is_empty()).cloned().collect();
    assert_eq!(traced.len(), 1, "{}", table.0);
    assert!(table.loss("vcpu_table_full") >= 300, "{}", table.0);
    assert_eq!(table.samples(traced[0].tid)["cpuid"], 300);
}

/// The hints by which vCPUs find their entries are by address. Of a thousand vCPUs that the kernel has
/// placed, fewer than 2 % share theirs; the others never take the slower way. Where the kernel places them is
/// chance, so a thousand with more may be followed by others. Tracepoints have no address.
#[test]
fn few_of_a_thousand_vcpus_share_a_hint() {
    let mut all = Vec::new();
    while all.len() < 3 {
        let Some(sharing) = sharing_of_a_thousand() else { return assert!(!has_module_btf()) };
        assert!(has_module_btf());
        all.push(sharing);
        if all.iter().sum::<usize>() < 20 * all.len() {
            return;
        }
    }
    panic!("{all:?} of 1000 vCPUs share their hints");
}

/// How many of a thousand vCPUs share their hints.
fn sharing_of_a_thousand() -> Option<usize> {
    let hold = scratch("hold");
    let guests = Background::start(&format!("--hold {} --vms 8 --vcpus 125 cpuid=3", hold.display()));
    let (recording, said) = record_and_listen("-v", &guests);
    std::fs::write(&hold, "").unwrap();
    demand_exact(&report(&recording, BY), &guests.finish("svm"), "svm");
    let sharing = said.lines().find_map(|line| line.split_once(" of 1000 vCPUs share their hint"));
    sharing.and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok())
}
