//! What ends an interval, and what ends the measurement: time, signals, a command.

use std::{process::ExitStatus, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    process::Child,
    time::{Instant, Interval as Ticks, MissedTickBehavior, interval, interval_at},
};

use crate::run::{Event, Signals, StopReason, Trigger};

/// How often new VMs are looked for between snapshots. One that lives shorter is named by its thread.
const DISCOVERY: Duration = Duration::from_millis(100);

/// When intervals end, and when the measurement does.
#[derive(Debug)]
pub struct Schedule {
    /// Length of an interval.
    pub display: Duration,
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// Stop after this many intervals.
    pub count: Option<u64>,
    /// Stop when this process ends.
    pub child: Option<Child>,
}

/// Everything that the loop waits for, as one stream of events.
pub struct Inputs {
    signals: Signals,
    child: Option<Child>,
    deadline: Option<Instant>,
    intervals: Ticks,
    discovery: Ticks,
    /// Intervals still to come, where they are counted.
    left: Option<u64>,
}

impl Inputs {
    /// Starts the clocks: the first interval begins now.
    pub fn start(schedule: Schedule, signals: Signals) -> Self {
        let now = Instant::now();
        let mut intervals = interval_at(now + schedule.display, schedule.display);
        intervals.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut discovery = interval(DISCOVERY);
        discovery.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            signals,
            child: schedule.child,
            deadline: schedule.duration.map(|duration| now + duration),
            intervals,
            discovery,
            left: schedule.count,
        }
    }

    /// Waits for the next event. Of several the most urgent comes first, in the order of the code.
    ///
    /// # Errors
    /// If the command cannot be waited for.
    pub async fn next(&mut self) -> Result<Event> {
        let event = tokio::select! {
            biased;
            () = self.signals.ends.received() => Event::Stop(StopReason::Interrupted),
            status = ended(&mut self.child) => {
                Event::Stop(StopReason::Command(status.context("cannot wait for the command")?))
            }
            () = until(self.deadline) => Event::Stop(StopReason::Elapsed),
            () = self.signals.switch.received() => Event::Snapshot(Trigger::Switch),
            _ = self.intervals.tick() => Event::Snapshot(Trigger::Time),
            _ = self.discovery.tick() => Event::Discover,
        };
        if let (Event::Snapshot(_), Some(left)) = (event, &mut self.left) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Ok(Event::Stop(StopReason::Elapsed));
            }
        }
        Ok(event)
    }
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

#[cfg(test)]
mod tests {
    use tokio::process::Command;

    use super::*;

    fn events(schedule: Schedule) -> Vec<Event> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut inputs = Inputs::start(schedule, Signals::none());
            let mut events = Vec::new();
            while !matches!(events.last(), Some(Event::Stop(_))) {
                events.push(inputs.next().await.unwrap());
            }
            events.retain(|event| *event != Event::Discover);
            events
        })
    }

    const MS: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_last_of_counted_intervals_ends_the_measurement() {
        let schedule = |count| Schedule { display: MS, duration: None, count: Some(count), child: None };
        let (tick, stop) = (Event::Snapshot(Trigger::Time), Event::Stop(StopReason::Elapsed));
        assert_eq!(events(schedule(1)), [stop]);
        assert_eq!(events(schedule(3)), [tick, tick, stop]);
    }

    #[test]
    fn a_deadline_ends_an_interval_early() {
        let schedule = Schedule { display: HOUR, duration: Some(MS), count: None, child: None };
        assert_eq!(events(schedule), [Event::Stop(StopReason::Elapsed)]);
    }

    #[test]
    fn a_command_ends_the_measurement_with_its_status() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let event = runtime.block_on(async {
            let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
            let schedule = Schedule { display: HOUR, duration: None, count: None, child: Some(child) };
            let mut inputs = Inputs::start(schedule, Signals::none());
            loop {
                match inputs.next().await.unwrap() {
                    Event::Discover => {}
                    event => return event,
                }
            }
        });
        let Event::Stop(StopReason::Command(status)) = event else { panic!("{event:?}") };
        assert_eq!(status.code(), Some(7));
    }
}
