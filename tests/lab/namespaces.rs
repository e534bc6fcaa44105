//! exitlat in namespaces of its own, as in a container.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::guest::{Background, exitlat, json_lines, succeed};

/// `unshare` with these options, of exitlat.
fn unshared(options: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(options).arg(exitlat().get_program());
    command
}

fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let found = report["findings"].as_array().unwrap().iter().find(|finding| finding["subject"] == subject);
    found.unwrap_or_else(|| panic!("{subject}: {report}"))
}

fn check(command: &mut Command) -> Value {
    let output = succeed(command.args(["check", "--format", "json"]));
    json_lines(&output.stdout).pop().unwrap()
}

#[test]
fn pids_of_the_host_are_not_taken_for_those_of_a_pid_namespace() {
    let pid_namespace = ["-p", "-f", "--mount-proc"];
    let guests = Background::start("--name web --vcpus 2 --forever cpuid=100");
    guests.go();
    let output =
        succeed(unshared(&pid_namespace).args(["live", "0.5", "2", "--format", "json", "--by", "vm,reason"]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.matches("pid namespace").count(), 1, "{said}");
    let rows: Vec<Value> = json_lines(&output.stdout)
        .iter()
        .flat_map(|block| block["rows"].as_array().unwrap().clone())
        .collect();
    assert!(rows.iter().any(|row| row["reason"] == "cpuid" && row["samples"].as_u64() > Some(0)), "{rows:?}");
    let names: BTreeSet<&str> = rows.iter().map(|row| row["vm"].as_str().unwrap()).collect();
    assert!(names.iter().all(|name| ["CPU 0/KVM", "CPU 1/KVM"].contains(name)), "{names:?}");
    let report = check(&mut unshared(&pid_namespace));
    let named = finding(&report, "VM names");
    assert!(named["found"].as_str().unwrap().contains("pid namespace"), "{named}");
    assert!(named["remedy"].as_str().unwrap().contains("--pid=host"), "{named}");
    for filter in [["-p", "1"], ["-g", "web*"]] {
        let output = unshared(&pid_namespace).args(["live", "--once"]).args(filter).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("-p and -g do not work here") && said.contains("pid namespace"), "{said}");
    }
    guests.kill();
}

#[test]
fn the_jit_is_known_in_another_network_namespace() {
    let (here, there) = (check(&mut exitlat()), check(&mut unshared(&["-n"])));
    for subject in ["BPF JIT", "programs"] {
        assert_eq!(finding(&here, subject), finding(&there, subject));
    }
    assert_eq!(finding(&there, "BPF JIT")["found"], "on");
}

#[test]
fn a_time_namespace_does_not_shift_the_first_interval() {
    const AHEAD: &str = "monotonic 1000000 0\nboottime 2000000 0\n";
    let guests = Background::start("--forever cpuid=100");
    guests.go();
    // The process that calls unshare keeps its time namespace; only its children are in the new one.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "\"$0\" live 0.5 2 --format json; exit $?"]).arg(exitlat().get_program());
    // SAFETY: a system call, and a write to a file, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            if libc::unshare(libc::CLONE_NEWTIME) != 0 {
                return Err(io::Error::last_os_error());
            }
            fs::write("/proc/self/timens_offsets", AHEAD)
        });
    }
    let output = succeed(command.stderr(Stdio::inherit()));
    guests.kill();
    let blocks = json_lines(&output.stdout);
    assert!(!blocks.is_empty());
    let most_ns = 100_000 * 1_000_000_000;
    for block in blocks {
        assert!(block["samples"].as_u64() > Some(0), "{block}");
        assert!(block["elapsed_ns"].as_u64() < Some(most_ns), "{block}");
        for open in block["in_flight"].as_array().unwrap() {
            assert!(open["age_ns"].as_u64() < Some(most_ns), "{open}");
        }
        for vm in block["vms"].as_array().unwrap() {
            assert!(vm["elapsed_ns"].as_u64() < Some(most_ns), "{vm}");
        }
    }
}
