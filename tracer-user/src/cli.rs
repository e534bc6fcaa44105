//! Arguments as typed. Nothing here looks at the machine.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use regex::Regex;
use tracer_ebpf::abi;

use crate::{
    kernel::session::Attach,
    model::{
        GroupBy, NamePattern,
        columns::{self, Column, SortKey},
    },
    recording::rotate,
};

pub mod diff;
mod sort_key;
pub mod units;

pub use diff::{DiffArgs, DiffFormat, MergeArgs};
pub use units::Span;

const EXAMPLES: &str = "\
Examples:
  exitlat                            all VMs, a table every second; Ctrl-C ends with the totals
  exitlat live -g web01 --by vcpu,reason
  exitlat live --hist EPT 5 1        one interval of 5 s, with the histograms of EPT exits
  exitlat record -o good.exitlat --duration 60
  exitlat report good.exitlat
  exitlat diff good.exitlat new.exitlat
  exitlat merge -o all.exitlat host-*.exitlat
  exitlat export good.exitlat -o good.html
  exitlat check                      what this host offers, and what is missing

Exit status: 0 done (also after Ctrl-C and when the pipe is closed), 1 failed, 2 wrong usage,
3 `diff` found a regression, 4 this host cannot be traced as it is (not root, no KVM, or a KVM that does not report its exits).
`record -- CMD` ends with the status of CMD.";

/// Where KVM guests lose time: for every VM exit the time until the same vCPU runs its guest again.
#[derive(Debug, Parser)]
#[command(name = "exitlat", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Without a command: live.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `live`, for use without the word.
    #[command(flatten)]
    pub live: LiveArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a table of exits for each interval (also what `exitlat` alone does)
    #[command(after_help = LIVE_EXAMPLES)]
    Live(LiveArgs),
    /// Write intervals to a dump, for `report`
    #[command(after_help = RECORD_EXAMPLES)]
    Record(RecordArgs),
    /// Show the tables of a dump, or of a perf.data
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Say what changed from one dump to another, and whether chance explains it
    #[command(after_help = diff::DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Make one dump of many, of any hosts and times
    #[command(after_help = diff::MERGE_EXAMPLES)]
    Merge(MergeArgs),
    /// Write a dump in the format of another tool
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Say what this host offers and what is missing
    Check(CheckArgs),
}

const LIVE_EXAMPLES: &str = "\
Examples:
  exitlat live -p 4242               one VM, by the pid of its process
  exitlat live -g 'web*' --by vm,reason
  exitlat live -d 0.2 -k max         every 200 ms, the longest exit first
  exitlat live --once --format json  one interval, for a script
  exitlat live 1 10                  ten intervals of 1 s, as the bcc tools take it

All times but Idle are handled time: exits without the time in which the guest had nothing to do;
--idle counts that in. Below stands where the wall time of each VM's vCPUs went.
Samples, Min, Max and Avg are exact; +- is the standard deviation of the mean, which like p50, p99
and p99.9 comes from histogram buckets and is within 3.2 %.";

const RECORD_EXAMPLES: &str = "\
Examples:
  exitlat record -o good.exitlat --duration 60
  exitlat record -o boot.exitlat -- virsh start --console web01
  exitlat record -g web01 -o web01.exitlat       until Ctrl-C
  nohup exitlat record -d 10 -o /var/log/exitlat/all --switch-output 100M,1d --max-files 7 &

The dump is text, one JSON object a line; a dump that was cut off anywhere is readable.

With --switch-output every file can be read alone. It is named after the UTC time of its beginning and is not
touched again once it is complete. SIGUSR2 begins a new one at once. When the disk is full, intervals are lost and
counted until there is room; without --switch-output that ends the recording. SIGINT, SIGTERM and SIGHUP end a
recording properly; SIGHUP does nothing under nohup.";

const REPORT_EXAMPLES: &str = "\
Examples:
  exitlat report good.exitlat
  exitlat report good.exitlat --by vm,reason -k p99
  exitlat report good.exitlat --intervals --format csv
  ssh host cat good.exitlat | exitlat report -
  exitlat report perf.data           a recording of `perf kvm stat record`
  exitlat report perf.data --save good.exitlat

One interval holds all of perf's recording. perf leaves out the first exit of a vCPU that was running already
when it began; here it counts. In a recording without losses all other samples, and their sums, extremes and means,
are the same; deviations and quantiles come from buckets.";

const EXPORT_EXAMPLES: &str = "\
Examples:
  exitlat export good.exitlat -o good.html
  exitlat export bad.exitlat --diff-base good.exitlat -o change.html
  exitlat export good.exitlat -o good.hlog --by vm,reason
  exitlat export good.exitlat --format hgrm -o curves/      one file for each reason
  exitlat export good.exitlat --format csv -g 'web*' | head
  exitlat export good.exitlat --names hash -o for-a-friend.html

Without --format the ending of FILE says which: .hlog, .hgrm, .csv, .json, .prom, .html.
Without -o it goes to standard output. A .hgrm holds one row: several rows need a directory.";

