//! s390x: N exits scripted are N exits shown, by reason and by cause, on every vCPU, and as KVM itself counts
//! them.
//!
//! The scripts are those of `sie-workload`, which `WORKLOAD` names here.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tracer_user::decode::s390::{disagreements, events};

use crate::guest::{
    Background, Live, Table, Vcpu, demand_exact, exitlat, json_lines, record, report, succeed, workload_path,
};

/// At least one of every kind of exit, in numbers that differ.
const EVERYTHING: &str = "host=5 fault=3 diag10=7 diag44=40 diag9c=11 diag258=2 diag308=4 diag500=6 sigp1=12 sigp2=13 \
                          sigp3=14 sigp15=15 pei=8 stidp=100 stsi=9 ssch=16 ssm=17 stuck=2 prog5=18 prog6=19 prog11=20 \
                          both=3 extreq=21 extint=2 ioreq=22 validity=2 stop=23 operexc=24 ioinst=4 mchkreq=25 \
                          intenable=26 pvinstr=27";
const BY: &str = "--by vcpu,reason";

/// Samples by cause of a row, without those that have none.
fn causes(row: &Value) -> BTreeMap<String, u64> {
    let causes = row["causes"].as_array().into_iter().flatten();
    causes
        .filter(|cause| cause["cause"] != "none")
        .map(|cause| (cause["cause"].as_str().unwrap().to_owned(), cause["samples"].as_u64().unwrap()))
        .collect()
}

/// One cause of a reason; the table must be by reason alone.
fn cause<'a>(table: &'a Table, reason: &str, name: &str) -> &'a Value {
    let causes = table.reason(reason)["causes"].as_array().unwrap();
    causes.iter().find(|cause| cause["cause"] == name).unwrap_or_else(|| panic!("no {name} in {}", table.0))
}

fn numbers(object: &Value) -> BTreeMap<String, u64> {
    let pairs = object.as_object().unwrap().iter();
    pairs.map(|(name, number)| (name.clone(), number.as_u64().unwrap())).collect()
}

/// The row of a vCPU and reason; the table must be by both.
fn row<'a>(table: &'a Table, vcpu: &Vcpu, reason: &str) -> Option<&'a Value> {
    table.rows().iter().find(|row| row["tid"] == vcpu.tid && row["reason"] == reason)
}

/// Demands the script's exits by reason and by cause, and KVM's own counters. KVM also counts the last exit,
/// which has no entry and so no sample; it is added here.
fn demand_script(table: &Table, vcpus: &[Vcpu]) {
    demand_exact(table, vcpus, "s390");
    for vcpu in vcpus {
        let kvm = numbers(&vcpu.raw["kvm_stats"]);
        for (counter, scripted) in numbers(&vcpu.raw["counted"]) {
            let last = matches!(
                counter.as_str(),
                "exit_instruction" | "instruction_diagnose_500" | "exit_userspace"
            );
            // Another vCPU may cause an exit with code 0, a host interruption.
            let exact = counter != "exit_null";
            let expected = scripted + u64::from(last);
            assert!(
                if exact { kvm[&counter] == expected } else { kvm[&counter] >= expected },
                "{counter}: {}",
                vcpu.raw
            );
        }
        for (reason, expected) in vcpu.raw["causes"].as_object().unwrap() {
            let row = row(table, vcpu, reason).unwrap_or_else(|| panic!("no {reason} in {}", table.0));
            assert_eq!(causes(row), numbers(expected), "vCPU {}: {reason}", vcpu.id);
        }
        for row in table.rows().iter().filter(|row| row["tid"] == vcpu.tid) {
            let below = vcpu.raw["causes"].get(row["reason"].as_str().unwrap());
            assert!(below.is_some() || causes(row).is_empty(), "a cause of nobody: {row}");
        }
        // KVM counts the interruptions by the host that were no fault.
        let host = row(table, vcpu, "Host interruption");
        let samples = host.map_or(0, |row| row["samples"].as_u64().unwrap());
        let faults: u64 = host.map_or(0, |row| causes(row).values().sum());
        assert_eq!(samples, kvm["exit_null"] + faults, "vCPU {}: {}", vcpu.id, vcpu.raw);
    }
    assert_eq!(table.loss("read_failed"), 0, "{}", table.0);
}

