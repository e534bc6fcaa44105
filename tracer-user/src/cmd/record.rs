//! `exitlat record`: intervals to a recording, or to one recording after the other.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

use anyhow::{Context as _, Result, bail};

use crate::{
    cli::{Location, RecordArgs, Usage},
    cmd::{DONE, FAILED, TOOL},
    files::{Existing, RotatingFiles},
    kernel::{
        host::{self, Host},
        session::Session,
    },
    model::{
        Interval, Loss, Losses,
        clock::{Clocks, Watch},
        provenance::{Buckets, Header},
    },
    recording::{
        SCHEMA,
        rotate::{Outcome, Plan, Recorder, Store, Totals},
    },
    render::units,
    run::{
        self, GuestRule, Inputs, KernelSource, Schedule, SigUsr2, Signals, Sink, Source, StopReason, Trigger,
    },
};

/// Runs the command.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub async fn run(args: RecordArgs) -> Result<u8> {
    // A bad name is found before anything is attached. An older recording stays until tracing works and the
    // command runs.
    let plan = Plan { switch: args.switch_output, max_files: args.max_files, fsync: args.fsync };
    let (files, usr2) = match plan.switch {
        None => (RotatingFiles::one(&args.output, Existing::forced(args.force))?, SigUsr2::Ends),
        Some(_) => (RotatingFiles::many(&args.output)?, SigUsr2::Switches),
    };
    let mut signals = Signals::catch(usr2)?;
    let rule = GuestRule::from(&args.trace.vms);
    let mut source = KernelSource::start(&args.trace, rule)?;
    if !args.command.is_empty() && signals.ended().await {
        bail!("interrupted; the command was not started");
    }
    let child = spawn(&args.command)?;
    let header = header(source.session());
    let recorder = Recorder::begin(files, plan, header, host::monotonic_ns())
        .with_context(|| cannot_record(&args.output))?;
    let name = name(&args);
    if args.command.is_empty() && args.trace.duration.is_none() {
        say!("exitlat: recording to {name}; Ctrl-C ends it");
    }
    let schedule =
        Schedule { display: args.trace.display, duration: args.trace.duration, count: None, child };
    let mut recording = RecordingSink::new(recorder, args.output.clone(), host::clocks);
    let inputs = Inputs::start(schedule, signals);
    let why = run::run(&mut source, inputs, &mut [&mut recording]).await?;
    let summary = recording.end(why)?;
    let place = match plan.switch {
        None => name,
        Some(_) => format!("{} {name}", units::plural(summary.totals.files as usize, "file")),
    };
    say!("exitlat: {}", summary.sentence(&place));
    if let Some(warning) = summary.warning() {
        say!("exitlat: {warning}");
        return Ok(FAILED);
    }
    Ok(match why {
        StopReason::Command(status) => status_of(status),
        _ => DONE,
    })
}

/// Writes snapshots to a recording.
pub struct RecordingSink<S: Store> {
    recorder: Recorder<S>,
    output: Location,
    clocks: fn() -> Clocks,
    watch: Watch,
    losses: Losses,
    samples: u64,
}

/// The size and losses of a complete recording.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Intervals, bytes and files.
    pub totals: Totals,
    /// Samples that were measured, those for which there was no room included.
    pub samples: u64,
    /// Everything that was lost.
    pub losses: Losses,
}

impl<S: Store> RecordingSink<S> {
    /// A recording that has begun. Errors call it `output`; `clocks` reads the clocks of this host.
    pub fn new(recorder: Recorder<S>, output: Location, clocks: fn() -> Clocks) -> Self {
        let mut watch = Watch::default();
        watch.see(clocks());
        Self { recorder, output, clocks, watch, losses: Losses::default(), samples: 0 }
    }

    /// Completes the recording.
    ///
    /// # Errors
    /// If the store fails.
    pub fn end(self, why: StopReason) -> Result<Summary> {
        let Self { recorder, output, mut losses, samples, .. } = self;
        let totals = recorder.end(why.word()).with_context(|| cannot_record(&output))?;
        losses.add(Loss::Unwritten, totals.lost_samples);
        Ok(Summary { totals, samples, losses })
    }
}