/// Which exits are traced, and with how much memory.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Trace only these processes
    #[arg(short, long, value_delimiter = ',', value_name = "PID")]
    pub pid: Vec<u32>,
    /// Trace only VMs of this name (QEMU's -name, else the process name); may be a glob like 'web*'
    #[arg(short, long, value_delimiter = ',', value_name = "NAME")]
    pub guest: Vec<NamePattern>,
    /// Length of an interval: seconds, or with a unit like 200ms; up to 1h
    #[arg(short, long, default_value = "1", value_name = "TIME", value_parser = units::interval)]
    pub display: Span,
    /// Stop after this time
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Span>,
    /// Capacity in (vCPU, reason) pairs; 2.2 KiB of memory each
    #[arg(long, default_value_t = abi::DEFAULT_SLOTS, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub slots: u32,
    /// Capacity in vCPU threads
    #[arg(long, default_value_t = abi::DEFAULT_VCPUS, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub max_vcpus: u32,
    /// By which tracepoints exits are seen
    #[arg(long, value_enum, default_value = "auto")]
    pub attach: Attach,
    /// Do not follow the scheduler: costs nothing at the context switches of other threads, but run queue, sleeps
    /// and the VMM's own time are then not told apart
    #[arg(long)]
    pub no_sched: bool,
    /// Keep a histogram of each vCPU's time in the guest, from entry to exit
    #[arg(long)]
    pub guest_histogram: bool,
    /// Say on standard error what the kernel side meets: new vCPUs, full tables
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What is shown, and how.
#[derive(Args, Clone, Debug)]
pub struct ViewArgs {
    /// What a row stands for: vm, vcpu, reason, part, or a list like vm,reason; in a merged dump also host. `part`
    /// tells guest, kernel, polling, idle, run queue and VMM apart: of all time or, with reason, of each reason's
    #[arg(long, default_value = "reason", value_name = "LIST")]
    pub by: GroupBy,
    /// Columns of the table: usual, parts, all, or a list of names as in CSV
    #[arg(long, value_name = "LIST")]
    pub columns: Option<Columns>,
    /// Sort by
    #[arg(short, long, value_enum, default_value = "time")]
    pub key: SortKey,
    /// Show only reasons that match this regular expression
    #[arg(short, long, value_name = "REGEX")]
    pub fields: Option<Regex>,
    /// Show only these vCPU numbers
    #[arg(long, value_delimiter = ',', value_name = "N")]
    pub vcpu: Vec<u32>,
    /// Print histograms too; of all reasons, or of those that match
    #[arg(long, value_name = "REASON", num_args = 0..=1, default_missing_value = "")]
    pub hist: Option<Regex>,
    /// Count idle time into Time%, as perf kvm stat does
    #[arg(long)]
    pub idle: bool,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Colours and screen control
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: When,
}

/// `exitlat live`.
#[derive(Args, Clone, Debug)]
pub struct LiveArgs {
    /// Which exits.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// How shown.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Show what has come since the start instead of since the last display
    #[arg(long)]
    pub total: bool,
    /// One interval, then stop
    #[arg(long, conflicts_with_all = ["interval", "count"])]
    pub once: bool,
    /// Length of an interval, as --display
    #[arg(value_name = "INTERVAL", conflicts_with = "display", value_parser = units::interval)]
    pub interval: Option<Span>,
    /// Number of intervals
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// `exitlat record`.
#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// Which exits.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// The dump; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "recording.exitlat")]
    pub output: PathBuf,
    /// Overwrite the dump if it exists
    #[arg(long)]
    pub force: bool,
    /// Begin a new file FILE.TIME at this size or age, or both (100M, 1h, 100M,1h), and at SIGUSR2 (`signal`: only then)
    #[arg(long, value_name = "WHEN")]
    pub switch_output: Option<rotate::When>,
    /// Keep so many files of this recording, delete the oldest
    #[arg(long, value_name = "N", requires = "switch_output", value_parser = max_files)]
    pub max_files: Option<usize>,
    /// What of the dump must survive a crash of the machine: each interval, each complete file, or nothing
    #[arg(long, value_enum, default_value = "switch", value_name = "WHEN")]
    pub fsync: rotate::Fsync,
    /// Record while this command runs
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// `exitlat report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// A dump, or a perf.data of `perf kvm stat record`; `-` is standard input
    pub file: PathBuf,
    /// Write what was read to a new dump too, in the present schema, whatever of it is shown
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Overwrite that dump if it exists
    #[arg(long, requires = "save")]
    pub force: bool,
    /// How shown.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Show only these processes
    #[arg(short, long, value_delimiter = ',', value_name = "PID")]
    pub pid: Vec<u32>,
    /// Show only VMs of this name or glob
    #[arg(short, long, value_delimiter = ',', value_name = "NAME")]
    pub guest: Vec<NamePattern>,
    /// Show only these hosts (name or glob) of a merged dump
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub host: Vec<NamePattern>,
    /// Show each interval before the total
    #[arg(long)]
    pub intervals: bool,
}