/// The virtual machine's counters in debugfs, from the workload's output.
fn debugfs(output: &[u8]) -> BTreeMap<String, u64> {
    let result = json_lines(output).into_iter().find(|value| value["vms"].is_array()).unwrap();
    numbers(&result["vms"][0]["debugfs"])
}

#[test]
fn s390x_every_exit_has_its_reason_and_cause() {
    let (vcpus, dump) = record("", &format!("--vcpus 2 --in-turns {EVERYTHING}"), "s390");
    assert_eq!(vcpus.len(), 2);
    let table = report(&dump, BY);
    demand_script(&table, &vcpus);
    // One after the other, no vCPU disturbs another: the interruptions are those of the script.
    for vcpu in &vcpus {
        assert_eq!(row(&table, vcpu, "Host interruption").unwrap()["samples"], 8, "{}", table.0);
        assert!(table.rows().iter().filter(|row| row["tid"] == vcpu.tid).count() == 16, "{}", table.0);
        let wait = row(&table, vcpu, "Wait state").unwrap();
        assert_eq!(wait["idle"], false, "what a wait costs apart from the sleep is handled time");
        // This wait never ends by itself, so KVM does not let it sleep but asks the VMM.
        assert_eq!((&wait["halt_ns"], &wait["user_exits"][0]["samples"]), (&0.into(), &2.into()), "{wait}");
        // All that the script sends to the VMM, below the instructions that did it.
        let user_exits = row(&table, vcpu, "Instruction").unwrap()["user_exits"].as_array().unwrap();
        assert_eq!(user_exits.len(), 1, "{}", table.0);
        assert_eq!(user_exits[0]["cause"], "KVM_EXIT_S390_SIEIC");
        let sent = ["DIAG (0x308) ipl functions", "DIAG (0x500) KVM virtio functions", "SSM"];
        let causes = causes(row(&table, vcpu, "Instruction").unwrap());
        assert_eq!(user_exits[0]["samples"], sent.iter().map(|name| causes[*name]).sum::<u64>());
    }
    assert_eq!(table.loss("unknown_codes"), 0);
}

#[test]
fn s390x_causes_stay_below_their_reasons() {
    let (_, dump) = record("", EVERYTHING, "s390");
    let table = report(&dump, "--by reason");
    for row in table.rows().iter().filter(|row| row["causes"].is_array()) {
        // Causes and exits without a cause add up to their row.
        let below = row["causes"].as_array().unwrap();
        let sum = |of: &str| -> u64 { below.iter().map(|cause| cause[of].as_u64().unwrap()).sum() };
        assert_eq!(sum("samples"), row["samples"], "{row}");
        assert_eq!(sum("sum_ns"), row["sum_ns"], "{row}");
    }
    let faults = causes(table.reason("Host interruption")).values().sum::<u64>();
    let without = table.reason("Host interruption")["samples"].as_u64().unwrap() - faults;
    assert_eq!(cause(&table, "Host interruption", "none")["samples"], without);
    // The same order of SIGP below two reasons.
    assert_eq!(cause(&table, "Partial-execution", "SIGP external call")["samples"], 8);
    assert_eq!(cause(&table, "Instruction", "SIGP external call")["samples"], 13);
    // The sum over the reasons, without their causes.
    let sum: u64 = table.rows().iter().map(|row| row["samples"].as_u64().unwrap()).sum();
    assert_eq!(table.0["samples"], sum);
}

#[test]
fn s390x_vcpus_at_once_and_the_kernels_statistics() {
    let arguments =
        "--vcpus 2 --guest-us 5 diag44=300 sigp2=50 sigp3=60 sigp1=70 stidp=80 prog6=20 ssm=25 fault=4";
    let live = Live::start(&format!("-d 600 {BY}"));
    let output = succeed(Command::new(workload_path()).args(arguments.split_whitespace()));
    let vcpus = crate::guest::oracle(&output.stdout, "s390");
    let (status, blocks) = live.stop(libc::SIGINT);
    assert_eq!(status, 0);
    demand_script(&Table::last(&blocks), &vcpus);
    for (counter, sum) in debugfs(&output.stdout) {
        let of_vcpus: u64 = vcpus.iter().map(|vcpu| vcpu.raw["kvm_stats"][&counter].as_u64().unwrap()).sum();
        assert_eq!(sum, of_vcpus, "{counter} in debugfs");
    }
}

