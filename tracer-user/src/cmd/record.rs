//! `exitlat record`: intervals to a dump, or to one dump after the other.

use std::{os::unix::process::ExitStatusExt as _, path::Path, process::ExitStatus};

use anyhow::{Context as _, Result, bail};

use crate::model::clock::Watch;
use crate::model::provenance::{Buckets, Header};
use crate::{
    cli::RecordArgs,
    cmd::{
        DONE, FAILED, TOOL, Usage,
        drive::{Schedule, Signals, StopReason, Trigger, drive},
        live, select,
    },
    files::rotating::Disk,
    kernel::{
        host::{self, Host},
        session::Session,
    },
    model::{Loss, Losses},
    recording::{
        SCHEMA,
        rotate::{Outcome, Plan, Recorder},
    },
    render::units,
};

/// Runs it.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub async fn run(args: RecordArgs) -> Result<u8> {
    let pids = select::pids(&args.trace)?;
    // Before anything is attached: a name that cannot be written costs nothing. Nor does it cost an older dump
    // anything until tracing works and the command runs.
    let plan = Plan { switch: args.switch_output, max_files: args.max_files, fsync: args.fsync };
    let disk = Disk::prepare(&args.output, plan.switch.is_some(), args.force)?;
    let mut signals = Signals::catch(plan.switch.is_some())?;
    let mut session = live::start(&args.trace, pids)?;
    if !args.command.is_empty() && signals.ended().await {
        bail!("interrupted; the command was not started");
    }
    let child = spawn(&args.command)?;
    let header = header(&session);
    let mut recorder = Recorder::begin(disk, plan, header, host::monotonic_ns())
        .with_context(|| cannot_write(&args.output))?;
    if args.command.is_empty() && args.trace.duration.is_none() {
        say!("exitlat: recording to {}; Ctrl-C ends it", name(&args));
    }
    let schedule = Schedule {
        display: args.trace.display.0,
        duration: args.trace.duration.map(|span| span.0),
        count: None,
        child,
    };
    let (mut losses, mut samples) = (Losses::default(), 0);
    let mut watch = Watch::default();
    watch.see(host::clocks());
    let why = drive(&mut session, schedule, signals, |session, interval, cue| {
        losses.merge(&interval.losses);
        samples += interval.exits();
        let change = watch.see(host::clocks());
        let outcome = recorder.interval(interval, session.threads(), change, cue == Trigger::Switch);
        report(outcome.with_context(|| cannot_write(&args.output))?, interval.number);
        Ok(())
    })
    .await?;
    let totals = recorder.end(why.word()).with_context(|| cannot_write(&args.output))?;
    losses.add(Loss::Unwritten, totals.lost_samples);
    say!(
        "exitlat: {samples} samples in {}, {} KiB in {}; losses: {losses}",
        units::plural((totals.intervals + totals.lost_intervals) as usize, "interval"),
        totals.bytes.div_ceil(1024),
        if plan.switch.is_none() {
            name(&args)
        } else {
            format!("{} {}", units::plural(totals.files as usize, "file"), name(&args))
        },
    );
    if totals.untold_intervals != 0 {
        say!(
            "exitlat: the disk is still full: at its end the dump does not tell of {}",
            units::plural(totals.untold_intervals as usize, "lost interval")
        );
        return Ok(FAILED);
    }
    Ok(match why {
        StopReason::Command(status) => status_of(status),
        _ => DONE,
    })
}

/// The dump, or what the names of all begin with.
fn name(args: &RecordArgs) -> String {
    let star = if args.switch_output.is_some() { ".*" } else { "" };
    format!("{}{star}", args.output.display())
}

/// Says when the disk becomes full, and when there is room again.
fn report(outcome: Outcome, number: u64) {
    match outcome {
        Outcome::Written | Outcome::StillFull => {}
        Outcome::Full => say!(
            "exitlat: the disk is full: interval {number} is lost, and those after it until there is room; what was \
             written before is complete"
        ),
        Outcome::WrittenAgain(lost) => say!(
            "exitlat: there is room again; {} lost, their samples are in the losses of interval {number}",
            units::plural(lost as usize, "interval")
        ),
    }
}

/// A command's status as a shell gives it: 128 + N after signal N.
fn status_of(status: ExitStatus) -> u8 {
    let number = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write to {}; what is there up to here stays readable", path.display())
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
