//! The breakdown of exits, for guests and VMMs with known answers. Bounds are minimum times of sleeps and
//! spins, sums, and parts that must be the larger half by far.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::guest::{
    Background, Live, Table, demand_exact, exitlat, record, report, scratch, succeed, task_state, wait_until,
};

const PARTS: [&str; 8] = [
    "kernel_ns",
    "poll_ns",
    "halt_ns",
    "blocked_ns",
    "runqueue_ns",
    "user_ns",
    "user_blocked_ns",
    "stopped_ns",
];

pub fn ns(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_else(|| panic!("no {name} in {row}"))
}

/// Every row's parts sum to its time, idle and stopped time included; every VM's to its wall time.
pub fn demand_sums(table: &Table) {
    for row in table.rows() {
        let parts: u64 = PARTS.iter().map(|part| ns(row, part)).sum();
        assert_eq!(parts, ns(row, "sum_ns") + ns(row, "halt_ns") + ns(row, "stopped_ns"), "{row}");
    }
    for vm in table.0["vms"].as_array().unwrap() {
        let parts: u64 = PARTS.iter().map(|part| ns(&vm["parts"], part)).sum();
        assert_eq!(ns(vm, "guest_ns") + parts + ns(vm, "unaccounted_ns"), ns(vm, "elapsed_ns"), "{vm}");
        assert_eq!(ns(vm, "unaccounted_ns"), 0, "{vm}");
    }
    assert!(!table.0["vms"].as_array().unwrap().is_empty(), "{}", table.0);
}

pub fn cause<'a>(row: &'a Value, name: &str) -> &'a Value {
    let causes = row["user_exits"].as_array().unwrap_or_else(|| panic!("no user exits in {row}"));
    causes.iter().find(|cause| cause["cause"] == name).unwrap_or_else(|| panic!("no {name} in {row}"))
}

/// The only VM's times.
pub fn vm(table: &Table) -> &Value {
    let vms = table.0["vms"].as_array().unwrap();
    assert_eq!(vms.len(), 1, "{}", table.0);
    &vms[0]
}

#[test]
fn a_vmm_that_sleeps_is_asleep_and_not_in_the_kernel() {
    demand_sleep("--io-sleep-us 5000");
}

/// An ioctl of the vCPU between two calls of KVM_RUN is the VMM's time.
#[test]
fn a_vmm_that_reads_msrs_and_sleeps_is_not_in_the_kernel() {
    demand_sleep("--io-read-msrs --io-sleep-us 5000");
}

/// A VMM that sleeps for 5 ms at each of 40 port exits.
fn demand_sleep(options: &str) {
    for path in ["raw", "tp"] {
        if path == "raw" && !crate::guest::has_module_btf() {
            continue;
        }
        let workload = format!("{options} cpuid=20 io=40");
        let (vcpus, dump) = record(&format!("--attach {path}"), &workload, "svm");
        let table = report(&dump, "--by reason");
        demand_sums(&table);
        let io = table.reason("io");
        let slept = vcpus[0].raw["io_sleep_ns_total"].as_u64().unwrap();
        // The VMM's measurement includes going to sleep, waking up and the wait for a CPU. None of it is
        // KVM's time.
        let in_vmm = ns(io, "user_ns") + ns(io, "user_blocked_ns") + ns(io, "runqueue_ns");
        assert!(in_vmm >= slept, "slept {slept}: {io}");
        assert!(ns(io, "user_blocked_ns") <= slept, "slept {slept}: {io}");
        assert!(ns(io, "user_blocked_ns") > 40 * 5_000_000 / 2, "most of it is sleep: {io}");
        // All 40 returns slept. The guest's last exit has no entry, so it adds none.
        let trips = cause(io, "KVM_EXIT_IO");
        assert_eq!(trips["samples"], 40, "{io}");
        assert_eq!(ns(trips, "sum_ns"), ns(io, "user_ns") + ns(io, "user_blocked_ns"), "{io}");
        assert!(ns(trips, "min_ns") >= 5_000_000, "{trips}");
        assert!(table.reason("cpuid")["user_exits"].is_null(), "{}", table.0);
        assert_eq!(ns(table.reason("cpuid"), "user_blocked_ns"), 0);
    }
}

#[test]
fn a_vmm_that_computes_is_the_vmm() {
    let (vcpus, dump) = record("", "--io-spin-us 5000 io=40", "svm");
    let table = report(&dump, "--by reason");
    demand_sums(&table);
    let (io, spun) = (table.reason("io"), vcpus[0].raw["io_spin_ns_total"].as_u64().unwrap());
    assert!(spun >= 40 * 5_000_000);
    // The clock that ends the spinning also runs while another thread has the CPU or a page is fetched.
    let in_vmm = ns(io, "user_ns") + ns(io, "runqueue_ns") + ns(io, "user_blocked_ns");
    assert!(in_vmm >= spun, "spun {spun}: {io}");
    assert!(ns(io, "user_ns") > spun / 2, "most of it is work: {io}");
    // A short sleep may happen: the VMM's memory may have to be fetched.
    assert!(ns(io, "user_blocked_ns") < 40 * 5_000_000 / 2, "{io}");
}

