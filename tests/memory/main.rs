//! A measurement for months holds no more memory than one of a minute: VMs and threads come and go, and the
//! real loop runs over a made-up source.

mod allocator;
mod fleet;

use std::{io, time::Duration};

use clap::Parser as _;
use exitlat_tests::noise::header;
use tracer_user::{
    cli::{Cli, Command, LiveArgs, Location, units::switch_policy},
    cmd::{
        live::{Shown, Tables},
        record::RecordingSink,
        view::Screen,
    },
    model::{Selection, clock::Clocks},
    recording::rotate::{Plan, Recorder, Store},
    run::{self, Inputs, Schedule, Signals, Sink, StopReason},
};

use crate::fleet::{Churn, Fleet, THREADS, VMS};

/// Bytes by which memory may grow between the first tenth and the end.
const ALLOWED: isize = 2 << 20;

/// Runs the loop until all have come and gone. The bytes that were held then, less those after the first
/// tenth.
fn growth(churn: Churn, sink: &mut dyn Sink<Fleet>) -> isize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut fleet = Fleet::new(churn);
    let why = runtime.block_on(async {
        let schedule = Schedule {
            display: Duration::from_millis(1),
            duration: None,
            // One more than there are intervals with new ones: the last of them have to be gone.
            count: Some(churn.total / churn.at_once + 1),
            child: None,
        };
        let inputs = Inputs::start(schedule, Signals::none());
        run::run(&mut fleet, inputs, &mut [sink]).await.unwrap()
    });
    assert_eq!(why, StopReason::Elapsed);
    fleet.growth()
}

/// A disk that takes everything and keeps nothing.
struct Nowhere {
    files: u64,
}

impl Store for Nowhere {
    type File = io::Sink;

    fn create(&mut self, _: &str) -> io::Result<io::Sink> {
        self.files += 1;
        Ok(io::sink())
    }

    fn remove(&mut self, _: &str) -> io::Result<()> {
        self.files -= 1;
        Ok(())
    }

    fn cut(&mut self, _: &mut io::Sink, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self, _: &mut io::Sink) -> io::Result<()> {
        Ok(())
    }
}

fn no_time_passes() -> Clocks {
    Clocks { monotonic_ns: 0, boot_ns: 0, unix_ms: 0 }
}

/// Records everything, in files of this policy.
fn recorded(churn: Churn, plan: Plan) -> (isize, u64) {
    let recorder = Recorder::begin(Nowhere { files: 0 }, plan, header("lab"), 0).unwrap();
    let mut sink = RecordingSink::new(recorder, Location::Stream, no_time_passes);
    let growth = growth(churn, &mut sink);
    let summary = sink.end(StopReason::Elapsed).unwrap();
    assert_eq!(summary.samples, churn.total, "one exit of each");
    (growth, summary.totals.files)
}

#[test]
fn record_into_one_file_holds_no_vm_that_ended() {
    let (growth, files) = recorded(VMS, Plan::default());
    assert_eq!(files, 1);
    assert!(growth < ALLOWED, "{growth} bytes more after {} VMs", VMS.total);
}

#[test]
fn record_into_many_files_holds_neither_vms_nor_files() {
    let switch = Some(switch_policy("64K").unwrap());
    for max_files in [None, Some(3)] {
        let (growth, files) = recorded(VMS, Plan { switch, max_files, ..Plan::default() });
        assert!(files > 100, "{files}");
        assert!(growth < ALLOWED, "{growth} bytes more after {} VMs and {files} files", VMS.total);
    }
}

/// Shows everything as `exitlat live` with these options does.
fn shown(churn: Churn, options: &str) -> isize {
    let line = format!("exitlat live {options}");
    let Some(Command::Live(LiveArgs { view, by, total, .. })) =
        Cli::try_parse_from(line.split_whitespace()).unwrap().command
    else {
        panic!("{line}")
    };
    let screen = Screen::to_writer(Box::new(io::sink()), &view, by, Selection::default()).unwrap();
    growth(churn, &mut Tables::new(screen, if total { Shown::Total } else { Shown::Interval }))
}

#[test]
fn live_folds_the_vms_that_ended() {
    for options in ["--by reason", "--by vm,reason", "--by vcpu,reason --total --format json"] {
        let growth = shown(VMS, options);
        assert!(growth < ALLOWED, "{options}: {growth} bytes more after {} VMs", VMS.total);
    }
}

/// A VM that starts and ends threads for ever stays one running VM. Only its ended threads can be folded.
#[test]
fn threads_that_come_and_go_in_one_vm_are_not_kept() {
    let (growth, _) = recorded(THREADS, Plan::default());
    assert!(growth < ALLOWED, "record: {growth} bytes more after {} threads", THREADS.total);
    let growth = shown(THREADS, "--by vcpu");
    assert!(growth < ALLOWED, "live: {growth} bytes more after {} threads", THREADS.total);
}