#[test]
fn s390x_full_rate_loses_nothing() {
    let mut live = Live::start(&format!("-d 50ms {BY}"));
    // Read all along: exitlat blocks on a full pipe.
    let blocks = live.blocks();
    let last = std::thread::spawn(|| blocks.last());
    let guests = Background::start("--vcpus 2 stidp=100000 diag44=50000");
    guests.go();
    let vcpus = guests.finish("s390");
    assert_eq!(live.stop(libc::SIGINT).0, 0);
    let total = Table(last.join().unwrap().expect("a total"));
    demand_script(&total, &vcpus);
    let losses = numbers(&total.0["losses"]);
    // A wake-up by an interrupt during the tracepoint program is missed. That moves time from one part to
    // another, and no exit is missing.
    let no_exit = ["died_in_exit", "early_entries", "missed_parts"];
    assert!(losses.keys().all(|cause| no_exit.contains(&cause.as_str())), "{losses:?}");
    // The first entry of each thread has no exit before it, the last exit no entry after it.
    assert_eq!((total.loss("died_in_exit"), total.loss("early_entries")), (2, 2));
}

/// More vCPUs than CPUs that all spin and give their time slices away: what an over-committed host looks
/// like.
#[test]
fn s390x_a_storm_of_time_slice_ends_is_seen() {
    let (vcpus, dump) = record("", "--vcpus 8 --guest-us 20 --rounds 10 diag44=190 diag9c=5 stidp=5", "s390");
    assert_eq!(vcpus.len(), 8);
    demand_script(&report(&dump, BY), &vcpus);
    let table = report(&dump, "--by reason");
    let storm = cause(&table, "Instruction", "DIAG (0x44) time slice end");
    assert_eq!(storm["samples"], 8 * 1900);
    let instruction = table.reason("Instruction");
    assert_eq!(instruction["samples"], 8 * 2000);
    // It stands out among its siblings, by count and by time.
    let siblings =
        || instruction["causes"].as_array().unwrap().iter().filter(|other| other["cause"] != storm["cause"]);
    assert!(siblings().all(|other| other["samples"].as_u64() < storm["samples"].as_u64()), "{instruction}");
    assert!(siblings().all(|other| other["sum_ns"].as_u64() < storm["sum_ns"].as_u64()), "{instruction}");
}

/// Two guests run on two CPUs. One of them has 64 vCPUs that give up their time slices all the time. The
/// table by VM names that guest and its vCPUs' waits; its rows show the DIAG.
#[test]
fn s390x_the_guest_with_the_storm_is_found() {
    let quiet = Background::start("--vcpus 1 --guest-us 50 stidp=200 diag44=5");
    let live = Live::start("-d 600 --by vm,reason");
    quiet.go();
    let storm = "--vcpus 64 --guest-us 50 --rounds 4 diag44=95 stidp=5";
    let output = succeed(Command::new(workload_path()).args(storm.split_whitespace()));
    let storm = crate::guest::oracle(&output.stdout, "s390");
    let quiet = quiet.finish("s390");
    let (status, blocks) = live.stop(libc::SIGINT);
    assert_eq!((status, storm.len(), quiet.len()), (0, 64, 1));
    let table = Table::last(&blocks);
    let (loud, calm) = (storm[0].pid, quiet[0].pid);
    let samples = |pid: u64| {
        let row =
            table.rows().iter().find(|row| row["pid"] == pid && row["reason"] == "Instruction").unwrap();
        causes(row)["DIAG (0x44) time slice end"]
    };
    assert_eq!((samples(loud), samples(calm)), (64 * 4 * 95, 5));
    let times = |pid: u64| {
        let vm = table.0["vms"].as_array().unwrap().iter().find(|vm| vm["pid"] == pid).unwrap();
        let share = |part: &Value| part.as_u64().unwrap() as f64 / vm["elapsed_ns"].as_f64().unwrap();
        (share(&vm["guest_ns"]), share(&vm["parts"]["runqueue_ns"]))
    };
    let (guest, runqueue) = times(loud);
    assert!(runqueue > guest && runqueue > 0.25, "64 vCPUs on 2 CPUs wait for them: {}", table.0);
}

/// A dump of a little-endian machine, parts and causes included.
#[test]
fn s390x_a_dump_of_x86_is_read() {
    let dump = crate::guest::scratch("x86");
    fs::write(&dump, include_bytes!("../fixtures/schema-2.exitlat")).unwrap();
    let table = report(&dump, "--by reason");
    assert_eq!(
        (&table.reason("cpuid")["samples"], &table.reason("io")["samples"]),
        (&400.into(), &40.into())
    );
    assert_eq!(table.reason("io")["user_exits"][0]["cause"], "KVM_EXIT_IO");
    assert_eq!(table.0["vms"][0]["unaccounted_ns"], 0);
}

