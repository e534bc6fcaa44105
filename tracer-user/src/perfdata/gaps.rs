//! Gaps: where events were lost, and between which events of a thread.
//!
//! perf has a ring buffer for each CPU, or for each thread (`--per-thread`). While one is full the kernel
//! counts, and it writes how many events are missing before the next one that has room. So a gap lies between
//! two events of a ring. A thread may have lost events in it if the ring is its own, or that of the CPU on
//! which its event before the gap or its event after it was. A visit to another CPU that fell within the gap
//! goes unnoticed.

use std::collections::HashMap;

use tracer_ebpf::abi::ABSENT;

/// One of perf's ring buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ring {
    /// The buffer of a CPU.
    Cpu(u32),
    /// The buffer of a thread, by the number that the samples have.
    Thread(u32),
    /// The file does not say which buffer.
    Unknown,
}

/// A gap: events were lost from the dispatching of this value on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub ring: Ring,
    /// The time of the ring's first event after it.
    pub until_ns: u64,
}

/// The newest event of a thread.
#[derive(Clone, Copy, Debug)]
struct Newest {
    now_ns: u64,
    /// Its CPU, or [`ABSENT`].
    cpu: u32,
}

/// Limit of the threads and buffers that are followed, as many as the tables have vCPUs: a file may name any
/// number.
pub(super) const MOST: usize = 1 << 16;

/// The gaps up to now, and the newest event of each thread.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// The end of the newest gap of each buffer.
    until_ns: HashMap<Ring, u64>,
    /// The end of the newest gap of any buffer.
    newest_ns: u64,
    threads: HashMap<u64, Newest>,
    /// Events of threads that are not followed: nothing says which of them have a gap before them.
    pub untold: u64,
}

impl Gaps {
    /// Begins a gap, which lasts at least until its end is dispatched.
    pub fn add(&mut self, Gap { ring, until_ns }: Gap) {
        // A gap of a buffer that is not followed may be that of any thread.
        let full = self.until_ns.len() >= MOST && !self.until_ns.contains_key(&ring);
        let known = self.until_ns.entry(if full { Ring::Unknown } else { ring }).or_insert(0);
        *known = until_ns.max(*known);
        self.newest_ns = self.newest_ns.max(until_ns);
    }

    /// Whether a gap may have events of this thread that came after its newest one. `cpu` is the one it is on
    /// now, or [`ABSENT`].
    pub fn since(&self, thread: u64, cpu: u32) -> bool {
        let Some(newest) = self.threads.get(&thread).filter(|newest| newest.now_ns < self.newest_ns) else {
            return false;
        };
        let after = |ring| self.until_ns.get(&ring).is_some_and(|until_ns| newest.now_ns < *until_ns);
        // Without CPU numbers every gap may be the thread's.
        newest.cpu == ABSENT
            || after(Ring::Unknown)
            || after(Ring::Thread(thread as u32))
            || after(Ring::Cpu(newest.cpu))
            || after(Ring::Cpu(cpu))
    }

    /// Records an event of a thread.
    pub fn event(&mut self, thread: u64, now_ns: u64, cpu: u32) {
        if self.threads.len() >= MOST && !self.threads.contains_key(&thread) {
            self.untold = self.untold.saturating_add(1);
            return;
        }
        self.threads.insert(thread, Newest { now_ns, cpu });
    }

    /// Forgets a thread that has ended.
    pub fn forget(&mut self, thread: u64) {
        self.threads.remove(&thread);
    }

    /// The threads whose newest event is followed by a gap.
    pub fn ends(&self) -> impl Iterator<Item = u64> {
        self.threads.keys().copied().filter(|thread| self.since(*thread, ABSENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gap of the first CPU from 100 to 200; the thread's events are at 90 and 210.
    fn lost(before: u32, after: u32) -> bool {
        let mut gaps = Gaps::default();
        gaps.event(7, 90, before);
        gaps.add(Gap { ring: Ring::Cpu(0), until_ns: 200 });
        gaps.since(7, after)
    }

    #[test]
    fn a_gap_is_of_those_who_were_on_its_cpu_before_or_after() {
        assert!(lost(0, 0) && lost(0, 1) && lost(1, 0));
        assert!(!lost(1, 1) && !lost(1, 2));
        assert!(lost(ABSENT, ABSENT), "nobody knows");
    }

    #[test]
    fn the_first_event_after_it_ends_it() {
        let mut gaps = Gaps::default();
        gaps.event(7, 90, 0);
        gaps.add(Gap { ring: Ring::Cpu(0), until_ns: 200 });
        assert_eq!(gaps.ends().collect::<Vec<_>>(), [7]);
        gaps.event(7, 200, 0);
        assert!(!gaps.since(7, 0) && !gaps.since(8, 0));
        assert_eq!(gaps.ends().count(), 0);
        // An older gap does not replace it.
        gaps.add(Gap { ring: Ring::Cpu(0), until_ns: 150 });
        assert!(!gaps.since(7, 0));
    }

    #[test]
    fn a_file_of_many_threads_and_buffers_takes_bounded_memory() {
        let mut gaps = Gaps::default();
        for number in 0..MOST as u32 + 10 {
            gaps.event(number.into(), 90, 0);
            gaps.add(Gap { ring: Ring::Cpu(number + 1), until_ns: 80 });
        }
        assert_eq!((gaps.threads.len(), gaps.untold), (MOST, 10));
        assert!(gaps.until_ns.len() <= MOST + 1);
        assert!(!gaps.since(7, 0));
        // A gap of a buffer that is not followed may be any thread's.
        gaps.add(Gap { ring: Ring::Cpu(u32::MAX - 1), until_ns: 200 });
        assert!(gaps.since(7, 0));
        // Threads that ended make room.
        gaps.forget(7);
        gaps.event(u64::MAX, 90, 0);
        assert_eq!((gaps.threads.len(), gaps.untold), (MOST, 10));
    }

    #[test]
    fn the_buffer_of_a_thread_is_its_own() {
        let mut gaps = Gaps::default();
        [(1 << 32 | 7, 0), (1 << 32 | 8, 0)].iter().for_each(|(thread, cpu)| gaps.event(*thread, 90, *cpu));
        gaps.add(Gap { ring: Ring::Thread(7), until_ns: 200 });
        assert!(gaps.since(1 << 32 | 7, 3) && !gaps.since(1 << 32 | 8, 0));
        gaps.add(Gap { ring: Ring::Unknown, until_ns: 200 });
        assert!(gaps.since(1 << 32 | 8, 0));
    }
}
