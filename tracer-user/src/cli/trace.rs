//! The options of the commands that trace: `live` and `record`.

use std::time::Duration;

use clap::Args;

use crate::{
    cli::{VmArgs, units, values},
    kernel::{
        counters::Detail,
        plan::{Attach, Causes, ExitStamp},
    },
};

/// Which exits are traced, for how long, and with how much memory.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// VMs.
    #[command(flatten)]
    pub vms: VmArgs,
    /// Length of an interval: seconds, or with a unit like 200ms; at most 1h
    #[arg(short, long, default_value = "1", value_name = "TIME", value_parser = units::interval)]
    pub display: Duration,
    /// Stop after this time: seconds, or with units like 90m or 1d
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub duration: Option<Duration>,
    /// Room for (vCPU, reason, cause) combinations; each takes 2.7 KiB of memory, with --causes 3.1. Raise it
    /// if the losses name the slot table [default: 30 for each vCPU open at the start, at least 4096, at most
    /// 131072]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub slots: Option<u32>,
    /// Room for vCPU threads. Raise it if the losses name the vCPU table [default: twice the vCPUs open at
    /// the start, at least 1024, at most 8192]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub max_vcpus: Option<u32>,
    /// Causes that each vCPU may have; the rest is counted as `other`
    #[arg(long, default_value_t = tracer_ebpf::abi::DEFAULT_CAUSES, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub max_causes: u32,
    /// Tracepoint type to attach to
    #[arg(long, value_enum, default_value = "auto")]
    pub attach: Attach,
    /// When an exit begins. Use irqoff on AMD before Linux 6.5, where `exitlat check` asks for it; elsewhere
    /// it changes nothing
    #[arg(long, value_enum, default_value = "event", value_name = "WHERE")]
    pub exit_stamp: ExitStamp,
    /// Do not trace the scheduler. Context switches of other threads then cost nothing, but run-queue waits,
    /// sleeps and the VMM's own time are not told apart
    #[arg(long)]
    pub no_sched: bool,
    /// Causes to tell below a reason: none, or a list; on x86 `cr` (control registers) and `msr`
    #[arg(long, value_name = "LIST", value_parser = values::causes)]
    pub causes: Option<Causes>,
    /// Keep a histogram of each vCPU's time in the guest, from entry to exit
    #[arg(long)]
    pub guest_histogram: bool,
    /// Read KVM's own counters too, of each VM or also of each vCPU: what they count since the VM began, and
    /// their growth per second. -f chooses them by name
    #[arg(long, value_name = "OF", num_args = 0..=1, require_equals = true, default_missing_value = "vm", value_enum)]
    pub counters: Option<Detail>,
    /// Log kernel-side events (new vCPUs, full tables) to stderr
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
