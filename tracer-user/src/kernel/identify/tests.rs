//! Asked about real processes, and with sources that are broken. Made-up VMs of each stack are in
//! `tests/fixtures/identity`.

use std::{
    fs,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use super::*;
use crate::{identity::thread::Role, kernel::host};

fn this_host() -> Host {
    Host::look(Roots::below(Path::new("/")))
}

#[test]
fn this_process_has_started_before_now_and_has_threads() {
    let process = this_host().identify(std::process::id()).unwrap();
    let started = process.start_unix_ms.unwrap();
    // The start of the system is known to the second.
    assert!(started <= host::unix_ms() + 1000, "{started}");
    let first = process.threads.iter().find(|thread| thread.tid == process.pid).unwrap();
    assert_eq!(first.role, Role::Emulator);
    assert!(first.time.unwrap().cpu_ns > 0);
    assert_eq!(process.asked[&Source::Comm], Outcome::Told);
    assert_eq!(process.asked[&Source::Descriptors], Outcome::Silent);
    assert!(!process.identity.name().is_empty());
}

#[test]
fn a_process_that_has_ended_is_nobody() {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    assert_eq!(this_host().identify(child.id()), None);
}

#[test]
fn the_command_line_of_a_real_process_is_read() {
    let mut vmm = Command::new("sh");
    let arguments = ["-c", "read line", "-name", "guest=a,,b,debug-threads=on", "-id", "109"];
    vmm.arg0("/usr/bin/kvm").args(arguments).stdin(Stdio::piped());
    let mut child = vmm.spawn().unwrap();
    let path = format!("/proc/{}/cmdline", child.id());
    // A child has its arguments some moments after the parent goes on.
    while !fs::read(&path).unwrap().starts_with(b"/usr/bin/kvm") {}
    let vm = this_host().identify(child.id()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let value = |kind| vm.identity.value(kind);
    assert_eq!(
        (vm.identity.name().as_ref(), value(Kind::Vmid), value(Kind::Vmm)),
        ("a,b", Some("109"), Some("qemu"))
    );
}

/// A tree with one VM, of which a test breaks a part.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let process = dir.path().join("proc/10");
    fs::create_dir_all(process.join("task/10")).unwrap();
    fs::create_dir_all(process.join("fd")).unwrap();
    fs::create_dir_all(dir.path().join("run/libvirt/qemu")).unwrap();
    let put = |path: &str, text: &str| fs::write(process.join(path), text).unwrap();
    put("stat", "10 (qemu) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 250 0 0\n");
    put("status", "Name:\tqemu\nUid:\t0\t0\t0\t0\n");
    put("comm", "qemu\n");
    put("task/10/comm", "qemu\n");
    put("cmdline", "qemu\0-name\0web\0");
    symlink("anon_inode:kvm-vm", process.join("fd/9")).unwrap();
    dir
}

fn identify(dir: &tempfile::TempDir) -> VmProcess {
    Host::look(Roots::below(dir.path())).identify(10).unwrap()
}

#[test]
fn sources_that_are_missing_are_named() {
    let vm = identify(&tree());
    assert_eq!(vm.identity.name(), "web");
    assert_eq!((vm.start_ticks, vm.start_unix_ms), (250, None));
    for source in [Source::Cgroup, Source::Debugfs, Source::StatusXml] {
        assert_eq!(vm.asked[&source], Outcome::Absent, "{source:?}");
    }
    assert_eq!(vm.asked[&Source::Descriptors], Outcome::Told);
    assert!(!vm.asked.contains_key(&Source::Root), "only Firecracker is asked for it");
}

#[test]
fn a_status_of_somebody_else_is_not_believed() {
    let dir = tree();
    let path = dir.path().join("run/libvirt/qemu/web.xml");
    let write = |pid: u32| {
        fs::write(
            &path,
            format!("<domstatus pid='{pid}'><domain id='3'><name>web</name></domain></domstatus>"),
        )
    };
    write(10).unwrap();
    assert_eq!(identify(&dir).identity.value(Kind::DomainId), Some("3"));
    write(11).unwrap();
    let vm = identify(&dir);
    assert_eq!(
        (vm.asked[&Source::StatusXml].clone(), vm.identity.value(Kind::DomainId)),
        (Outcome::Silent, None)
    );
    fs::write(&path, "<!DOCTYPE a><domstatus/>").unwrap();
    assert_eq!(identify(&dir).asked[&Source::StatusXml], Outcome::Failed("it has a document type".into()));
}

/// A user owns the directory of the user's session, and may put anything there.
#[test]
fn pipes_and_links_are_not_followed() {
    let dir = tree();
    let path = dir.path().join("run/libvirt/qemu/web.xml");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    assert_eq!(identify(&dir).asked[&Source::StatusXml], Outcome::Failed("it is no regular file".into()));
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(identify(&dir).asked[&Source::StatusXml], Outcome::Failed(_)));
}

#[test]
fn a_name_leads_to_no_other_directory() {
    let dir = tree();
    fs::write(
        dir.path().join("run/x.xml"),
        "<domstatus pid='10'><domain id='3'><name>x</name></domain></domstatus>",
    )
    .unwrap();
    fs::write(dir.path().join("proc/10/cmdline"), "qemu\0-name\0../../x\0").unwrap();
    let vm = identify(&dir);
    assert_eq!((vm.identity.name().as_ref(), vm.identity.value(Kind::DomainId)), ("../../x", None));
    assert!(!vm.asked.contains_key(&Source::StatusXml));
}

#[test]
fn the_number_of_a_thread_without_one_is_asked_for() {
    let dir = tree();
    let task = dir.path().join("proc/10/task/12");
    fs::create_dir_all(&task).unwrap();
    fs::write(task.join("comm"), "CPU 3/KVM\n").unwrap();
    let number = |tid| Host::look(Roots::below(dir.path())).vcpu_of(10, tid);
    assert_eq!([number(12), number(10), number(99)], [Some(3), None, None]);
    // libvirt is believed before the name.
    let status = "<domstatus pid='10'><vcpus><vcpu id='5' pid='12'/></vcpus>\
                  <domain id='3'><name>web</name></domain></domstatus>";
    fs::write(dir.path().join("run/libvirt/qemu/web.xml"), status).unwrap();
    assert_eq!(number(12), Some(5));
}

#[test]
fn threads_that_work_for_others_are_not_ours() {
    let dir = tree();
    let proc = dir.path().join("proc");
    for (tid, comm) in [(50, "vhost-10"), (51, "vhost-11"), (52, "kworker/0:1")] {
        fs::create_dir_all(proc.join(format!("{tid}"))).unwrap();
        fs::write(proc.join(format!("{tid}/comm")), format!("{comm}\n")).unwrap();
    }
    fs::create_dir_all(proc.join("2/task/2")).unwrap();
    fs::write(proc.join("2/task/2/children"), "50 51 52 ").unwrap();
    let threads = identify(&dir).threads;
    let roles: Vec<_> = threads.iter().map(|thread| (thread.tid, thread.role)).collect();
    assert_eq!(roles, [(10, Role::Emulator), (50, Role::Vhost)]);
}
