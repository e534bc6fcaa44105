//! An explanation for a measurement without exits.
//!
//! "No guest is running" and "this KVM does not report its exits" are different answers. When an interval had
//! no exit, KVM's other events are counted for one interval, and their counts tell which one it is.

use std::time::Duration;

use anyhow::Result;

use crate::{
    model::Interval,
    run::{Sink, Source, StopReason, Trigger},
};

/// Time for which other events are counted when a measurement has ended without an exit.
const LISTEN: Duration = Duration::from_secs(1);

/// A source that can count KVM's other events.
pub trait ActivitySource: Source {
    /// The running counters.
    type Probe;

    /// Starts to count.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn start_activity(&mut self) -> Result<Self::Probe>;

    /// What the counters say of a host without exits.
    ///
    /// # Errors
    /// If they cannot be read.
    fn activity(&self, probe: &Self::Probe) -> Result<Activity>;

    /// Stops to count: the counting programs cost something at each of these events.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn stop_activity(&mut self) -> Result<()>;
}

/// What KVM's other events did while there were no exits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The verdict on the host, by the counts.
    pub verdict: Verdict,
    /// The counts, and what they mean, for people.
    pub explanation: String,
}

/// Whether the host reports its exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There were exits, or nothing speaks against it.
    Traceable,
    /// Guests ran, and no exit was reported.
    Silent,
    /// KVM_RUN returned again and again and entered no guest.
    Spinning,
}

/// Says once on standard error why there are no exits.
pub struct NoExitsNotice<S: ActivitySource> {
    state: State<S::Probe>,
    say: fn(&str),
}

enum State<P> {
    /// No interval has passed yet.
    Fresh,
    /// The other events are being counted.
    Counting(P),
    /// The notice was given.
    Explained(Verdict),
    /// There were exits, so there is nothing to explain.
    ExitsSeen,
}

impl<S: ActivitySource> NoExitsNotice<S> {
    /// Nothing has been measured yet. `say` gets the notice.
    pub fn new(say: fn(&str)) -> Self {
        Self { state: State::Fresh, say }
    }

    /// Explains the silence, unless a vCPU has turned up since the last snapshot. An exit comes before the
    /// events that it causes: once those are counted, its vCPU can be seen.
    fn explain(&self, source: &mut S, probe: &S::Probe) -> Result<State<S::Probe>> {
        let activity = source.activity(probe)?;
        source.stop_activity()?;
        source.discover()?;
        if !source.threads().list.is_empty() {
            return Ok(State::ExitsSeen);
        }
        (self.say)(&activity.explanation);
        Ok(State::Explained(activity.verdict))
    }

    /// The verdict at the end. A measurement too short to have an answer gets one more second, unless it was
    /// interrupted.
    ///
    /// # Errors
    /// If the source fails.
    pub async fn conclude(mut self, source: &mut S, why: StopReason) -> Result<Verdict> {
        if why != StopReason::Interrupted {
            let probe = match std::mem::replace(&mut self.state, State::ExitsSeen) {
                State::Fresh => Some(source.start_activity()?),
                State::Counting(probe) => Some(probe),
                answered => {
                    self.state = answered;
                    None
                }
            };
            if let Some(probe) = probe {
                tokio::time::sleep(LISTEN).await;
                self.state = self.explain(source, &probe)?;
            }
        }
        Ok(if let State::Explained(verdict) = self.state { verdict } else { Verdict::Traceable })
    }
}

