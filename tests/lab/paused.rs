//! Whole VMs that are paused. The guest knows nothing of it, and no exit took that long: the time is
//! `stopped`.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    guest::{Background, Live, Table, record, report, wait_until},
    parts::{demand_sums, ns},
    qemu::LinuxGuest,
};

/// Demands that almost all of the pause is `stopped` time of each vCPU, and of no exit reason. The table is
/// by vCPU and reason, and the vCPUs have entered their guests again.
fn demand_paused(table: &Table, vcpus: u64, pause_ns: u64) {
    demand_sums(table);
    for vcpu in 0..vcpus {
        let rows: Vec<&Value> = table.rows().iter().filter(|row| row["vcpu"] == vcpu).collect();
        let sum = |name: &str| rows.iter().map(|row| ns(row, name)).sum::<u64>();
        // Going to sleep is the VMM's time.
        assert!(sum("stopped_ns") >= pause_ns * 9 / 10, "vCPU {vcpu}, {pause_ns} ns: {}", table.0);
        for row in &rows {
            assert!(ns(row, "max_ns") < pause_ns, "a pause of {pause_ns} ns became work: {row}");
        }
    }
    let parts = &table.0["vms"][0]["parts"];
    assert!(ns(parts, "stopped_ns") >= vcpus * pause_ns * 9 / 10, "{}", table.0);
    assert!(ns(parts, "user_blocked_ns") < pause_ns, "{}", table.0);
}

/// The VMM kicks all vCPUs out of KVM_RUN and keeps them waiting.
#[test]
fn a_vm_whose_vcpus_all_wait_is_stopped() {
    const PAUSE_NS: u64 = 1_500_000_000;
    let workload =
        format!("--vcpus 2 --forever --kick 1 --kick-all --kick-us {} cpuid=50 io=1", PAUSE_NS / 1000);
    let (vcpus, recording) = record("", &workload, "svm");
    assert!(vcpus.iter().all(|vcpu| vcpu.raw["interrupted"] == 1));
    assert!(vcpus.iter().all(|vcpu| ns(&vcpu.raw, "lock_wait_ns_total") >= PAUSE_NS));
    demand_paused(&report(&recording, "--by vcpu,reason"), 2, PAUSE_NS);
}

/// A cgroup, version 2, that is removed once its processes are gone.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let path = Path::new("/sys/fs/cgroup").join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap_or_else(|error| panic!("{file}: {error}"));
    }

    fn freeze(&self) {
        self.write("cgroup.freeze", "1");
        let frozen = || fs::read_to_string(self.0.join("cgroup.events")).unwrap().contains("frozen 1");
        wait_until("the group is frozen", frozen);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A frozen process cannot end.
        let _ = fs::write(self.0.join("cgroup.freeze"), "0");
        if thread::panicking() {
            return;
        }
        // Processes that were killed are in it until they are gone.
        let is_empty = || fs::read_to_string(self.0.join("cgroup.events")).unwrap().contains("populated 0");
        wait_until("the group is empty", is_empty);
        fs::remove_dir(&self.0).unwrap();
    }
}

/// The cgroup freezer, which pauses containers.
#[test]
fn a_frozen_vm_is_stopped() {
    const PAUSE: Duration = Duration::from_millis(1500);
    let group = Cgroup::new("frozen");
    let live = Live::start("-d 600 --by vcpu,reason");
    let workload = Background::start("--vcpus 2 --forever cpuid=50 msr=10");
    let vm = &workload.ready["vms"][0];
    group.write("cgroup.procs", &vm["pid"].to_string());
    let turns = |workload: &Background| {
        let vcpus = workload.ready["vms"][0]["vcpus"].as_array().unwrap();
        let tids: Vec<String> = vcpus.iter().map(|vcpu| vcpu["tid"].to_string()).collect();
        tids.into_iter().map(|tid| switches(vm["pid"].as_u64().unwrap(), &tid)).collect::<Vec<_>>()
    };
    // Two vCPUs on two CPUs: after some context switches each of them has been in its guest. Those before the
    // start are of waiting for it.
    let worked = |(now, then): (&u64, &u64)| now > &(then + 20);
    let waiting = turns(&workload);
    workload.go();
    wait_until("both vCPUs work", || turns(&workload).iter().zip(&waiting).all(worked));
    group.freeze();
    let start = Instant::now();
    thread::sleep(PAUSE);
    let pause_ns = start.elapsed().as_nanos() as u64;
    let frozen = turns(&workload);
    group.write("cgroup.freeze", "0");
    wait_until("both vCPUs work again", || turns(&workload).iter().zip(&frozen).all(worked));
    let table = Table::last(&live.stop(libc::SIGINT).1);
    workload.kill();
    demand_paused(&table, 2, pause_ns);
}

/// How often a thread has left its CPU.
fn switches(pid: u64, tid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap_or_default();
    let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
}

/// QEMU's monitor pauses the VM, as `virsh suspend`, a snapshot or a migration does.
#[test]
fn qemu_stop_is_stopped() {
    const PAUSE: Duration = Duration::from_millis(1500);
    let mut guest = LinuxGuest::shared();
    let live = Live::start("-d 600 --by vcpu,reason");
    guest.use_both_vcpus();
    guest.stop();
    let start = Instant::now();
    thread::sleep(PAUSE);
    let pause_ns = start.elapsed().as_nanos() as u64;
    guest.cont();
    guest.use_both_vcpus();
    let table = Table::last(&live.stop(libc::SIGINT).1);
    demand_paused(&table, 2, pause_ns);
}
