//! The arguments of `exitlat record`.

use clap::Args;

use crate::{
    cli::{Location, TraceArgs, units, values},
    recording::rotate::{Fsync, SwitchPolicy},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  exitlat record -o good.exitlat --duration 60
  exitlat record -o boot.exitlat -- virsh start --console web01
  exitlat record -g web01 -o web01.exitlat       until Ctrl-C
  nohup exitlat record -d 10 -o /var/log/exitlat/all --switch-output 100M,1d --max-files 7 &

A recording is text with one JSON object per line. It stays readable wherever it is cut off.

With --switch-output every file is a complete recording, named after the UTC time at which it begins. A complete
file never changes. SIGUSR2 begins a new file at once. If the disk is full, intervals are lost and counted until
there is room again; without --switch-output a full disk ends the recording.
SIGINT, SIGTERM and SIGHUP end a recording cleanly. Under nohup, SIGHUP is ignored.
-g also records VMs that start later.";

/// `exitlat record`.
#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// Which exits are traced.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Write the recording to this file; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "recording.exitlat")]
    pub output: Location,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub force: bool,
    /// Begin a new file FILE.TIME at this size or age (100M, 1h, 100M,1d) and at SIGUSR2; `signal`: at
    /// SIGUSR2 only
    #[arg(long, value_name = "WHEN", value_parser = units::switch_policy)]
    pub switch_output: Option<SwitchPolicy>,
    /// Keep at most N files, deleting the oldest
    #[arg(long, value_name = "N", requires = "switch_output", value_parser = values::count)]
    pub max_files: Option<usize>,
    /// When to fsync: after every interval, when a file is complete, or never
    #[arg(long, value_enum, default_value = "switch", value_name = "WHEN")]
    pub fsync: Fsync,
    /// Record while this command runs
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}