#[test]
fn a_guest_that_halts_is_idle_and_not_handled() {
    let (vcpus, dump) = record("", "--khlt-us 500000 khlt=4", "svm");
    let table = report(&dump, "--by reason");
    demand_sums(&table);
    let halted = table.reason("hlt");
    assert_eq!(halted["samples"], 4, "{halted}");
    let wall = vcpus[0].raw["wall_ns"].as_u64().unwrap();
    // The time between arming a timer and its HLT is not slept. Its length depends on the machine.
    assert!(ns(halted, "halt_ns") > ns(vm(&table), "elapsed_ns") / 2, "most of it is sleep: {}", table.0);
    assert!(ns(halted, "halt_ns") <= wall, "{halted}");
    assert!(ns(halted, "sum_ns") + ns(halted, "halt_ns") <= wall, "{halted}");
    assert_eq!(table.0["idle_ns"], halted["halt_ns"]);
    // With idle time the row is what perf shows: the whole exits.
    let whole = report(&dump, "--by reason --idle");
    let whole = whole.reason("hlt");
    assert_eq!(whole["samples"], 4);
    assert_eq!(ns(whole, "sum_ns"), ns(halted, "sum_ns") + ns(halted, "halt_ns"));
    assert!(ns(whole, "p50_ns") > 500_000_000 / 2, "{whole}");
    let shares: f64 = table.rows().iter().filter_map(|row| row["time_share"].as_f64()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "shares of handled time sum to {shares}");
}

/// KVM's `halt_poll_ns`; the drop restores the old value.
struct HaltPoll(String);

impl HaltPoll {
    const PARAMETER: &str = "/sys/module/kvm/parameters/halt_poll_ns";

    fn new() -> Self {
        Self(fs::read_to_string(Self::PARAMETER).unwrap())
    }

    fn set(&self, poll_ns: &str) {
        fs::write(Self::PARAMETER, poll_ns).unwrap();
    }
}

impl Drop for HaltPoll {
    fn drop(&mut self) {
        self.set(&self.0);
    }
}

#[test]
fn halt_polling_moves_time_from_idle_to_polling() {
    let halt_poll = HaltPoll::new();
    let measure = |poll_ns: &str| {
        halt_poll.set(poll_ns);
        let (_, dump) = record("", "--khlt-us 20000 khlt=60", "svm");
        let table = report(&dump, "--by reason");
        demand_sums(&table);
        let halted = table.reason("hlt").clone();
        assert_eq!(halted["samples"], 60);
        halted
    };
    // The median, because the machine may stall during some halts. Polling is handled time, sleep is not.
    let half = 20_000_000 / 2;
    let (off, on) = (measure("0"), measure("1000000000"));
    assert!(ns(&off, "p50_ns") < half && ns(&off, "halt_ns") > 0, "without polling: {off}");
    // KVM polls twice as long each time that it was not enough, from 10 us on: that takes a dozen halts.
    assert!(ns(&on, "p50_ns") > half, "polling for up to 1 s a timer of 20 ms: {on}");
    assert!(ns(&on, "poll_ns") > 30 * half, "of 60 halts most are polled: {on}");
}

#[test]
fn two_vcpus_on_one_cpu_wait_for_each_other() {
    let (vcpus, dump) = record("", "--vcpus 2 --pin 0,0 spin=3000000 cpuid=1", "svm");
    let table = report(&dump, "--by vcpu,part");
    demand_rows(&table);
    let of = |vcpu: u64, part: &str| {
        let row = table.rows().iter().find(|row| row["vcpu"] == vcpu && row["part"] == part);
        row.map_or(0, |row| ns(row, "sum_ns"))
    };
    for vcpu in 0..2 {
        assert!(of(vcpu, "runqueue") > 0 && of(vcpu, "guest") > 0, "{}", table.0);
    }
    let both = |part: &str| of(0, part) + of(1, part);
    let all: u64 = table.rows().iter().map(|row| ns(row, "sum_ns")).sum();
    let times = |name: &str| vcpus.iter().map(|vcpu| ns(&vcpu.raw, name)).collect::<Vec<_>>();
    let wall = times("finished").into_iter().max().unwrap() - times("started").into_iter().min().unwrap();
    // One CPU runs one of them at a time. Time outside the guest is mostly the wait for the CPU.
    assert!(both("guest") <= wall, "{wall} ns: {}", table.0);
    assert!(both("runqueue") > (all - both("guest")) / 2, "{}", table.0);
}

/// Rows by part have a time and nothing else.
fn demand_rows(table: &Table) {
    for row in table.rows() {
        assert!(row["part"].is_string() && row["samples"] == 0 && ns(row, "sum_ns") > 0, "{row}");
    }
}

