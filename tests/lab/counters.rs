//! KVM's own counters: all that debugfs has is shown, and guests that make N exits show N exits of KVM's.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::guest::{Background, Table, exitlat, succeed};

const KVM: &str = "/sys/kernel/debug/kvm";

/// The readings in a table of a VM, or of one of its vCPUs.
fn readings(table: &Table, pid: u64, vcpu: Option<u64>) -> impl Iterator<Item = &Value> {
    let all = table.0["counters"].as_array().expect("there are counters");
    all.iter().filter(move |it| it["pid"] == pid && it["vcpu"] == Value::from(vcpu))
}

/// The reading of one counter.
fn reading<'a>(table: &'a Table, pid: u64, vcpu: Option<u64>, name: &str) -> &'a Value {
    let found = readings(table, pid, vcpu).find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} of {pid}, {vcpu:?} in {}", table.0))
}

fn names(directory: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut files, mut directories) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let _ =
            if entry.file_type().unwrap().is_dir() { directories.insert(name) } else { files.insert(name) };
    }
    (files, directories)
}

/// Demands that each file of each VM and vCPU is in the output, and that all files of KVM's own directory,
/// which sum up all VMs, are files of each VM.
fn demand_every_file(guests: &Background, vms: usize, vcpus: usize) {
    let mut command = exitlat();
    command.args(["live", "--once", "-d", "0.2", "--counters=vcpu", "--format", "json"]);
    let output = succeed(&mut command);
    let table = Table::last(&output.stdout);
    let (sums, directories) = names(Path::new(KVM));
    assert!(sums.contains("halt_wakeup"), "{sums:?}");
    let told = |pid, vcpu| -> BTreeSet<String> {
        readings(&table, pid, vcpu).map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut seen = 0;
    for directory in directories {
        let (tid, fd) = directory.split_once('-').expect("PID-FD");
        let (tid, fd): (u64, u64) = (tid.parse().unwrap(), fd.parse().unwrap());
        let (files, below) = names(&Path::new(KVM).join(&directory));
        let of_vm = told(tid, None);
        assert!(files.is_subset(&of_vm), "{directory}: {:?}", files.difference(&of_vm));
        assert!(sums.is_subset(&of_vm), "{:?}", sums.difference(&of_vm));
        assert!(readings(&table, tid, None).all(|it| it["vm_fd"] == fd), "{}", table.0);
        assert_eq!(below.len(), vcpus, "{below:?}");
        for vcpu in below {
            let number = vcpu.strip_prefix("vcpu").unwrap().parse().unwrap();
            let (files, _) = names(&Path::new(KVM).join(&directory).join(&vcpu));
            let of_vcpu = told(tid, Some(number));
            assert!(files.is_subset(&of_vcpu), "{directory}/{vcpu}: {:?}", files.difference(&of_vcpu));
        }
        // What the kernel has beyond the table's names is shown, without a unit.
        for it in readings(&table, tid, None) {
            let unknown = it["kind"] == "unknown";
            assert_eq!(unknown, it["unit"] == "unknown", "{it}");
            assert_eq!(it["value"].is_null(), it["kind"] == "text" || it["kind"] == "log_hist", "{it}");
        }
        seen += 1;
    }
    assert_eq!(seen, vms, "{:?}", guests.ready);
}

/// Whether the kernel has statistics in binary form, which the workload holds as QEMU does (since Linux
/// 5.14).
fn has_descriptors(pid: u64) -> bool {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    links.filter_map(|link| fs::read_link(link.path()).ok()).any(|it| it.to_string_lossy().contains("-stats"))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{
        os::unix::fs::FileExt as _,
        process::Command,
        sync::atomic::{AtomicBool, Ordering},
        thread,
        time::Duration,
    };

    use super::*;
    use crate::guest::{Vcpu, json_lines, record_alive, report, scratch};

    #[test]
    fn counters_of_every_file_are_read() {
        let guests = Background::start("--vms 2 --vcpus 2 --forever cpuid=10");
        guests.go();
        demand_every_file(&guests, 2, 2);
        guests.kill();
    }

    fn sum(vcpus: &[&Vcpu], reason: &str) -> u64 {
        vcpus.iter().map(|vcpu| vcpu.exits.get(reason).copied().unwrap_or(0)).sum()
    }

    /// The totals since the VM began, and their growth while it was recorded, which is all of it.
    #[test]
    fn counters_are_those_of_known_guests() {
        let mix = "--vms 2 --vcpus 2 cpuid=1000 msr=400 io=200 mmio=150 hlt=50";
        let (vcpus, recording) = record_alive("-d 0.2 --counters=vcpu", mix, "svm");
        let table = report(&recording, "--by vm");
        let pids: BTreeSet<u64> = vcpus.iter().map(|vcpu| vcpu.pid).collect();
        assert_eq!(pids.len(), 2);
        for pid in pids {
            let vcpus: Vec<_> = vcpus.iter().filter(|vcpu| vcpu.pid == pid).collect();
            for (name, reason) in [("io_exits", "io"), ("halt_exits", "hlt")] {
                let it = reading(&table, pid, None, name);
                assert_eq!((&it["value"], &it["delta"]), (&sum(&vcpus, reason).into(), &it["value"]), "{it}");
                assert_eq!((&it["kind"], &it["unit"]), (&"cumulative".into(), &Value::Null));
            }
            let exits = reading(&table, pid, None, "exits");
            let predicted: u64 = vcpus.iter().flat_map(|vcpu| vcpu.exits.values()).sum();
            assert!(exits["value"].as_u64().unwrap() >= predicted, "{predicted}: {exits}");
            assert_eq!(exits["value"], exits["delta"], "{exits}");
            // KVM's count at the end of each vCPU.
            if let Some(kvm) = vcpus.iter().map(|vcpu| vcpu.kvm_exits).sum::<Option<u64>>() {
                assert_eq!(exits["value"], kvm, "{exits}");
                for vcpu in &vcpus {
                    let own = reading(&table, pid, Some(vcpu.id), "exits");
                    assert_eq!(own["value"], vcpu.kvm_exits.unwrap(), "{own}");
                    let waits = reading(&table, pid, Some(vcpu.id), "halt_wait_hist");
                    assert_eq!(waits["buckets"].as_array().map(Vec::len), Some(32), "{waits}");
                }
            }
        }
        let only = report(&recording, "--by vm -f ^io_exits$");
        assert!(
            only.0["counters"].as_array().unwrap().iter().all(|it| it["name"] == "io_exits"),
            "{}",
            only.0
        );
    }

    /// Whether KVM counts each exit that it has an event for (`model::self_check::COMPARABLE`).
    fn is_comparable() -> bool {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap(), numbers.next().unwrap()) >= (6u32, 5u32)
    }

    /// The blocks of eight intervals, in a mount namespace in which `script` has run.
    fn intervals(script: &str) -> (Vec<Value>, String) {
        let mut command = Command::new("unshare");
        let script = format!("{script}\nexec \"$@\"");
        command.args(["-m", "sh", "-e", "-c", &script, "sh"]).arg(exitlat().get_program());
        let output = succeed(command.args(["live", "0.3", "8", "--counters", "--format", "json"]));
        (json_lines(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Exits under way, halts and returns to the VMM are no differences. A count that grows faster than that
    /// of KVM is one, on kernels where the counts are compared: a file that the test writes is mounted over
    /// KVM's.
    #[test]
    fn counts_agree_with_kvms_own_unless_it_counts_more() {
        let guests = Background::start("--vms 2 --vcpus 2 --forever cpuid=100 io=20 mmio=20 hlt=5");
        guests.go();
        let (blocks, said) = intervals("true");
        assert!(blocks.len() >= 8, "{said}");
        for block in &blocks {
            assert!(block["samples"].as_u64().unwrap() > 0, "{block}");
            assert!(block["disagreements"].is_null(), "{block}");
        }
        let pid = guests.ready["vms"][1]["pid"].as_u64().unwrap();
        let (_, directories) = names(Path::new(KVM));
        let directory = directories.iter().find(|it| it.starts_with(&format!("{pid}-"))).unwrap();
        let (file, fake) = (format!("{KVM}/{directory}/exits"), scratch("exits"));
        // In place and of one length, so that no reader finds half a number.
        let count = |count: u64| format!("{count:020}\n");
        fs::write(&fake, count(0)).unwrap();
        let out = fs::File::options().write(true).open(&fake).unwrap();
        let done = AtomicBool::new(false);
        let (blocks, said) = thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0.. {
                    out.write_all_at(count(number << 32).as_bytes(), 0).unwrap();
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let found = intervals(&format!("mount --bind {} {file}", fake.display()));
            done.store(true, Ordering::Relaxed);
            found
        });
        guests.kill();
        let found: Vec<_> = blocks.iter().filter(|block| block["disagreements"].is_array()).collect();
        assert_eq!(!found.is_empty(), is_comparable(), "{said}");
        for block in &found {
            let all = block["disagreements"].as_array().unwrap();
            assert_eq!(all.len(), 1, "{block}");
            assert_eq!((&all[0]["pid"], &all[0]["counter"]), (&pid.into(), &"exits".into()), "{block}");
            let [ours, low, high] = ["ours", "kvm_low", "kvm_high"].map(|it| all[0][it].as_u64().unwrap());
            assert!(0 < ours && ours < low && low <= high, "{block}");
        }
        // The first reading is the base, and three must differ.
        assert!(blocks.iter().take(3).all(|block| block["disagreements"].is_null()), "{blocks:?}");
        assert_eq!(said.matches("KVM's exits grew by").count(), usize::from(is_comparable()), "{said}");
    }

    /// Nothing is read unless it is asked for, and what cannot be read costs the exits nothing.
    #[test]
    fn counters_that_cannot_be_read_are_no_failure() {
        let guests = Background::start("--forever cpuid=10");
        guests.go();
        let silent = succeed(exitlat().args(["live", "--once", "-d", "0.2", "--format", "json"]));
        assert!(Table::last(&silent.stdout).0["counters"].is_null());
        // In a mount namespace of its own debugfs is not mounted.
        let script = "umount -l /sys/kernel/debug && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh"]).arg(exitlat().get_program());
        command.args(["live", "--once", "-d", "0.2", "--counters", "--format", "json"]);
        let output = succeed(&mut command);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("KVM's own counters of VMs are missing: debugfs is not mounted; mount it"),
            "{text}"
        );
        let table = Table::last(&output.stdout);
        assert!(table.0["samples"].as_u64().unwrap() > 0, "{}", table.0);
        let pid = guests.ready["vms"][0]["pid"].as_u64().unwrap();
        // The VMM's own descriptors are still there.
        assert_eq!(table.0["counters"].is_array(), has_descriptors(pid), "{}", table.0);
        if has_descriptors(pid) {
            assert!(reading(&table, pid, Some(0), "exits")["value"].as_u64().unwrap() > 0);
        }
        guests.kill();
    }
}

