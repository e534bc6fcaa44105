//! Events of several CPUs in the order of their times.
//!
//! perf empties the buffers of all CPUs in turn and then writes a mark, "round finished". Whatever comes after a
//! mark is not older than the newest event before the mark before it, so at each mark everything up to there is
//! ready. This is perf's own rule (`tools/perf/util/ordered-events.h`).

use super::Error;

/// Room for two rounds of a large machine; 48 bytes each.
pub(super) const MAX_WAITING: usize = 1 << 24;

/// Events that wait for their turn.
#[derive(Debug)]
pub(super) struct Rounds<T> {
    waiting: Vec<(u64, u64, T)>,
    /// Numbers events, so that those of one time keep their order.
    number: u64,
    newest_ns: u64,
    /// The newest of the rounds before this one.
    ready_ns: u64,
    handed_out_ns: u64,
    /// Events that came too late for their place.
    pub late: u64,
}

impl<T> Rounds<T> {
    /// None yet.
    pub fn new() -> Self {
        Self { waiting: Vec::new(), number: 0, newest_ns: 0, ready_ns: 0, handed_out_ns: 0, late: 0 }
    }

    /// Takes an event.
    ///
    /// # Errors
    /// If too many wait.
    pub fn push(&mut self, time_ns: u64, event: T) -> Result<(), Error> {
        if self.waiting.len() == MAX_WAITING {
            return Err(Error::TooMuch { what: "events in a round", limit: MAX_WAITING as u64 });
        }
        self.late += u64::from(time_ns < self.handed_out_ns);
        self.newest_ns = self.newest_ns.max(time_ns);
        self.waiting.push((time_ns, self.number, event));
        self.number += 1;
        Ok(())
    }

    /// A round is finished: hands out what is ready.
    pub fn finish_round(&mut self, mut take: impl FnMut(u64, T)) {
        let ready_ns = std::mem::replace(&mut self.ready_ns, self.newest_ns);
        self.hand_out(ready_ns, &mut take);
    }

    /// Hands out all that is left.
    pub fn finish(&mut self, mut take: impl FnMut(u64, T)) {
        self.hand_out(u64::MAX, &mut take);
    }

    fn hand_out(&mut self, up_to_ns: u64, take: &mut impl FnMut(u64, T)) {
        self.waiting.sort_unstable_by_key(|(time_ns, number, _)| (*time_ns, *number));
        let ready = self.waiting.partition_point(|(time_ns, ..)| *time_ns <= up_to_ns);
        for (time_ns, _, event) in self.waiting.drain(..ready) {
            self.handed_out_ns = time_ns;
            take(time_ns, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_all(rounds: &mut Rounds<char>, events: &[(u64, char)]) {
        events.iter().for_each(|(time, event)| rounds.push(*time, *event).unwrap());
    }

    #[test]
    fn events_of_two_cpus_are_merged() {
        let mut rounds = Rounds::new();
        let mut out = String::new();
        push_all(&mut rounds, &[(1, 'a'), (3, 'c'), (2, 'b'), (5, 'e')]);
        rounds.finish_round(|_, event| out.push(event));
        assert_eq!(out, "", "an older one may still come");
        push_all(&mut rounds, &[(4, 'd'), (7, 'g'), (6, 'f')]);
        rounds.finish_round(|_, event| out.push(event));
        assert_eq!(out, "abcde");
        rounds.finish(|_, event| out.push(event));
        assert_eq!((out.as_str(), rounds.late), ("abcdefg", 0));
    }

    #[test]
    fn equal_times_keep_their_order_and_late_ones_are_counted() {
        let mut rounds = Rounds::new();
        let mut out = String::new();
        push_all(&mut rounds, &[(5, 'x'), (5, 'a'), (5, 'b')]);
        rounds.finish_round(|_, _| unreachable!());
        rounds.finish_round(|_, event| out.push(event));
        push_all(&mut rounds, &[(4, 'l')]);
        rounds.finish(|_, event| out.push(event));
        assert_eq!((out.as_str(), rounds.late), ("xabl", 1));
    }
}
