//! The options of the commands that trace: `live` and `record`.

use std::time::Duration;

use clap::Args;

use crate::{
    cli::{VmArgs, units, values},
    kernel::plan::{Attach, Causes, ExitStamp},
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
    /// Capacity in (vCPU, reason) pairs; each takes 2.3 KiB of memory. Without this option it goes by the
    /// vCPUs that are open at the start: 30 for each, from 4096 to 131072
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub slots: Option<u32>,
    /// Capacity in vCPU threads. Without this option it is twice the number of vCPUs that are open at the
    /// start, from 1024 to 8192
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub max_vcpus: Option<u32>,
    /// Causes that each vCPU may have; the rest is counted as `other`
    #[arg(long, default_value_t = tracer_ebpf::abi::DEFAULT_CAUSES, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub max_causes: u32,
    /// Tracepoint type to attach to
    #[arg(long, value_enum, default_value = "auto")]
    pub attach: Attach,
    /// Where exits are stamped
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
    /// Log kernel-side events (new vCPUs, full tables) to stderr
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
