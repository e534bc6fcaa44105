//! What this host offers and what is missing, each with its remedy.

use std::{fs, path::Path};

use crate::kernel::{Unsupported, btf::Types, host, raw, sie, tracefs};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with less comfort or more cost.
    Note,
    /// Tracing is not possible.
    Blocker,
}

impl Status {
    /// The word in the first column.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Blocker => "MISSING",
        }
    }
}

/// One line of `exitlat check`.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// How much it matters.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it; empty if nothing.
    pub remedy: String,
}

impl Finding {
    /// A finding with a remedy; an empty one if there is nothing to do.
    pub fn new(
        subject: &'static str,
        status: Status,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { subject, status, found: found.into(), remedy: remedy.into() }
    }
}

/// Capabilities by bit, `include/uapi/linux/capability.h`.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// All static findings, in the order in which to mend them. Loads nothing.
pub fn findings() -> Vec<Finding> {
    vec![
        kernel(),
        kvm_modules(),
        tracefs_mount(),
        events(),
        rights(),
        names(),
        lockdown(),
        btf(),
        jit(),
        memlock(),
    ]
}

/// Whether this process may load tracing programs.
///
/// # Errors
/// [`Unsupported`] if it may not.
pub fn may_load() -> Result<(), Unsupported> {
    let finding = rights();
    if finding.status == Status::Blocker {
        Err(Unsupported::new(finding.found, finding.remedy))
    } else {
        Ok(())
    }
}

/// Since when vmx_vcpu_run does not enter the guest again by itself, without an event (commit d95df9510679).
const RAW_PATH_ENTRIES: (u32, u32) = (5, 11);

fn kernel() -> Finding {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into());
    let version = host::kernel_version();
    let intel = host::backends().contains(&"kvm_intel");
    let remedy = if version < (5, 10) {
        "tested from 5.10 on; older kernels may refuse the programs"
    } else if intel && version < RAW_PATH_ENTRIES {
        "before 5.11 exits that kvm_intel handles in its fast path have no entry: they are unpaired exits, and the \
         guest's time after them is not its own"
    } else {
        ""
    };
    let status = if remedy.is_empty() { Status::Ok } else { Status::Note };
    Finding::new("kernel", status, format!("{release} {}", std::env::consts::ARCH), remedy)
}

fn kvm_modules() -> Finding {
    let backends = host::backends();
    if !backends.is_empty() {
        return Finding::new("KVM backend", Status::Ok, backends.join(", "), "");
    }
    if cfg!(target_arch = "x86_64") {
        let found = if Path::new("/sys/module/kvm").exists() {
            "kvm is there, but neither kvm_intel nor kvm_amd"
        } else {
            "KVM is not loaded"
        };
        return Finding::new(
            "KVM backend",
            Status::Blocker,
            found,
            "modprobe kvm_intel, or modprobe kvm_amd",
        );
    }
    // The device says more than a list of features: without SIE it would not be there.
    if host::IS_S390X && !Path::new("/dev/kvm").exists() && !host::has_sie() {
        return Finding::new(
            "KVM backend",
            Status::Blocker,
            "this machine has no SIE, the instruction that runs guests (no `sie` among the features in /proc/cpuinfo)",
            "use an LPAR or bare machine, or have the hypervisor below offer it: KVM with nested=1, or z/VM",
        );
    }
    match Path::new("/dev/kvm").exists() {
        true => Finding::new("KVM backend", Status::Ok, "/dev/kvm exists", ""),
        false => Finding::new("KVM backend", Status::Blocker, "KVM is not loaded", "modprobe kvm"),
    }
}

fn tracefs_mount() -> Finding {
    match tracefs::events() {
        Ok(events) => Finding::new("tracefs", Status::Ok, events.display().to_string(), ""),
        Err(missing) => Finding::new("tracefs", Status::Blocker, missing.what, missing.remedy),
    }
}