#[test]
fn s390x_filters_by_vcpu_reason_and_process() {
    let (vcpus, dump) = record("", "--vcpus 2 diag44=30 prog6=20 extreq=10", "s390");
    let only = report(&dump, &format!("{BY} --vcpu 1 -f ^Instruction$"));
    let [row] = only.rows() else { panic!("one row: {}", only.0) };
    assert_eq!((row["vcpu"].as_u64(), row["samples"].as_u64()), (Some(1), Some(30)));
    assert_eq!(causes(row)["DIAG (0x44) time slice end"], 30);
    assert_eq!(vcpus[1].tid, row["tid"]);

    let guests = Background::start("--vcpus 1 diag44=50");
    let pid = guests.ready["pid"].as_u64().unwrap();
    let (theirs, others) =
        (Live::start(&format!("-d 600 -p {pid} {BY}")), Live::start(&format!("-d 600 -p 1 {BY}")));
    guests.go();
    let vcpus = guests.finish("s390");
    demand_script(&Table::last(&theirs.stop(libc::SIGINT).1), &vcpus);
    assert!(Table::last(&others.stop(libc::SIGINT).1).rows().is_empty());
}

#[test]
fn s390x_slots_of_dead_vcpus_are_used_again() {
    // 16 slots for 6 virtual machines of 2 vCPUs with 3 slots each.
    let mut live = Live::start(&format!("-d 20ms --slots 16 {BY}"));
    let (mut vcpus, mut gone) = (Vec::new(), 0);
    let mut blocks = live.blocks();
    for _ in 0..6 {
        let output = succeed(Command::new(workload_path()).args("--vcpus 2 diag44=5 prog6=5".split(' ')));
        vcpus.extend(crate::guest::oracle(&output.stdout, "s390"));
        // Each thread ends in an exit; that is counted when its slots have been handed back.
        while gone < vcpus.len() as u64 {
            gone += Table(blocks.next().expect("exitlat goes on")).loss("died_in_exit");
        }
    }
    live.signal(libc::SIGINT);
    demand_script(&Table(blocks.last().expect("a total at the end")), &vcpus);
    live.stop(libc::SIGINT);
}

#[test]
fn s390x_decode_tables_agree_with_this_kernel() {
    for event in events() {
        let format = fs::read_to_string(format!("/sys/kernel/tracing/events/kvm/{event}/format")).unwrap();
        let (labels, found) = disagreements(event, &format).unwrap();
        assert!(found.is_empty(), "{found:#?}");
        assert!(labels >= 9, "{event}: {labels} labels");
    }
}

fn check() -> (Option<i32>, Value) {
    let output = exitlat().args(["check", "--format", "json"]).output().unwrap();
    (output.status.code(), json_lines(&output.stdout).pop().unwrap())
}

fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding["subject"] == subject)
        .unwrap_or_else(|| panic!("{subject}: {report}"))
}

