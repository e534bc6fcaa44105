//! What a process with few capabilities gets at each level of `kernel.perf_event_paranoid`, on Debian's
//! kernels, which know levels above those of the mainline kernel. The table in docs/usage.md says the same.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    process::{Command, Output},
};

use serde_json::Value;

use crate::guest::{Background, Live, Table, demand_exact, exitlat, has_module_btf, json_lines};

const DAC_READ_SEARCH: u32 = 2;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const SYS_RESOURCE: u32 = 24;
const SYSLOG: u32 = 34;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// The least that `exitlat` is said to need where tracefs is root's. Before 5.11 the tables count against the
/// limit of locked memory.
const LEAST: [u32; 4] = [BPF, PERFMON, DAC_READ_SEARCH, SYS_RESOURCE];

const NOBODY: u32 = 65534;
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
const MIX: &str = "cpuid=1000 io=200 msr=300";
const BY: &str = "-d 600 --by vcpu,reason";

/// `exitlat` of an ordinary user with these capabilities and no other.
fn with(capabilities: &[u32]) -> Command {
    let mask = capabilities.iter().fold(0u64, |mask, bit| mask | 1 << bit);
    let bits = capabilities.to_vec();
    let mut command = exitlat();
    // SAFETY: system calls alone, between fork and exec.
    unsafe {
        command.pre_exec(move || become_nobody(mask, &bits));
    }
    command
}