impl<S: Source, F: Store> Sink<S> for RecordingSink<F> {
    fn take(&mut self, source: &mut S, interval: &Interval, trigger: Trigger) -> Result<()> {
        self.losses.merge(&interval.losses);
        self.samples += interval.exits();
        let change = self.watch.see((self.clocks)());
        let asked = trigger == Trigger::Switch;
        let outcome = self.recorder.interval(interval.with(source.threads()), change, asked);
        let outcome = outcome.with_context(|| cannot_record(&self.output))?;
        if let Some(text) = told(outcome, interval.number) {
            say!("exitlat: {text}");
        }
        Ok(())
    }
}

impl Summary {
    /// The closing sentence; `place` is the name of the recording.
    pub fn sentence(&self, place: &str) -> String {
        let Self { totals, samples, losses } = self;
        format!(
            "{samples} samples in {}, {} KiB in {place}; losses: {losses}",
            units::plural((totals.intervals + totals.lost_intervals) as usize, "interval"),
            totals.bytes.div_ceil(1024),
        )
    }

    /// A warning about losses that the recording itself had no room to report.
    pub fn warning(&self) -> Option<String> {
        let untold = self.totals.untold_intervals;
        (untold != 0).then(|| {
            format!(
                "the disk is still full: {} lost at the end of the recording, which does not mention it",
                units::plural(untold as usize, "interval")
            )
        })
    }
}

/// The name of the recording, or the beginning of the names of all its files.
fn name(args: &RecordArgs) -> String {
    let star = if args.switch_output.is_some() { ".*" } else { "" };
    format!("{}{star}", args.output)
}

/// Tells when the disk becomes full, and when there is room again.
fn told(outcome: Outcome, number: u64) -> Option<String> {
    match outcome {
        Outcome::Written | Outcome::StillFull => None,
        Outcome::Full => Some(format!(
            "the disk is full: interval {number} is lost, and all others until there is room; the recording up to \
             here is complete"
        )),
        Outcome::WrittenAgain(lost) => Some(format!(
            "there is room again: {} lost, their samples are in the losses of interval {number}",
            units::plural(lost as usize, "interval")
        )),
    }
}

/// A command's status as a shell gives it: 128 + N after signal N.
fn status_of(status: ExitStatus) -> u8 {
    let number = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn cannot_record(output: &Location) -> String {
    format!("cannot write the recording to {output}; everything up to here stays readable")
}

fn header(session: &Session) -> Header {
    let Host { name, kernel, arch, cpu, backend } = Host::read();
    Header {
        schema: SCHEMA,
        tool: TOOL.to_owned(),
        host: name,
        kernel,
        arch,
        cpu,
        backend,
        path: session.path(),
        options: std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
        start_unix_ms: host::unix_ms(),
        sources: Vec::new(),
        buckets: Buckets::default(),
        parts: session.known().ids().map(str::to_owned).collect(),
        exit_stamp: session.exit_stamp().to_owned(),
    }
}

fn spawn(command: &[String]) -> Result<Option<tokio::process::Child>> {
    let Some((program, arguments)) = command.split_first() else { return Ok(None) };
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .spawn()
        .map_err(|error| Usage(format!("cannot run {program}: {error}")))?;
    Ok(Some(child))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(untold_intervals: u64) -> Summary {
        let totals = Totals {
            intervals: 2,
            bytes: 1025,
            files: 1,
            lost_intervals: 1,
            lost_samples: 5,
            untold_intervals,
        };
        Summary { totals, samples: 10, losses: Losses::default() }
    }

    #[test]
    fn the_closing_sentence() {
        assert_eq!(
            summary(0).sentence("one.exitlat"),
            "10 samples in 3 intervals, 2 KiB in one.exitlat; losses: none"
        );
        assert_eq!(summary(0).warning(), None);
        assert!(summary(1).warning().unwrap().contains("1 interval lost"));
    }

    #[test]
    fn a_command_that_a_signal_ended_has_the_status_of_a_shell() {
        assert_eq!([status_of(ExitStatus::from_raw(7 << 8)), status_of(ExitStatus::from_raw(9))], [7, 137]);
    }
}