impl<S: ActivitySource> Sink<S> for NoExitsNotice<S> {
    fn take(&mut self, source: &mut S, interval: &Interval, _: Trigger) -> Result<()> {
        let exits = !interval.cells.is_empty() || !interval.open.is_empty();
        self.state = match std::mem::replace(&mut self.state, State::ExitsSeen) {
            State::Counting(_) if exits => {
                source.stop_activity()?;
                State::ExitsSeen
            }
            _ if exits => State::ExitsSeen,
            State::Fresh => State::Counting(source.start_activity()?),
            State::Counting(probe) => self.explain(source, &probe)?,
            answered => answered,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::model::{Cell, Thread, Threads};

    /// A host on which other events fire, or not, and on which a vCPU may turn up late.
    #[derive(Default)]
    struct Made {
        verdict: Option<Verdict>,
        /// A vCPU is found at the next look.
        late: Option<Thread>,
        threads: Threads,
        counting: bool,
        started: u32,
    }

    impl Source for Made {
        fn discover(&mut self) -> Result<()> {
            self.threads.list.extend(self.late.take());
            Ok(())
        }

        fn snapshot(&mut self, _: &mut Interval) -> Result<()> {
            Ok(())
        }

        fn last_snapshot(&mut self, _: &mut Interval) -> Result<()> {
            Ok(())
        }

        fn threads(&self) -> &Threads {
            &self.threads
        }
    }

    impl ActivitySource for Made {
        type Probe = ();

        fn start_activity(&mut self) -> Result<()> {
            assert!(!self.counting);
            (self.counting, self.started) = (true, self.started + 1);
            Ok(())
        }

        fn activity(&self, (): &()) -> Result<Activity> {
            assert!(self.counting);
            let verdict = self.verdict.unwrap_or(Verdict::Traceable);
            Ok(Activity { verdict, explanation: "explained".to_owned() })
        }

        fn stop_activity(&mut self) -> Result<()> {
            self.counting = false;
            Ok(())
        }
    }

    thread_local! {
        static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// The verdict after these intervals, each with exits or without, and how often it was explained.
    fn verdict(source: &mut Made, intervals: &[bool], why: StopReason) -> (Verdict, usize) {
        SAID.take();
        let mut notice = NoExitsNotice::new(|text| SAID.with_borrow_mut(|said| said.push(text.to_owned())));
        for exits in intervals {
            let cell = Cell {
                thread: 0,
                isa: crate::decode::Isa::VMX,
                code: 0,
                subkey: 0,
                count: 1,
                sum_ns: 1,
                min_ns: 1,
                max_ns: 1,
                parts: crate::model::Parts::default(),
                buckets: 0..0,
            };
            let cells = exits.then_some(cell).into_iter().collect();
            let interval = Interval { cells, ..Interval::default() };
            notice.take(source, &interval, Trigger::Time).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let verdict = runtime.block_on(notice.conclude(source, why)).unwrap();
        (verdict, SAID.take().len())
    }

    #[test]
    fn a_host_that_hides_its_exits_is_told_once() {
        let mut made = Made { verdict: Some(Verdict::Silent), ..Made::default() };
        assert_eq!(verdict(&mut made, &[false; 4], StopReason::Elapsed), (Verdict::Silent, 1));
        assert!(!made.counting);
        assert_eq!(made.started, 1);
    }

    #[test]
    fn a_loop_that_enters_no_guest_is_a_verdict_of_its_own() {
        let mut made = Made { verdict: Some(Verdict::Spinning), ..Made::default() };
        assert_eq!(verdict(&mut made, &[false; 2], StopReason::Elapsed), (Verdict::Spinning, 1));
    }

    #[test]
    fn a_quiet_host_is_explained_and_traceable() {
        let mut made = Made::default();
        assert_eq!(verdict(&mut made, &[false; 3], StopReason::Interrupted), (Verdict::Traceable, 1));
    }

    #[test]
    fn exits_need_no_explanation() {
        for intervals in [&[true][..], &[false, true], &[false, true, false, false]] {
            let mut made = Made { verdict: Some(Verdict::Silent), ..Made::default() };
            assert_eq!(verdict(&mut made, intervals, StopReason::Elapsed), (Verdict::Traceable, 0));
            assert!(!made.counting, "the counting programs are gone");
        }
    }

    #[test]
    fn a_guest_that_began_meanwhile_is_not_explained_away() {
        let thread = Thread { pid: 1, tid: 2, vm: "late".to_owned(), ..Thread::default() };
        let mut made = Made { verdict: Some(Verdict::Silent), late: Some(thread), ..Made::default() };
        assert_eq!(verdict(&mut made, &[false, false], StopReason::Elapsed), (Verdict::Traceable, 0));
    }

    #[test]
    fn one_interval_gets_another_second_unless_it_was_interrupted() {
        let mut made = Made { verdict: Some(Verdict::Silent), ..Made::default() };
        assert_eq!(verdict(&mut made, &[false], StopReason::Interrupted), (Verdict::Traceable, 0));
        let mut made = Made { verdict: Some(Verdict::Silent), ..Made::default() };
        assert_eq!(verdict(&mut made, &[false], StopReason::Elapsed), (Verdict::Silent, 1));
    }
}