#[test]
fn a_vcpu_that_moves_in_mid_exit_stays_exact() {
    let (vcpus, dump) = record("", "--vcpus 2 --migrate cpuid=300 io=300", "svm");
    demand_exact(&report(&dump, "--by vcpu,reason"), &vcpus, "svm");
    let table = report(&dump, "--by reason");
    demand_sums(&table);
    assert!(vcpus.iter().all(|vcpu| vcpu.raw["migrations"] == 301 || vcpu.raw["migrations"] == 300));
    assert_eq!(cause(table.reason("io"), "KVM_EXIT_IO")["samples"], 600);
}

/// A stop of the process for a second is neither the exit's time nor the VMM's.
#[test]
fn a_stopped_vmm_is_stopped() {
    const STOP: Duration = Duration::from_secs(1);
    let workload = Background::start("--forever cpuid=50 msr=10 io=1");
    let mut live = Live::start("--total -d 200ms");
    let mut tables = live.blocks().map(Table);
    workload.go();
    let process = &workload.ready["vms"][0];
    let pid = process["pid"].as_i64().expect("the workload says its pid") as i32;
    let vcpu = process["vcpus"][0]["tid"].as_i64().expect("and its vCPU's thread");
    tables.by_ref().find(|table| !table.rows().is_empty()).expect("its vCPU is seen");
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    wait_until("the vCPU is stopped", || task_state(&format!("/proc/{pid}/task/{vcpu}")) == Some('T'));
    let began = Instant::now();
    thread::sleep(STOP);
    let stop_ns = began.elapsed().as_nanos() as u64;
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    // An exit is in the rows when it is over.
    let stopped = |table: &Table| table.rows().iter().map(|row| ns(row, "stopped_ns")).sum::<u64>();
    tables.by_ref().find(|table| stopped(table) >= stop_ns * 9 / 10).expect("the stop is seen");
    workload.kill();
    live.signal(libc::SIGINT);
    let table = tables.last().expect("a total");
    assert_eq!(live.stop(libc::SIGINT).0, 0);
    demand_sums(&table);
    assert!(ns(&vm(&table)["parts"], "stopped_ns") >= stop_ns * 9 / 10, "{}", table.0);
    let handled: u64 = table.rows().iter().map(|row| ns(row, "sum_ns")).sum();
    let running = handled + ns(vm(&table), "guest_ns");
    assert!(running <= ns(vm(&table), "elapsed_ns") - stop_ns * 9 / 10, "a stop became work: {}", table.0);
}

#[test]
fn without_the_scheduler_its_parts_are_unknown() {
    let (_, dump) = record("--no-sched", "--io-sleep-us 5000 --khlt-us 500000 io=10 khlt=4", "svm");
    let table = report(&dump, "--by reason");
    let io = table.reason("io");
    for part in ["blocked_ns", "runqueue_ns", "user_blocked_ns", "stopped_ns"] {
        assert!(io[part].is_null(), "{part} is unknown, not 0: {io}");
        assert!(vm(&table)["parts"][part].is_null(), "{}", table.0);
    }
    assert!(ns(io, "user_ns") >= 10 * 5_000_000, "{io}");
    let halted = table.reason("hlt");
    assert!(ns(halted, "halt_ns") > 4 * 500_000_000 / 2, "most of it is sleep: {halted}");
    let text = succeed(exitlat().arg("report").arg(&dump)).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(" ? "), "{text}");
}

/// Guest time has one sample for each pair of entry and exit.
#[test]
fn guest_time_has_its_histogram() {
    let (_, dump) = record("--guest-histogram", "cpuid=500 spin=20000", "svm");
    let table = report(&dump, "--by vcpu,reason");
    let exits: u64 = table.rows().iter().map(|row| row["samples"].as_u64().unwrap()).sum();
    let guests = table.0["guests"].as_array().unwrap();
    assert_eq!(guests.len(), 1, "{}", table.0);
    // Each closed exit but the last is followed by a stretch, and so is the last: the guest's end is an exit.
    assert_eq!(guests[0]["samples"], exits, "{}", table.0);
    assert!(ns(&guests[0], "sum_ns") == ns(vm(&table), "guest_ns"), "{}", table.0);
    let csv = scratch("csv");
    fs::write(&csv, succeed(exitlat().arg("report").arg(&dump).args(["--format", "csv"])).stdout).unwrap();
    assert!(fs::read_to_string(&csv).unwrap().contains(",GUEST,"));
}

/// A vCPU that is idle all the time is shown as such while its exit is still open.
#[test]
fn an_open_halt_is_idle_already() {
    let workload = Background::start("--khlt-us 3500000 cpuid=10 khlt=4");
    let mut live = Live::start("--by reason 0.5");
    workload.go();
    let mut seen = Vec::new();
    // Less than the halts last. The first interval within one of them is enough.
    let mut blocks = live.blocks().take(24).inspect(|block| seen.push(block.clone()));
    let idle = blocks.any(|block| {
        let vm = block["vms"].as_array().and_then(|vms| vms.first());
        vm.is_some_and(|vm| ns(&vm["parts"], "halt_ns") as f64 > 0.9 * ns(vm, "elapsed_ns") as f64)
    });
    live.stop(libc::SIGINT);
    workload.kill();
    assert!(idle, "{seen:#?}");
}