#[test]
fn s390x_check_explains_this_host() {
    let (status, report) = check();
    assert_eq!(status, Some(0), "{report}");
    for subject in ["KVM backend", "tracefs", "KVM events", "rights", "BTF", "programs"] {
        assert_eq!(finding(&report, subject)["status"], "ok", "{report}");
    }
    let has_btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    let btf = finding(&report, "BTF")["found"].as_str().unwrap();
    assert_eq!(btf.contains("this kernel has none"), !has_btf, "{report}");
    // Neither of the lab's kernels for s390x has a JIT.
    assert_eq!(finding(&report, "BPF JIT")["found"], "this kernel uses none");

    let output = exitlat().args(["live", "--once", "--attach", "raw"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not used on s390x"), "{output:?}");
}

/// Unloads KVM; the drop loads it again.
struct WithoutKvm;

impl WithoutKvm {
    fn new() -> Self {
        succeed(Command::new("rmmod").arg("kvm"));
        Self
    }
}

impl Drop for WithoutKvm {
    fn drop(&mut self) {
        succeed(Command::new("insmod").arg("/lib/modules/kvm.ko"));
    }
}

#[test]
fn s390x_check_explains_a_host_without_sie() {
    let _gone = WithoutKvm::new();
    let (status, report) = check();
    assert_eq!(status, Some(4), "{report}");
    // The emulator has no SIE. `check` says so instead of suggesting a module that would refuse to load.
    let backend = finding(&report, "KVM backend");
    assert_eq!(backend["status"], "missing");
    assert!(backend["found"].as_str().unwrap().contains("no SIE"), "{report}");
    let events = finding(&report, "KVM events");
    assert!(events["found"].as_str().unwrap().contains("kvm_s390_sie_enter"), "{report}");
    assert!(events["remedy"].as_str().unwrap().contains("modprobe kvm"), "{report}");

    let output = exitlat().args(["live", "--once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

/// A bound on what KVM and the programs add to a scripted time. A nanosecond is an instruction here, so no
/// host's speed is in it. Measured are 3 us for most exits, 17 us for the worst.
const OVERHEAD_NS: u64 = 40_000;

fn ns(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no {field} in {value}"))
}

fn timed(arguments: &str) -> (Vec<Vcpu>, Table, PathBuf) {
    let (vcpus, dump) = record("", arguments, "s390");
    (vcpus, report(&dump, "--by reason"), dump)
}

#[test]
fn icount_the_vmms_time_is_what_it_spun() {
    let (vcpus, table, _) = timed("--vmm-us 500 ssm=100 stidp=100 diag44=100");
    let spun = vcpus[0].raw["spun_ns"].as_u64().unwrap();
    let slow = cause(&table, "Instruction", "SSM");
    assert!(ns(slow, "min_ns") >= 500_000 && ns(slow, "sum_ns") >= spun, "{slow}, {spun}");
    assert!(ns(slow, "sum_ns") <= spun + 100 * OVERHEAD_NS, "{slow}, {spun}");
    // The others are handled in the kernel, in a time of their own.
    for name in ["0xB2 STIDP", "DIAG (0x44) time slice end"] {
        let quick = cause(&table, "Instruction", name);
        assert!(ns(quick, "sum_ns") / 100 <= OVERHEAD_NS, "{quick}");
    }
    // A third of the exits is slow: the quantiles tell.
    let all = table.reason("Instruction");
    assert!(ns(all, "p50_ns") <= OVERHEAD_NS, "{all}");
    assert!((484_000..=500_000 + OVERHEAD_NS).contains(&ns(all, "p99_ns")), "{all}");
}

/// The rate is in guest time, so on a machine of a thousand million instructions a second. BPF programs are
/// interpreted here.
#[test]
fn icount_more_than_100_000_exits_a_second_without_a_loss() {
    let (vcpus, dump) = record("", "stidp=20000", "s390");
    let table = report(&dump, BY);
    demand_script(&table, &vcpus);
    let losses = numbers(&table.0["losses"]);
    assert_eq!(losses, BTreeMap::from([("died_in_exit".into(), 1), ("early_entries".into(), 1)]));
    let rate = 20_000.0 / (ns(&vcpus[0].raw, "wall_ns") as f64 / 1e9);
    assert!(rate > 100_000.0, "{rate} exits/s");
}

#[test]
fn icount_time_in_the_guest_is_no_exits_time() {
    let (_, quick, _) = timed("stidp=200");
    let (_, slow, _) = timed("--guest-us 300 stidp=200");
    let [quick, slow] = [&quick, &slow].map(|table| table.reason("Instruction").clone());
    let difference = ns(&quick, "p50_ns").abs_diff(ns(&slow, "p50_ns"));
    assert!(difference <= ns(&quick, "p50_ns") / 4, "{quick} and {slow}");
}

#[test]
fn icount_a_wait_lasts_until_its_timer() {
    let (vcpus, table, _) = timed("--rounds 20 --wait-us 3000 timer=1 wait=1");
    let asked = vcpus[0].raw["waited_ns"].as_u64().unwrap();
    assert_eq!(asked, 20 * 3_000_000);
    let waits = table.reason("Wait state");
    assert_eq!((&waits["samples"], &waits["idle"]), (&20.into(), &false.into()));
    // From arming to the wait takes a little, and so do polling and waking.
    let slack = 2 * OVERHEAD_NS;
    let whole = ns(waits, "sum_ns") + ns(waits, "halt_ns");
    assert!((20 * (3_000_000 - slack)..=20 * (3_000_000 + slack)).contains(&whole), "{waits}");
    assert!(ns(waits, "halt_ns") > 20 * 2_000_000, "most of it is sleep: {waits}");
}
