//! The arguments of `exitlat live`, which are also those of `exitlat` alone.

use std::time::Duration;

use clap::Args;

use crate::{
    cli::{ExitArgs, TraceArgs, ViewArgs, units, values},
    model::{GroupBy, quantile_error},
};

const EXAMPLES: &str = "\
Examples:
  exitlat live -p 4242               one VM, by the pid of its process
  exitlat live -g 'web*' --by vm,reason
  exitlat live --by vcpu --across reason
                                     exits per second: a row per vCPU, a column per reason
  exitlat live -d 0.2 -k max         every 200 ms, the longest exit first
  exitlat live --once --format json  one interval, for a script
  exitlat live 1 10                  ten intervals of 1 s, as in the bcc tools

Every time except Idle is handled time: the length of the exit minus guest idle time.
--idle includes idle time. The second table breaks down each VM's vCPU time.
Samples, Min, Max and Avg are exact. +- is the standard deviation of the mean. It and the
quantiles p50, p99 and p99.9 are estimated from histogram buckets, within {quantile_error}.
-g also traces VMs that start later.";

/// What stands below the options.
pub(super) fn examples() -> String {
    EXAMPLES.replace("{quantile_error}", &quantile_error())
}

/// `exitlat live`.
#[derive(Args, Clone, Debug)]
pub struct LiveArgs {
    /// Which exits are traced.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Which exits are shown.
    #[command(flatten)]
    pub exits: ExitArgs,
    /// One row per vm, vcpu, reason or part, or per combination like vm,reason. `part` breaks time down into
    /// guest, kernel, polling, idle, run queue and VMM
    #[arg(long, default_value = "reason", value_name = "LIST", value_parser = values::live_by)]
    pub by: GroupBy,
    /// How they are printed.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Show the sum since the start instead of the interval
    #[arg(long)]
    pub total: bool,
    /// Show one interval, then stop
    #[arg(long, conflicts_with_all = ["interval", "count"])]
    pub once: bool,
    /// Length of an interval, as --display
    #[arg(value_name = "INTERVAL", conflicts_with = "display", value_parser = units::interval_or_command)]
    pub interval: Option<Duration>,
    /// Number of intervals
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}
