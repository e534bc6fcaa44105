//! Events of several CPUs in the order of their times.
//!
//! perf empties the buffers of all CPUs in turn and then writes a mark, "round finished". Events after a mark
//! are not older than the newest event before the previous mark, so at each mark the events up to that one
//! are ready. This is perf's own rule (`tools/perf/util/ordered-events.h`).

use super::Error;

/// An event that waits for its turn.
#[derive(Debug)]
struct Waiting<T> {
    time_ns: u64,
    /// Counts the events that were pushed, so that those of one time keep their order.
    sequence: u64,
    event: T,
}

/// Events that wait for their turn.
#[derive(Debug)]
pub(super) struct OrderedEvents<T> {
    waiting: Vec<Waiting<T>>,
    max_waiting: usize,
    /// How many events were pushed.
    pushed: u64,
    /// Time of the newest event.
    pub newest_ns: u64,
    /// Time of the newest event before the last mark: up to here events are ready at the next one.
    ready_ns: u64,
    /// Time of the newest event that was handed out.
    pub handed_out_ns: u64,
    /// How many events came after a newer one had been handed out.
    pub late: u64,
}

impl<T> OrderedEvents<T> {
    /// An empty queue, in which at most `max_waiting` events may wait.
    pub fn new(max_waiting: usize) -> Self {
        Self {
            waiting: Vec::new(),
            max_waiting,
            pushed: 0,
            newest_ns: 0,
            ready_ns: 0,
            handed_out_ns: 0,
            late: 0,
        }
    }

    /// Adds an event.
    ///
    /// # Errors
    /// If too many events wait.
    pub fn push(&mut self, time_ns: u64, event: T) -> Result<(), Error> {
        if self.waiting.len() == self.max_waiting {
            return Err(Error::TooMuch { what: "events in a round", limit: self.max_waiting as u64 });
        }
        self.late += u64::from(time_ns < self.handed_out_ns);
        self.newest_ns = self.newest_ns.max(time_ns);
        self.waiting.push(Waiting { time_ns, sequence: self.pushed, event });
        self.pushed += 1;
        Ok(())
    }

    /// Ends a round, in which no event was newer than `newest_ns`: hands out the events that are ready, each
    /// with its time.
    pub fn finish_round(&mut self, newest_ns: u64, mut take: impl FnMut(u64, T)) {
        let ready_ns = std::mem::replace(&mut self.ready_ns, newest_ns);
        self.hand_out(ready_ns, &mut take);
    }

    /// Hands out all events that are left.
    pub fn finish(&mut self, mut take: impl FnMut(u64, T)) {
        self.hand_out(u64::MAX, &mut take);
    }

    fn hand_out(&mut self, up_to_ns: u64, take: &mut impl FnMut(u64, T)) {
        self.waiting.sort_unstable_by_key(|waiting| (waiting.time_ns, waiting.sequence));
        let ready = self.waiting.partition_point(|waiting| waiting.time_ns <= up_to_ns);
        for Waiting { time_ns, event, .. } in self.waiting.drain(..ready) {
            self.handed_out_ns = time_ns;
            take(time_ns, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_all(ordered: &mut OrderedEvents<char>, events: &[(u64, char)]) {
        events.iter().for_each(|(time, event)| ordered.push(*time, *event).unwrap());
    }

    #[test]
    fn events_of_two_cpus_are_merged() {
        let mut events = OrderedEvents::new(10);
        let mut out = String::new();
        push_all(&mut events, &[(1, 'a'), (3, 'c'), (2, 'b'), (5, 'e')]);
        events.finish_round(events.newest_ns, |_, event| out.push(event));
        assert_eq!(out, "", "an older one may still come");
        push_all(&mut events, &[(4, 'd'), (7, 'g'), (6, 'f')]);
        events.finish_round(events.newest_ns, |_, event| out.push(event));
        assert_eq!(out, "abcde");
        events.finish(|_, event| out.push(event));
        assert_eq!((out.as_str(), events.late), ("abcdefg", 0));
    }

    #[test]
    fn equal_times_keep_their_order_and_late_ones_are_counted() {
        let mut events = OrderedEvents::new(10);
        let mut out = String::new();
        push_all(&mut events, &[(5, 'x'), (5, 'a'), (5, 'b')]);
        events.finish_round(events.newest_ns, |_, _| unreachable!());
        events.finish_round(events.newest_ns, |_, event| out.push(event));
        push_all(&mut events, &[(4, 'l')]);
        events.finish(|_, event| out.push(event));
        assert_eq!((out.as_str(), events.late), ("xabl", 1));
    }
}
