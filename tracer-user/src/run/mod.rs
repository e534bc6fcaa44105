//! One loop for everything that measures.
//!
//! [`Inputs`] say what happens next: an interval ends, new VMs may have come, a signal, the end of a command,
//! the deadline. [`run`] answers each [`Event`] with the [`Source`], which is the kernel or a made-up one,
//! and gives every snapshot to the [`Sink`]s. `live` and `record` are lists of sinks.

use anyhow::Result;

use crate::model::{Interval, Threads};

pub mod guests;
pub mod kernel_source;
pub mod no_exits;
pub mod schedule;
pub mod signals;

pub use guests::GuestRule;
pub use kernel_source::KernelSource;
pub use no_exits::NoExitsNotice;
pub use schedule::{Inputs, Schedule};
pub use signals::{SigUsr2, Signals};

/// The measuring side.
pub trait Source {
    /// Looks for new VMs: takes down their names, and decides whether they are traced.
    ///
    /// # Errors
    /// If the decision cannot be made known to the kernel.
    fn discover(&mut self) -> Result<()>;

    /// Replaces `interval` by what has happened since the last snapshot.
    ///
    /// # Errors
    /// If the maps cannot be read.
    fn snapshot(&mut self, interval: &mut Interval) -> Result<()>;

    /// As [`Source::snapshot`], once, at the end: what cannot be read now is counted as lost.
    ///
    /// # Errors
    /// If the maps cannot be read.
    fn last_snapshot(&mut self, interval: &mut Interval) -> Result<()>;

    /// The threads that the cells of the newest snapshot name.
    fn threads(&self) -> &Threads;
}

/// A user of the snapshots of a source.
pub trait Sink<S> {
    /// Uses a snapshot. The source tells its threads, and does for the sink what only it can.
    ///
    /// # Errors
    /// Errors end the measurement.
    fn take(&mut self, source: &mut S, interval: &Interval, trigger: Trigger) -> Result<()>;
}

/// An occasion for the loop to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interval ends.
    Snapshot(Trigger),
    /// New VMs may have come.
    Discover,
    /// The measurement ends, and with it the last interval, which may be a short one.
    Stop(StopReason),
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
    Command(std::process::ExitStatus),
}

impl StopReason {
    /// The word in a recording's end line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Elapsed => "elapsed",
            Self::Command(_) => "command ended",
        }
    }
}

/// Measures until an input ends it. Every sink gets every snapshot, in the order of the list.
///
/// # Errors
/// If the source, an input or a sink fails.
pub async fn run<S: Source>(
    source: &mut S,
    mut inputs: Inputs,
    sinks: &mut [&mut dyn Sink<S>],
) -> Result<StopReason> {
    let mut interval = Interval::default();
    loop {
        let (trigger, stop) = match inputs.next().await? {
            Event::Discover => {
                source.discover()?;
                continue;
            }
            Event::Snapshot(trigger) => (trigger, None),
            Event::Stop(why) => (Trigger::Time, Some(why)),
        };
        match stop {
            None => source.snapshot(&mut interval)?,
            Some(_) => source.last_snapshot(&mut interval)?,
        }
        for sink in sinks.iter_mut() {
            sink.take(source, &interval, trigger)?;
        }
        if let Some(why) = stop {
            return Ok(why);
        }
    }
}
