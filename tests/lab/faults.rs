//! Bad input, hosts that lack something, processes that end early: a clear message, the documented status.

use std::{
    fs,
    io::Read as _,
    os::unix::process::CommandExt as _,
    process::{Command, Output, Stdio},
};

use crate::guest::{Background, Running, exitlat, report, scratch, succeed, wait_until};

/// Status and messages.
fn outcome(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn demand(output: &Output, status: i32, words: &[&str]) {
    let (found, messages) = outcome(output);
    assert_eq!(found, Some(status), "{messages}");
    for word in words {
        assert!(messages.contains(word), "`{word}` is not in: {messages}");
    }
}

#[test]
fn without_rights() {
    let output = exitlat().args(["live", "--once"]).uid(65534).gid(65534).output().unwrap();
    demand(&output, 4, &["CAP_BPF", "root"]);
    let check = exitlat().arg("check").uid(65534).gid(65534).output().unwrap();
    assert_eq!(check.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&check.stdout).contains("MISSING"));
}

#[test]
fn kvm_not_loaded_and_loaded_again() {
    let unload = |module: &str| {
        // VMs of the tests before may still be ending.
        let users = || fs::read_to_string(format!("/sys/module/{module}/refcnt")).unwrap();
        wait_until("nobody uses the module", || users().trim() == "0");
        succeed(Command::new("rmmod").arg(module));
    };
    unload("kvm_amd");
    let output = exitlat().arg("check").output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    unload("kvm");
    demand(&exitlat().args(["live", "--once"]).output().unwrap(), 4, &["kvm_exit", "modprobe"]);
    for module in fs::read_to_string("/lab/modules").unwrap().lines() {
        // insmod fails for the modules that stayed loaded.
        let _ = Command::new("insmod").arg(module).output();
    }
    let dump = scratch("dump");
    succeed(
        exitlat()
            .args(["record", "-o"])
            .arg(&dump)
            .arg("--")
            .arg(crate::guest::workload_path())
            .arg("cpuid=10"),
    );
    assert_eq!(report(&dump, "").reason("cpuid")["samples"], 10);
}

#[test]
fn no_guest_running_is_not_an_error_but_is_said() {
    let output = exitlat().args(["live", "0.2", "1"]).output().unwrap();
    demand(&output, 0, &["no guest is running"]);
}

/// A measurement without exits ends with a second of listening. Exits of a guest that begins in that second
/// are not missing.
#[test]
fn a_guest_that_comes_late_is_no_fault_of_this_host() {
    let guests = Background::start("--forever msr=10 io=10");
    let mut live = Running::start(exitlat().args(["live", "0.1", "1"]).stdout(Stdio::piped()));
    let mut stdout = live.0.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1]).unwrap();
    guests.go();
    assert_eq!(live.0.wait().unwrap().code(), Some(0));
    guests.kill();
}

#[test]
fn unknown_process_and_guest_name_the_candidates() {
    let guests = Background::start("--name web cpuid=1");
    demand(&exitlat().args(["live", "-p", "4000000"]).output().unwrap(), 2, &["no process 4000000", "web-0"]);
    // A message says that no VM matches yet; one may start later.
    let output = exitlat().args(["live", "-g", "db*", "0.2", "1"]).output().unwrap();
    demand(&output, 0, &["db*", "web-0", "1 vCPU", "waiting"]);
    guests.go();
    guests.finish("svm");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut live =
        Running::start(exitlat().args(["live", "-d", "20ms"]).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut stdout = live.0.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let mut messages = String::new();
    live.0.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
    assert_eq!(live.0.wait().unwrap().code(), Some(0), "{messages}");
    assert!(!messages.contains("roken pipe"), "{messages}");
}

#[test]
fn a_full_disk_keeps_what_was_written() {
    let mount = scratch("full");
    fs::create_dir(&mount).unwrap();
    succeed(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&mount));
    let dump = mount.join("dump");
    let busy = Background::start("--forever cpuid=100 io=10 msr=10");
    busy.go();
    let output = exitlat().args(["record", "-d", "10ms", "-o"]).arg(&dump).output().unwrap();
    busy.kill();
    demand(&output, 1, &["No space left", "stays readable"]);
    let table = report(&dump, "");
    assert!(table.reason("cpuid")["samples"].as_u64().unwrap() > 0);
    succeed(Command::new("umount").arg(&mount));
}

#[test]
fn a_dump_is_not_overwritten_silently() {
    let dump = scratch("dump");
    fs::write(&dump, "precious").unwrap();
    demand(
        &exitlat().args(["record", "--duration", "0.1", "-o"]).arg(&dump).output().unwrap(),
        2,
        &["--force"],
    );
    // The file also survives a recording that cannot begin.
    let output =
        exitlat().args(["record", "--force", "-o"]).arg(&dump).args(["--", "/no/such/program"]).output();
    demand(&output.unwrap(), 2, &["cannot run"]);
    assert_eq!(fs::read_to_string(&dump).unwrap(), "precious");
    let fresh = scratch("dump");
    exitlat().args(["record", "-o"]).arg(&fresh).uid(65534).output().unwrap();
    assert!(!fresh.exists());
    succeed(exitlat().args(["record", "--force", "--duration", "0.1", "-o"]).arg(&dump));
}
