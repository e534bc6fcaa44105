//! The clock of a measurement: when to take an interval, and when to stop.

use std::{process::ExitStatus, time::Duration};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use tokio::{
    process::Child,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior},
};

use crate::{
    kernel::{host, session::Session},
    model::Interval,
};

/// How often the programs' log is looked at.
const LOG_POLL: Duration = Duration::from_millis(100);

/// How often new VMs are looked at between readings; one that lives shorter is named by its thread.
const GREET: Duration = Duration::from_millis(100);

/// When intervals end, and when the measurement does.
#[derive(Debug)]
pub struct Schedule {
    /// Length of an interval.
    pub display: Duration,
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// Stop after so many intervals.
    pub count: Option<u64>,
    /// Stop when this process ends.
    pub child: Option<Child>,
}

/// Why an interval ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// It is as long as it should be, or it is the last one.
    Time,
    /// SIGUSR2 asked for a new file.
    Switch,
}

/// Why a measurement stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Ctrl-C, SIGTERM or SIGHUP.
    Interrupted,
    /// The time was up, or the intervals were.
    Elapsed,
    /// The command ended.
    Command(ExitStatus),
}

impl StopReason {
    /// The word in a dump's end line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Elapsed => "elapsed",
            Self::Command(_) => "command ended",
        }
    }
}

/// Takes intervals until the schedule or one of the `signals` ends them, the last one partial. `each` gets every one.
///
/// # Errors
/// Those of the session and of `each`.
pub async fn drive(
    session: &mut Session,
    mut schedule: Schedule,
    mut signals: Signals,
    mut each: impl FnMut(&mut Session, &Interval, Trigger) -> Result<()>,
) -> Result<StopReason> {
    let start = Instant::now();
    let mut ticks = tokio::time::interval_at(start + schedule.display, schedule.display);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut greetings = tokio::time::interval(GREET);
    greetings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let deadline = schedule.duration.map(|duration| start + duration);
    let mut interval = Interval::default();
    let mut taken = 0;
    loop {
        let mut cue = Trigger::Time;
        let stop = tokio::select! {
            biased;
            () = any(&mut signals.ends) => Some(StopReason::Interrupted),
            status = ended(&mut schedule.child) => Some(StopReason::Command(status.context("cannot wait for the command")?)),
            () = until(deadline) => Some(StopReason::Elapsed),
            () = received(&mut signals.switch) => {
                cue = Trigger::Switch;
                None
            }
            _ = ticks.tick() => None,
            _ = greetings.tick() => {
                session.greet();
                continue;
            }
        };
        taken += 1;
        let enough = schedule.count.is_some_and(|count| taken >= count).then_some(StopReason::Elapsed);
        let stop = stop.or(enough);
        if stop.is_some() {
            session.read_last(&mut interval)?;
        } else {
            session.read(&mut interval)?;
        }
        each(session, &interval, cue)?;
        if let Some(why) = stop {
            return Ok(why);
        }
    }
}

/// Passes on what the programs log. Runs until the runtime ends.
///
/// # Errors
/// If the programs' log cannot be opened.
pub fn forward_log(session: &mut Session) -> Result<()> {
    let mut logger = EbpfLogger::init(session.ebpf()).context("cannot open the programs' log")?;
    // Polled: messages are rare, and waiting on the descriptor would need its lifetime promised by hand.
    let mut ticks = tokio::time::interval(LOG_POLL);
    tokio::spawn(async move {
        loop {
            ticks.tick().await;
            logger.flush();
        }
    });
    Ok(())
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn ended(child: &mut Option<Child>) -> std::io::Result<ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

/// The signals that a measurement heeds. From here on they no longer end the process: to be made before anybody is told
/// that tracing goes on.
pub struct Signals {
    /// SIGINT, SIGTERM and SIGHUP: they end a measurement properly.
    ends: [Option<Signal>; 3],
    /// SIGUSR2: take a reading.
    switch: Option<Signal>,
}

impl Signals {
    /// Catches them, SIGUSR2 only if `switch`.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn catch(switch: bool) -> Result<Self> {
        let catch = |wanted: bool, kind| wanted.then(|| signal(kind)).transpose();
        Ok(Self {
            ends: [
                catch(true, SignalKind::interrupt())?,
                catch(true, SignalKind::terminate())?,
                // What nohup had ignored stays ignored.
                catch(!host::ignores(libc::SIGHUP), SignalKind::hangup())?,
            ],
            switch: catch(switch, SignalKind::user_defined2())?,
        })
    }

    /// Whether one has come already that ends the measurement.
    pub async fn ended(&mut self) -> bool {
        tokio::select! {
            biased;
            () = any(&mut self.ends) => true,
            // Long enough to be told of one.
            () = tokio::time::sleep(Duration::from_millis(10)) => false,
        }
    }
}

async fn any([interrupt, terminate, hangup]: &mut [Option<Signal>; 3]) {
    tokio::select! {
        () = received(interrupt) => {}
        () = received(terminate) => {}
        () = received(hangup) => {}
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
