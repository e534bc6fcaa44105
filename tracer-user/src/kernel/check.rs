//! What this host offers and what is missing, each with its remedy.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    identity::{Source, fact::SourceInfo},
    kernel::{
        Unsupported, arch,
        features::{Feature, Kernel},
        hook::{How, Role},
        host,
        identify::Outcome,
        namespaces,
        object::{self, Jit},
        plan::{Plan, Wanted},
        rights::{Rights, SYS_PTRACE},
        sizes::Sizes,
        tracefs, vms,
    },
};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with less comfort or more cost.
    Note,
    /// Tracing works, and shows that something else does not.
    Fault,
    /// Tracing is not possible.
    Blocker,
}

impl Status {
    /// The word in the first column.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Fault => "FAULT",
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

/// All findings that need no loaded program, in the order in which to fix them. `open_vcpus` is the number of
/// vCPUs that are open on the host.
pub fn findings(kernel: &Kernel, plan: &Result<Plan, Unsupported>, open_vcpus: usize) -> Vec<Finding> {
    let rights = Rights::read();
    vec![
        release(kernel),
        kvm_modules(),
        isa(),
        tracefs_mount(),
        events(plan),
        may(&rights),
        names(&rights),
        lockdown(),
        btf(kernel, plan),
        jit(),
        clock(),
        Finding::new("memlock", Status::Ok, rights.memlock(!kernel.has(Feature::CgroupMemory)), ""),
        tables(open_vcpus),
    ]
}

/// VMs whose sources are asked.
const ASKED: usize = 64;

/// Whether the sources of what is known about VMs can be read, asked for the VMs that run.
pub fn sources() -> Vec<Finding> {
    if namespaces::is_pid_namespace() {
        let found = format!("{}: VMs have the names of their threads", namespaces::PIDS_DO_NOT_FIT);
        return vec![Finding::new("who VMs are", Status::Note, found, namespaces::HOST_PIDS)];
    }
    let host = vms::this_host();
    let mut refused = BTreeMap::new();
    if let Some(outcome) = host.debugfs_refuses() {
        refused.insert(Source::Debugfs, outcome);
    }
    let mut asked = 0;
    for vm in vms::running(&host).take(ASKED).filter_map(|pid| host.identify(pid)) {
        asked += 1;
        let of_vm = vm.asked.into_iter();
        refused.extend(of_vm.filter(|(_, it)| matches!(it, Outcome::Denied | Outcome::Failed(_))));
    }
    if refused.is_empty() {
        let found = match asked {
            0 => "debugfs can be read; no VM runs that could be asked for more".to_owned(),
            1 => "all sources of the VM that runs can be read".to_owned(),
            _ => format!("all sources of {asked} VMs can be read"),
        };
        return vec![Finding::new("who VMs are", Status::Ok, found, "")];
    }
    let finding = |(source, outcome): (Source, Outcome)| {
        let SourceInfo { place, right, lost, .. } = source.info();
        let (why, remedy) = match outcome {
            Outcome::Denied => ("may not be read".to_owned(), format!("it takes {right}")),
            Outcome::Failed(why) => (format!("cannot be read ({why})"), format!("it takes {right}")),
            _ => ("is not there".to_owned(), "mount -t debugfs debugfs /sys/kernel/debug".to_owned()),
        };
        Finding::new("who VMs are", Status::Note, format!("{place} {why}; lost: {lost}"), remedy)
    };
    refused.into_iter().map(finding).collect()
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
    let finding = may(&Rights::read());
    if finding.status == Status::Blocker {
        Err(Unsupported::new(finding.found, finding.remedy))
    } else {
        Ok(())
    }
}

/// The effect of the host's interrupts running before the exit event.
const LATE_EXITS: &str = "before 6.5 kvm_amd reports an exit after the host's interrupts have run: their time counts as \
                          the guest's; --exit-stamp irqoff avoids that";

fn release(kernel: &Kernel) -> Finding {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into());
    let intel = host::backends().contains(&"kvm_intel");
    let remedy = if kernel.is_too_old() {
        "tested from 5.10 on; older kernels may refuse the programs"
    } else if intel && !kernel.has(Feature::FastPathEntries) {
        "before 5.11 exits that kvm_intel handles in its fast path have no entry: they are unpaired exits, and the \
         guest's time after them is not its own"
    } else if kernel.has_late_exits() == Some(true) {
        LATE_EXITS
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

/// The isa of exits whose records carry none.
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

fn may(rights: &Rights) -> Finding {
    if !rights.may_load() {
        let found = "this process may not load tracing programs: it has neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON";
        return Finding::new("rights", Status::Blocker, found, "run as root: sudo exitlat");
    }
    match rights.doubtful_level() {
        None => Finding::new("rights", Status::Ok, "may load tracing programs", ""),
        Some(level) => Finding::new(
            "rights",
            Status::Note,
            format!(
                "may load tracing programs; kernel.perf_event_paranoid is {level}, at which Debian's and Ubuntu's \
                 kernels may refuse it all but raw tracepoints"
            ),
            "if they do: sysctl kernel.perf_event_paranoid=2, or run with CAP_SYS_ADMIN",
        ),
    }
}

fn names(rights: &Rights) -> Finding {
    if namespaces::is_pid_namespace() {
        let found = format!("those of threads, and no -p or -g: {}", namespaces::PIDS_DO_NOT_FIT);
        Finding::new("VM names", Status::Note, found, namespaces::HOST_PIDS)
    } else if rights.has(SYS_PTRACE) {
        Finding::new("VM names", Status::Ok, "may look into the VMs' processes", "")
    } else {
        let remedy = "without CAP_SYS_PTRACE the list of VMs is incomplete, and vCPUs without exits are not named; \
                      names still come from command lines";
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
    match object::jit() {
        Jit::Off => Finding::new(
            "BPF JIT",
            Status::Note,
            "off",
            "programs are interpreted, each exit costs more: sysctl net.core.bpf_jit_enable=1",
        ),
        Jit::On => compiled(),
        Jit::NotShown => Finding::new(
            "BPF JIT",
            Status::Note,
            "not known before programs are loaded: this network namespace does not show the setting",
            "without a JIT programs are interpreted, and each exit costs more",
        ),
    }
}

/// Whether the kernel compiled the loaded programs, which is more certain than the JIT setting.
pub fn jit_of_programs(are_compiled: bool) -> Finding {
    if are_compiled {
        compiled()
    } else {
        Finding::new(
            "BPF JIT",
            Status::Note,
            "this kernel uses none",
            "programs are interpreted, each exit costs more",
        )
    }
}

fn compiled() -> Finding {
    match read("/proc/sys/net/core/bpf_jit_harden").as_deref() {
        Some("2") => Finding::new(
            "BPF JIT",
            Status::Note,
            "on, and hardened for root too",
            "each exit costs more, as constants are blinded: sysctl net.core.bpf_jit_harden=1 spares root's programs",
        ),
        _ => Finding::new("BPF JIT", Status::Ok, "on", ""),
    }
}

/// Every exit reads the clock twice.
fn clock() -> Finding {
    let source = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = source.unwrap_or_else(|| "unknown".to_owned());
    let quick = arch::host().clock_sources;
    if quick.contains(&source.as_str()) {
        Finding::new("clock source", Status::Ok, source, "")
    } else {
        let remedy = format!(
            "may take a microsecond or more to read, twice at each exit, which shows in all latencies; quick ones here \
             are {}",
            quick.join(", ")
        );
        Finding::new("clock source", Status::Note, source, remedy)
    }
}

fn tables(open_vcpus: usize) -> Finding {
    let sizes = Sizes::for_open(open_vcpus);
    let found = format!(
        "{} slots and {} vCPU threads, {:.1} MiB; {open_vcpus} vCPUs are open now",
        sizes.slots,
        sizes.vcpus,
        sizes.bytes() as f64 / f64::from(1 << 20),
    );
    match sizes.too_small(open_vcpus) {
        None => Finding::new("tables", Status::Ok, found, ""),
        Some(remedy) => Finding::new("tables", Status::Note, found, remedy),
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}
