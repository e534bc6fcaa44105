//! Where sources are missing: no debugfs, something else in its place, a pid namespace.

use std::{fs, path::Path, process::Command, thread};

use serde_json::json;

use super::{BY, id_and_tid, list, pid, vcpu_threads};
use crate::guest::{
    Background, Table, demand_exact, exitlat, record_and_listen, record_by, report, scratch, succeed,
};

/// Something else than debugfs at its place, until this is dropped.
struct NoDebugfs {
    foreign: bool,
}

const DEBUGFS: &str = "/sys/kernel/debug";

impl NoDebugfs {
    fn new(foreign: bool) -> Self {
        // tracefs may be mounted below it.
        succeed(Command::new("umount").args(["-l", DEBUGFS]));
        if foreign {
            succeed(Command::new("mount").args(["-t", "tmpfs", "tmpfs", DEBUGFS]));
        }
        Self { foreign }
    }
}

impl Drop for NoDebugfs {
    fn drop(&mut self) {
        if self.foreign {
            let _ = Command::new("umount").args(["-l", DEBUGFS]).status();
        }
        let mounted = Command::new("mount").args(["-t", "debugfs", "debugfs", DEBUGFS]).status();
        assert!(thread::panicking() || mounted.unwrap().success());
    }
}

/// Lists and records a VM by its name where debugfs does not tell, `lie` being a chance to put something in
/// its place.
fn demand_without_debugfs(lie: impl Fn(u64, &[(u64, u64)])) {
    let hold = scratch("hold");
    let arguments = format!("--name web --vcpus 2 --hold {} cpuid=300 io=10", hold.display());
    let guests = Background::start(&arguments);
    let vcpus: Vec<_> = guests.ready["vms"][0]["vcpus"].as_array().unwrap().iter().map(id_and_tid).collect();
    lie(pid(&guests), &vcpus);
    let listed = list(&["-d", "0.1", "-g", "web-0"]);
    let vm = &listed["web-0"];
    assert_eq!((&vm["vmm"], &vm["pid"]), (&json!("qemu"), &json!(pid(&guests))), "{vm}");
    assert_eq!((&vm["vcpus_open"], &vm["vcpus_seen"]), (&json!([0, 1]), &json!([0, 1])), "{vm}");
    // Only debugfs knows these.
    assert_eq!((&vm["vm_fds"], &vm["exits"], &vm["exits_total"]), (&json!([]), &json!(null), &json!(null)));
    let threads = [0, 1].map(|n| (format!("CPU {n}/KVM"), (n, "thread-name".to_owned())));
    assert_eq!(vcpu_threads(vm), threads.into(), "{vm}");
    let checked = Table::last(&succeed(exitlat().args(["check", "--no-probe", "--format", "json"])).stdout).0;
    let findings = checked["findings"].as_array().unwrap().iter();
    let said: Vec<_> = findings.filter(|finding| finding["subject"] == "who VMs are").collect();
    let [said] = said[..] else { panic!("one source is missing: {said:?}") };
    assert_eq!(said["status"], "note", "{said}");
    assert!(said["found"].as_str().unwrap().contains("which thread runs which vCPU"), "{said}");
    let text = succeed(exitlat().args(["list", "-d", "0.1"]));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let rate = text.lines().find(|line| line.starts_with("web-0")).unwrap();
    assert!(rate.split_whitespace().any(|cell| cell == "-"), "a rate of exits that nobody knows: {text}");

    let (recording, said) = record_and_listen("-g web-0 --counters", &guests);
    fs::write(&hold, "").unwrap();
    demand_exact(&report(&recording, BY), &guests.finish("svm"), "svm");
    assert!(said.contains("debugfs is not mounted"), "{said}");
}

#[test]
fn without_debugfs_vms_have_their_names() {
    let _without = NoDebugfs::new(false);
    demand_without_debugfs(|_, _| ());
}

#[test]
fn what_is_no_debugfs_is_not_believed() {
    let _foreign = NoDebugfs::new(true);
    demand_without_debugfs(|pid, vcpus| {
        for (id, tid) in vcpus {
            let vcpu = Path::new(DEBUGFS).join(format!("kvm/{pid}-9/vcpu{}", id + 7));
            fs::create_dir_all(&vcpu).unwrap();
            fs::write(vcpu.join("pid"), format!("{tid}\n")).unwrap();
        }
        fs::write(format!("{DEBUGFS}/kvm/{pid}-9/exits"), "5\n").unwrap();
    });
}

#[test]
fn in_a_pid_namespace_only_the_host_is_not_listed() {
    let unshared = || {
        let mut command = Command::new("unshare");
        command.args(["-p", "-f", "--mount-proc"]).arg(exitlat().get_program());
        command
    };
    let guests = Background::start("--vcpus 2 cpuid=300 io=10");
    let pid = pid(&guests);
    let refused = unshared().arg("list").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("list does not work here") && said.contains("pid namespace"), "{said}");

    let (recording, said) = record_by(&mut unshared(), "", &guests);
    assert_eq!(said.matches("pid namespace").count(), 1, "{said}");
    demand_exact(&report(&recording, BY), &guests.finish("svm"), "svm");
    let listed = succeed(unshared().args(["list", "--format", "json"]).arg(&recording));
    let listed = Table::last(&listed.stdout);
    let listed = listed.0["vms"].as_array().unwrap();
    assert_eq!(listed.iter().map(|vm| vm["pid"].as_u64().unwrap()).collect::<Vec<_>>(), [pid], "{listed:?}");
    // Nothing of another process' number is taken for it.
    assert!(listed[0]["vmm"].is_null() && listed[0]["start_unix_ms"].is_null(), "{listed:?}");
}
