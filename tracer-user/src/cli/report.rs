//! The arguments of `exitlat report`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::{Location, SelectArgs, ViewArgs, values},
    model::GroupBy,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  exitlat report good.exitlat
  exitlat report good.exitlat --by vm,reason -k p99
  exitlat report good.exitlat --by vm --across reason
                                     exits per second: a row per VM, a column per reason
  exitlat report good.exitlat --intervals --format csv
  ssh host cat good.exitlat | exitlat report -
  exitlat report perf.data           a file of `perf kvm stat record`
  exitlat report perf.data --save good.exitlat

A perf.data becomes one interval. exitlat counts the first exit of a vCPU that was already running; perf does not.
All other samples, their sums, minima, maxima and means equal perf's if perf lost no events. Deviations and
quantiles are estimated from histogram buckets.";

/// `exitlat report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// A recording, or a perf.data of `perf kvm stat record`; `-` is standard input
    pub file: Location,
    /// Also save the whole input as a recording in the current schema
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Overwrite the saved recording if it exists
    #[arg(long, requires = "save")]
    pub force: bool,
    /// Which exits are shown.
    #[command(flatten)]
    pub select: SelectArgs,
    /// One row per vm, vcpu, reason, part or host, or per combination like vm,reason. `part` breaks time
    /// down into guest, kernel, polling, idle, run queue and VMM
    #[arg(long, default_value = "reason", value_name = "LIST", value_parser = values::report_by)]
    pub by: GroupBy,
    /// How they are printed.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Show each interval before the total
    #[arg(long)]
    pub intervals: bool,
}
