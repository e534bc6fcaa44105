//! What this host offers and what is missing, each with its remedy.

use std::{fs, path::Path};

use crate::kernel::{
    Unsupported, arch,
    features::{Feature, Kernel},
    hook::{How, Role},
    host,
    plan::{Plan, Wanted},
    tracefs,
};

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

/// All static findings, in the order in which to mend them, about this kernel and what would be attached.
/// Loads nothing.
pub fn findings(kernel: &Kernel, plan: &Result<Plan, Unsupported>) -> Vec<Finding> {
    vec![
        release(kernel),
        kvm_modules(),
        isa(),
        tracefs_mount(),
        events(plan),
        rights(),
        names(),
        lockdown(),
        btf(kernel, plan),
        jit(),
        memlock(),
    ]
}

/// What [`crate::kernel::session::Session::start`] would attach by itself.
///
/// # Errors
/// [`Unsupported`] if nothing can be traced.
pub fn plan(kernel: &Kernel) -> Result<Plan, Unsupported> {
    Plan::choose(kernel, arch::host(), &Wanted::default())
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

fn release(kernel: &Kernel) -> Finding {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into());
    let intel = host::backends().contains(&"kvm_intel");
    let remedy = if kernel.is_too_old() {
        "tested from 5.10 on; older kernels may refuse the programs"
    } else if intel && !kernel.has(Feature::FastPathEntries) {
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
    if arch::host().backend_optional && Path::new("/dev/kvm").exists() {
        return Finding::new("KVM backend", Status::Ok, "/dev/kvm exists", "");
    }
    let missing = (arch::host().no_kvm)();
    Finding::new("KVM backend", Status::Blocker, missing.what, missing.remedy)
}

/// The isa of records that do not say.
fn isa() -> Finding {
    match host::default_isa() {
        Some(isa) => Finding::new("exit reasons", Status::Ok, isa.to_string(), ""),
        None => Finding::new(
            "exit reasons",
            Status::Note,
            "the processor's vendor is unknown",
            "where the kernel's records do not tell VMX from SVM, reasons are shown as numbers",
        ),
    }
}

fn tracefs_mount() -> Finding {
    match tracefs::events() {
        Ok(events) => Finding::new("tracefs", Status::Ok, events.display().to_string(), ""),
        Err(missing) => Finding::new("tracefs", Status::Blocker, missing.what, missing.remedy),
    }
}

fn events(plan: &Result<Plan, Unsupported>) -> Finding {
    let plan = match plan {
        Ok(plan) => plan,
        Err(missing) => {
            return Finding::new("KVM events", Status::Blocker, missing.what.clone(), missing.remedy.clone());
        }
    };
    let found = format!("{} and {}", arch::host().event(Role::Exit), arch::host().event(Role::Entry));
    let losses = || plan.missing.iter().filter(|missing| missing.is_loss);
    let missing: Vec<_> = losses().map(|missing| missing.hook.event).collect();
    let mut lost: Vec<_> = losses().map(|missing| missing.effect).collect();
    lost.extend(plan.attachments.iter().flat_map(|attachment| attachment.without.iter().copied()));
    lost.dedup();
    let found = match missing.as_slice() {
        [] => found,
        missing => format!("{found}; not {}", missing.join(", ")),
    };
    let status = if lost.is_empty() { Status::Ok } else { Status::Note };
    Finding::new("KVM events", status, found, lost.join("; "))
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

fn btf(kernel: &Kernel, plan: &Result<Plan, Unsupported>) -> Finding {
    if arch::host().offsets.is_none() {
        let has = if Path::new("/sys/kernel/btf/vmlinux").exists() { "it" } else { "none" };
        return Finding::new("BTF", Status::Ok, format!("this kernel has {has}; tracepoints need none"), "");
    }
    let raw =
        |plan: &Plan| plan.attachments.iter().any(|it| it.hook.role == Role::Exit && it.way.how == How::Raw);
    match (plan, &kernel.kvm_types) {
        (Ok(plan), _) if raw(plan) => {
            Finding::new("BTF", Status::Ok, "has the types that raw tracepoints need", "")
        }
        (_, Err(why)) => {
            Finding::new("BTF", Status::Note, why.clone(), "tracepoints are used; each exit costs more")
        }
        (_, Ok(_)) => Finding::new("BTF", Status::Ok, "has the types that raw tracepoints need", ""),
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
