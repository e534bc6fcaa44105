//! Arguments as typed. Nothing here looks at the machine.
//!
//! Each command has a module with its arguments and examples; [`trace`], [`select`] and [`view`] have those
//! that several share. [`values`] and [`units`] turn words into values of the core.

use clap::{Parser, Subcommand};

pub mod check;
pub mod diff;
pub mod export;
pub mod list;
pub mod live;
pub mod location;
pub mod merge;
pub mod record;
pub mod report;
pub mod select;
mod sort_key;
pub mod trace;
pub mod units;
pub mod usage;
pub mod values;
pub mod view;

pub use check::{CheckArgs, CheckFormat};
pub use diff::{DiffArgs, DiffFormat};
pub use export::{ExportArgs, ExportFormat, NamesMode};
pub use list::{ListArgs, ListFormat};
pub use live::LiveArgs;
pub use location::Location;
pub use merge::MergeArgs;
pub use record::RecordArgs;
pub use report::ReportArgs;
pub use select::{ExitArgs, SelectArgs, VmArgs};
pub use trace::TraceArgs;
pub use usage::Usage;
pub use view::{Format, ViewArgs};

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
  exitlat list                       the VMs of this host
  exitlat check                      check this host before tracing

Exit status:
  0  done, also after Ctrl-C and a closed pipe
  1  failed
  2  wrong usage
  3  `diff` found a regression
  4  this host cannot be traced: not root, no KVM, or a KVM that does not report its exits
`record -- CMD` ends with the status of CMD.";

/// Where do KVM guests lose time? exitlat measures every VM exit: from the exit until the same vCPU runs its
/// guest again.
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

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a table of exits for each interval (the default command)
    #[command(after_help = live::examples())]
    Live(LiveArgs),
    /// Record intervals to a file, for `report`
    #[command(after_help = record::EXAMPLES)]
    Record(RecordArgs),
    /// Show the tables of a recording or a perf.data
    #[command(after_help = report::EXAMPLES)]
    Report(ReportArgs),
    /// Compare two recordings and report significant changes
    #[command(after_help = diff::EXAMPLES)]
    Diff(DiffArgs),
    /// Merge recordings of any hosts and times into one
    #[command(after_help = merge::EXAMPLES)]
    Merge(MergeArgs),
    /// Convert a recording to the format of another tool
    #[command(after_help = export::EXAMPLES)]
    Export(ExportArgs),
    /// List the VMs of this host, or of a recording, by the names their owners use
    #[command(after_help = list::EXAMPLES)]
    List(ListArgs),
    /// Check whether this host can be traced
    Check(CheckArgs),
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, time::Duration};

    use clap::CommandFactory as _;

    use super::*;
    use crate::model::{NameList, NamePattern, Selection, VmList, VmPattern, columns::SortKey};

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
            assert_eq!(
                (args.trace.vms.pid, args.view.key, args.count),
                (vec![1, 2], Some(SortKey::Max), Some(3))
            );
            assert_eq!(args.interval, Some(Duration::from_millis(500)));
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
            "exitlat --by vm --across part",
            "exitlat --by vm --across reason --columns all",
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

    #[test]
    fn commands_refuse_what_they_cannot_group_by() {
        for (line, word) in [
            ("exitlat --by host", "merged recordings"),
            ("exitlat diff a b --by reason,part", "leave `part` out"),
            ("exitlat export a --by part", "columns or labels"),
            ("exitlat report a --by cpu", "vm,reason"),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
        assert!(Cli::try_parse_from("exitlat report a --by host,part".split(' ')).is_ok());
    }

    #[test]
    fn one_selection_for_all_commands() {
        let options = "-p 1,2 -g web*,db --host h -f EPT --vcpu 3";
        let select = |line: String| match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Some(Command::Report(args)) => args.select,
            Some(Command::Diff(args)) => args.select,
            Some(Command::Export(args)) => args.select,
            other => panic!("{other:?}"),
        };
        for command in ["report a", "diff a b", "export a"] {
            let selection = Selection::from(&select(format!("exitlat {command} {options}")));
            assert_eq!((selection.pids, selection.vcpus), (vec![1, 2], vec![3]), "{command}");
            let guests: Vec<_> =
                selection.guests.iter().flat_map(VmList::patterns).map(VmPattern::typed).collect();
            let hosts: Vec<_> =
                selection.hosts.iter().flat_map(NameList::names).map(NamePattern::typed).collect();
            assert_eq!((guests, hosts), (vec!["web*", "db"], vec!["h"]));
            assert_eq!(selection.fields.unwrap().as_str(), "EPT");
        }
    }

    #[test]
    fn standard_input_is_read_once() {
        let locations =
            |words: &[&str]| words.iter().map(|word| OsString::from(word).into()).collect::<Vec<Location>>();
        assert!(location::read_once(&locations(&["-", "a"])).is_ok());
        assert!(location::read_once(&locations(&["-", "a", "-"])).is_err());
    }
}