/// `exitlat export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The dump; `-` is standard input
    pub file: PathBuf,
    /// Output format [default: by the ending of FILE]
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// Where to write; `-` is standard output. For hgrm it may be a directory
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long)]
    pub force: bool,
    /// What is told apart: host, vm, vcpu, reason, or a list like vm,reason [default: by format]
    #[arg(long, value_name = "LIST")]
    pub by: Option<GroupBy>,
    /// Only reasons that match this regular expression
    #[arg(short, long, value_name = "REGEX")]
    pub fields: Option<Regex>,
    /// Only these vCPU numbers
    #[arg(long, value_delimiter = ',', value_name = "N")]
    pub vcpu: Vec<u32>,
    /// Only these processes
    #[arg(short, long, value_delimiter = ',', value_name = "PID")]
    pub pid: Vec<u32>,
    /// Only VMs of this name or glob
    #[arg(short, long, value_delimiter = ',', value_name = "NAME")]
    pub guest: Vec<NamePattern>,
    /// Only these hosts (name or glob) of a merged dump
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub host: Vec<NamePattern>,
    /// The dump to compare with (html only)
    #[arg(long, value_name = "DUMP")]
    pub diff_base: Option<PathBuf>,
    /// What becomes of the names of guests and of the host, and of the recorded command line
    #[arg(long, value_enum, default_value = "keep")]
    pub names: NamesMode,
    /// Key of the pseudonyms, to get the same ones in several exports; else each export has its own
    #[arg(long, value_name = "FILE")]
    pub names_key: Option<PathBuf>,
}

/// What becomes of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NamesMode {
    /// They stay
    Keep,
    /// Pseudonyms, which nobody without the key can look up
    Hash,
    /// Left out; guests are numbered
    None,
}

/// Output formats of `export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// HdrHistogram's interval log, with a tag for each row
    Hlog,
    /// HdrHistogram's percentile table, for its plotter; one file a row
    Hgrm,
    /// One line for each interval, vCPU, reason and cause; times in ns
    Csv,
    /// The same as JSON lines, with the histograms
    Json,
    /// OpenMetrics text, the sums of the recording
    Openmetrics,
    /// One page with charts that needs nothing else
    Html,
}

impl ExportFormat {
    /// Endings of file names by which formats are known.
    pub const ENDINGS: [(&'static str, Self); 8] = [
        ("hlog", Self::Hlog),
        ("hgrm", Self::Hgrm),
        ("csv", Self::Csv),
        ("json", Self::Json),
        ("jsonl", Self::Json),
        ("prom", Self::Openmetrics),
        ("html", Self::Html),
        ("htm", Self::Html),
    ];
}

/// `exitlat check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: CheckFormat,
    /// Do not load anything, do not look for exits
    #[arg(long)]
    pub no_probe: bool,
}

/// Output formats of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One JSON object a line and interval; times in ns
    Json,
    /// One line a row; times in ns
    Csv,
}

/// Output formats of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people
    Table,
    /// One JSON object
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Columns on the command line.
#[derive(Clone, Debug)]
pub struct Columns(pub Vec<&'static Column>);

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        columns::choose(text).map(Self)
    }
}

fn max_files(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "a number from 1 on is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::*;

    fn live(line: &str) -> LiveArgs {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        match cli.command {
            None => cli.live,
            Some(Command::Live(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn live_is_the_default() {
        for line in ["exitlat -p 1,2 -k max_t 0.5 3", "exitlat live --pid 1,2 --key max 500ms 3"] {
            let args = live(line);
            assert_eq!((args.trace.pid, args.view.key, args.count), (vec![1, 2], SortKey::Max, Some(3)));
            assert_eq!(args.interval, Some(Span(Duration::from_millis(500))));
        }
    }

    #[test]
    fn hist_takes_a_reason_or_none() {
        assert_eq!(live("exitlat").view.hist.map(|r| r.to_string()), None);
        assert_eq!(live("exitlat --hist").view.hist.map(|r| r.to_string()), Some(String::new()));
        assert_eq!(live("exitlat --hist=EPT 1 1").view.hist.map(|r| r.to_string()), Some("EPT".into()));
    }

    #[test]
    fn wrong_words_are_refused() {
        for line in [
            "exitlat -d 0",
            "exitlat -d 5x",
            "exitlat -d 61m",
            "exitlat 2h",
            "exitlat --by cpu",
            "exitlat -f (",
            "exitlat --once 1 2",
            "exitlat 1 0",
            "exitlat diff a",
            "exitlat diff a b --fail-on p98:+1%",
            "exitlat diff a b --min-change x",
            "exitlat diff a b --alpha 1",
            "exitlat diff a b --judge p98",
            "exitlat merge a b",
            "exitlat merge -o c",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn record_takes_a_command() {
        let cli = Cli::try_parse_from("exitlat record -o f -- ls -l".split(' ')).unwrap();
        let Some(Command::Record(args)) = cli.command else { panic!() };
        assert_eq!(args.command, ["ls", "-l"]);
    }
}