#[cfg(target_arch = "s390x")]
mod s390x {
    use super::*;
    use crate::guest::scratch;

    #[test]
    fn s390x_counters_are_those_of_the_script() {
        let hold = scratch("hold");
        let guests =
            Background::start(&format!("--vcpus 2 --hold {} diag44=40 stidp=100 diag9c=11", hold.display()));
        guests.go();
        let done = hold.with_added_extension("done");
        crate::guest::wait_until("the vCPUs are done", || done.exists());
        // Linux has directories of vCPUs on x86 and arm64 only (__KVM_HAVE_ARCH_VCPU_DEBUGFS).
        demand_every_file(&guests, 1, 0);
        let mut command = exitlat();
        command.args([
            "live",
            "--once",
            "-d",
            "0.2",
            "--counters=vcpu",
            "--format",
            "json",
            "-f",
            "^instr|^exit",
        ]);
        let table = Table::last(&succeed(&mut command).stdout);
        let pid = guests.ready["pid"].as_u64().unwrap();
        let [stidp, diag44] = ["instruction_stidp", "instruction_diagnose_44"];
        for (name, each) in [(stidp, 100), (diag44, 40), ("instruction_diagnose_9c", 11)] {
            assert_eq!(reading(&table, pid, None, name)["value"], 2 * each, "{name}");
            if has_descriptors(pid) {
                assert_eq!(reading(&table, pid, Some(1), name)["value"], each, "{name}");
            }
        }
        fs::write(&hold, "").unwrap();
        let vcpus = guests.finish("s390");
        for vcpu in vcpus {
            let own = reading(&table, pid, Some(vcpu.id), "exit_userspace");
            assert_eq!(own["value"], vcpu.raw["kvm_stats"]["exit_userspace"], "{own}");
        }
    }
}