/// The events on s390x.
fn sie_events() -> Finding {
    match sie::layout() {
        Ok(layout) if layout.absent.is_empty() => {
            let found = format!("{} and {} events with its causes", sie::EXIT, layout.plan.len() - 2);
            Finding::new("KVM events", Status::Ok, found, "")
        }
        Ok(layout) => Finding::new(
            "KVM events",
            Status::Note,
            format!("{}; this kernel has no {}", sie::EXIT, layout.absent.join(", ")),
            "the causes that these tell are not shown below their reasons",
        ),
        Err(missing) => Finding::new("KVM events", Status::Blocker, missing.what, missing.remedy),
    }
}

fn events() -> Finding {
    if host::IS_S390X {
        return sie_events();
    }
    match tracefs::layout() {
        Ok(layout) => {
            let optional = [("isa", layout.exit_isa), ("vcpu_id", layout.exit_vcpu)];
            let absent: Vec<_> =
                optional.iter().filter(|(_, field)| field.is_none()).map(|(name, _)| *name).collect();
            let found = format!("kvm_exit.exit_reason at offset {}", layout.exit_reason.offset);
            if absent.is_empty() {
                Finding::new("KVM events", Status::Ok, found, "")
            } else {
                let found = format!("{found}; this kernel's kvm_exit has no {}", absent.join(", "));
                Finding::new(
                    "KVM events",
                    Status::Note,
                    found,
                    "the isa is taken from the CPU vendor, vCPUs are shown by thread",
                )
            }
        }
        Err(missing) => Finding::new("KVM events", Status::Blocker, missing.what, missing.remedy),
    }
}

fn effective_capabilities() -> u64 {
    let status = read("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn rights() -> Finding {
    let caps = effective_capabilities();
    let has = |cap: u32| caps & (1 << cap) != 0;
    if has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON)) {
        return Finding::new("rights", Status::Ok, "may load tracing programs", "");
    }
    let found = "this process may not load tracing programs: it has neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON";
    Finding::new("rights", Status::Blocker, found, "run as root: sudo exitlat")
}

fn names() -> Finding {
    if effective_capabilities() & (1 << CAP_SYS_PTRACE) != 0 {
        Finding::new("VM names", Status::Ok, "may look into the VMs' processes", "")
    } else {
        let remedy =
            "without CAP_SYS_PTRACE the list of VMs is incomplete; names still come from command lines";
        Finding::new("VM names", Status::Note, "may not look into other processes", remedy)
    }
}

fn lockdown() -> Finding {
    let text = read("/sys/kernel/security/lockdown").unwrap_or_default();
    let mode = text.split(['[', ']']).nth(1).unwrap_or("not available");
    if mode == "confidentiality" {
        let remedy =
            "BPF may not read kernel data; boot without lockdown=confidentiality (Secure Boot may set it)";
        Finding::new("lockdown", Status::Blocker, mode, remedy)
    } else {
        Finding::new("lockdown", Status::Ok, mode, "")
    }
}

fn btf() -> Finding {
    if host::IS_S390X {
        let found = if Path::new("/sys/kernel/btf/vmlinux").exists() {
            "this kernel has it"
        } else {
            "this kernel has none"
        };
        return Finding::new("BTF", Status::Ok, format!("{found}; classic tracepoints need none"), "");
    }
    match raw::layout(&Types::read_host()) {
        Ok(_) => Finding::new("BTF", Status::Ok, "has what raw tracepoints need", ""),
        Err(why) => {
            Finding::new("BTF", Status::Note, why, "classic tracepoints are used; each exit costs more")
        }
    }
}

fn jit() -> Finding {
    match read("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => Finding::new(
            "BPF JIT",
            Status::Note,
            "off",
            "programs are interpreted, each exit costs more: sysctl net.core.bpf_jit_enable=1",
        ),
        Some(_) => Finding::new("BPF JIT", Status::Ok, "on", ""),
        None => Finding::new(
            "BPF JIT",
            Status::Note,
            "this kernel has none",
            "programs are interpreted, each exit costs more",
        ),
    }
}

fn memlock() -> Finding {
    let limits = read("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = soft.and_then(|line| line.split_whitespace().next()).unwrap_or("unknown");
    Finding::new("memlock", Status::Ok, format!("{soft} (counts before 5.11 only; raised when needed)"), "")
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}