fn become_nobody(mask: u64, bits: &[u32]) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`: 64 bits in two halves.
    const VERSION: u32 = 0x2008_0522;
    let demand = |outcome: i64| if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let half = |at: u32| (mask >> (32 * at)) as u32;
    let header = [VERSION, 0];
    // Effective, permitted and inheritable, the lower halves first.
    let sets = [half(0), half(0), half(0), half(1), half(1), half(1)];
    // SAFETY: numbers, and pointers to what lives during the call.
    unsafe {
        demand(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
        demand(libc::setgroups(0, std::ptr::null()).into())?;
        demand(libc::setresgid(NOBODY, NOBODY, NOBODY).into())?;
        demand(libc::setresuid(NOBODY, NOBODY, NOBODY).into())?;
        demand(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()))?;
        for bit in bits {
            demand(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, *bit, 0, 0).into())?;
        }
    }
    Ok(())
}

/// A level of `kernel.perf_event_paranoid`, until the end of a test.
struct Level(String);

impl Level {
    fn set(level: u32) -> Self {
        let before = fs::read_to_string(PARANOID).unwrap();
        fs::write(PARANOID, level.to_string()).unwrap();
        Self(before)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        fs::write(PARANOID, &self.0).unwrap();
    }
}

/// Traces guests from their beginning to their end, and demands exact counts and all parts.
fn demand_exact_with(capabilities: &[u32], options: &str) {
    let live = Live::of(&mut with(capabilities), &format!("{BY} {options}"));
    let guests = Background::start(&format!("--name web --vcpus 2 {MIX}"));
    guests.go();
    let vcpus = guests.finish("svm");
    let (status, output) = live.stop(libc::SIGINT);
    assert_eq!(status, 0);
    let table = Table::last(&output);
    demand_exact(&table, &vcpus, "svm");
    let vms = table.0["vms"].as_array().unwrap();
    assert!(!vms.is_empty());
    for vm in vms {
        let unknown: Vec<_> =
            vm["parts"].as_object().unwrap().iter().filter(|(_, ns)| ns.is_null()).collect();
        assert!(unknown.is_empty(), "{unknown:?} in {vm}");
    }
    assert_eq!(table.loss("doubtful_runs"), 0);
}

/// Status 4, and a text that names the setting and what to do.
fn demand_named(output: &Output, level: u32) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(4), "{text}");
    for words in [&format!("kernel.perf_event_paranoid is {level}"), "perf_event_paranoid=2", "CAP_SYS_ADMIN"]
    {
        assert!(text.contains(words), "`{words}` is not in: {text}");
    }
}

fn check(capabilities: &[u32]) -> (Option<i32>, Value) {
    let output = with(capabilities).args(["check", "--format", "json"]).output().unwrap();
    let report = json_lines(&output.stdout).pop().unwrap_or_else(|| panic!("{output:?}"));
    (output.status.code(), report)
}

fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let found = report["findings"].as_array().unwrap().iter().find(|finding| finding["subject"] == subject);
    found.unwrap_or_else(|| panic!("{subject}: {report}"))
}

#[test]
fn raw_tracepoints_are_exact_at_every_level() {
    for level in [2, 3, 4] {
        let _level = Level::set(level);
        if !has_module_btf() {
            // Without module BTF, raw tracepoints are refused at every level.
            let raw = with(&LEAST).args(["live", "0.2", "1", "--attach", "raw"]).output().unwrap();
            let said = String::from_utf8_lossy(&raw.stderr);
            assert_eq!(raw.status.code(), Some(4), "{said}");
            assert!(said.contains("raw tracepoints cannot be used") && !said.contains("paranoid"), "{said}");
            continue;
        }
        demand_exact_with(&LEAST, "");
        let (status, report) = check(&LEAST);
        assert_eq!(status, Some(0), "{report}");
        assert_eq!(finding(&report, "programs")["status"], "ok", "{report}");
        assert_eq!(finding(&report, "rights")["status"], if level == 2 { "ok" } else { "note" }, "{report}");
    }
}

#[test]
fn tracepoints_need_a_low_level_or_cap_sys_admin() {
    // exitlat takes tracepoints by itself on a kernel without BTF of KVM's modules.
    let options = if has_module_btf() { "--attach tp" } else { "" };
    {
        let _level = Level::set(2);
        demand_exact_with(&LEAST, options);
    }
    for level in [3, 4] {
        let _level = Level::set(level);
        let mut live = with(&LEAST);
        live.args(["live", "0.2", "1"]).args(options.split_whitespace());
        demand_named(&live.output().unwrap(), level);
        if !has_module_btf() {
            demand_named(&with(&LEAST).arg("check").output().unwrap(), level);
        }
        demand_exact_with(&[SYS_ADMIN, DAC_READ_SEARCH, SYS_RESOURCE], options);
    }
}

#[test]
fn an_idle_host_is_not_judged_where_nothing_can_be_counted() {
    let said = || {
        let output = with(&LEAST).args(["live", "0.2", "1"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    {
        let _level = Level::set(2);
        let (status, text) = said();
        assert!(status == Some(0) && text.contains("no guest is running"), "{status:?}: {text}");
    }
    let _level = Level::set(3);
    let (status, text) = said();
    if !has_module_btf() {
        // Nothing is attached at all.
        assert_eq!(status, Some(4), "{text}");
        return;
    }
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("cannot be told") && text.contains("kernel.perf_event_paranoid is 3"), "{text}");
    assert!(!text.contains("no guest is running"), "{text}");
}

#[test]
fn what_each_capability_buys() {
    let _level = Level::set(2);
    let least = |without: u32, and: &[u32]| -> Vec<u32> {
        LEAST.iter().copied().filter(|bit| *bit != without).chain(and.iter().copied()).collect()
    };
    for without in [BPF, PERFMON] {
        let (status, report) = check(&least(without, &[]));
        assert_eq!(
            (status, &finding(&report, "rights")["status"]),
            (Some(4), &"MISSING".to_lowercase().into())
        );
    }
    // Without CAP_DAC_READ_SEARCH, tracefs is readable by root only.
    let (status, report) = check(&least(DAC_READ_SEARCH, &[]));
    assert_eq!(status, Some(4), "{report}");
    assert!(
        finding(&report, "tracefs")["remedy"].as_str().unwrap().contains("CAP_DAC_READ_SEARCH"),
        "{report}"
    );
    // CAP_SYS_PTRACE opens other processes' descriptors, which show vCPUs without exits. Names do not need
    // it.
    let guests = Background::start("--name web --vcpus 2 --single-thread --forever cpuid=100");
    guests.go();
    let open = |capabilities: &[u32]| {
        let (status, report) = check(capabilities);
        assert_eq!(status, Some(0), "{report}");
        let findings = report["findings"].as_array().unwrap();
        let open = findings.iter().find(|finding| finding["subject"] == "open vCPUs").cloned();
        (finding(&report, "VM names")["status"] == "ok", open)
    };
    assert_eq!(open(&LEAST), (false, None));
    let (looks, found) = open(&least(0, &[SYS_PTRACE]));
    let found = found.expect("vCPU 1 has no exit");
    assert!(looks && found["found"].as_str().unwrap().contains("2 vCPUs open, 1 seen: vCPU 1"), "{found}");
    let output = with(&LEAST)
        .args(["live", "--once", "-g", "web*", "--format", "json", "--by", "vm"])
        .output()
        .unwrap();
    assert_eq!(Table::last(&output.stdout).rows()[0]["vm"], "web-0", "{output:?}");
    guests.kill();
    // CAP_SYSLOG shows the kernel's addresses, which changes no feature.
    let features = |capabilities: &[u32]| check(capabilities).1["features"].clone();
    assert_eq!(features(&LEAST), features(&least(0, &[SYSLOG])));
}

/// Before 5.11 maps count against the limit of locked memory, which only CAP_SYS_RESOURCE raises.
#[test]
fn locked_memory_counts_on_old_kernels_only() {
    let live = |capabilities: &[u32]| {
        let mut command = with(capabilities);
        // SAFETY: a system call alone, between fork and exec, before the rights are given up.
        unsafe {
            command.pre_exec(|| {
                let limit = libc::rlimit { rlim_cur: 65536, rlim_max: 65536 };
                if libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) == 0 {
                    Ok(())
                } else {
                    Err(io::Error::last_os_error())
                }
            });
        }
        command.args(["live", "0.2", "1"]).output().unwrap()
    };
    let _level = Level::set(2);
    let without = live(&[BPF, PERFMON, DAC_READ_SEARCH]);
    let text = String::from_utf8_lossy(&without.stderr);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    if release.starts_with("5.10") {
        assert_eq!(without.status.code(), Some(4), "{text}");
        for words in ["RLIMIT_MEMLOCK, which is 65536", "ulimit -l", "CAP_SYS_RESOURCE"] {
            assert!(text.contains(words), "`{words}` is not in: {text}");
        }
    } else {
        assert_eq!(without.status.code(), Some(0), "{text}");
    }
    assert_eq!(live(&LEAST).status.code(), Some(0));
}
