//! The arguments of `exitlat list`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::{Location, SelectArgs, units};

pub(super) const EXAMPLES: &str = "\
Examples:
  exitlat list                       the VMs of this host, by the names their owners use
  exitlat list --threads -g 'prod/*' those of a namespace, with the time of their threads
  exitlat list -g uuid:12c6 --format json
  exitlat list good.exitlat          the VMs of a recording

CPU% and wait% are summed over all threads of a VM; 100 is one CPU, so a VM can exceed 100.
They and exits/s are measured over the interval; - means unknown. Times are UTC.";

/// `exitlat list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// A recording; without one, this host
    pub file: Option<Location>,
    /// Which VMs are listed.
    #[command(flatten)]
    pub select: SelectArgs,
    /// How long rates are measured: seconds, or with a unit like 200ms
    #[arg(short, long, default_value = "1", value_name = "TIME", value_parser = units::interval)]
    pub display: Duration,
    /// Show the threads of each VM by what they do
    #[arg(long, conflicts_with = "file")]
    pub threads: bool,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: ListFormat,
}

/// Output formats of `list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people
    Table,
    /// One JSON object; times in ns
    Json,
}
