//! One interval: the difference of two readings, as values.

use std::ops::Range;

use crate::{
    decode::Isa,
    model::{
        Counter, LastExit, Losses, MeasuredParts, Packed, PackedBuckets, Parts, Thread, Threads, VcpuAccount,
        kinds,
    },
};

/// The samples of one (vCPU thread, isa, code, subkey) within an interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Index into [`Threads::list`].
    pub thread: usize,
    /// Instruction set of the code.
    pub isa: Isa,
    /// The exit code, flags included.
    pub code: u32,
    /// Which of the exit's samples, or which cause below the reason; see [`tracer_ebpf::subkey`].
    pub subkey: u64,
    /// Number of samples; never 0.
    pub count: u64,
    /// Their sum.
    pub sum_ns: u64,
    /// The shortest.
    pub min_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Parts of their time, for kinds that are whole exits; zero for causes.
    pub parts: Parts,
    /// The place of their buckets in [`Interval::buckets`].
    pub buckets: Range<usize>,
}

/// An exit that waited for its entry when the interval ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenExit {
    /// Index into [`Threads::list`].
    pub thread: usize,
    /// Instruction set of the code.
    pub isa: Isa,
    /// The exit code.
    pub code: u32,
    /// Time it had been open.
    pub age_ns: u64,
}

/// What the clocks did within an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockChange {
    /// How long the machine was suspended.
    pub suspended_ms: u64,
    /// By how much the wall clock was set forward.
    pub stepped_ms: i64,
}

/// What happened between two readings.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// 1 for the first.
    pub number: u64,
    /// CLOCK_MONOTONIC of the reading before.
    pub start_ns: u64,
    /// CLOCK_MONOTONIC of this reading.
    pub end_ns: u64,
    /// Wall-clock time of this reading, in ms since 1970.
    pub end_unix_ms: u64,
    /// The host that was read, where several are told apart. All cells are of this host's threads.
    pub host: Option<String>,
    /// One for each (thread, isa, code) with samples.
    pub cells: Vec<Cell>,
    /// The filled buckets of all cells. All in one, so that a reader in steady state allocates nothing. On a
    /// large host there are a million of them.
    pub buckets: PackedBuckets,
    /// Samples lost in the interval, by cause.
    pub losses: Losses,
    /// Exits that were still open at the end.
    pub open: Vec<OpenExit>,
    /// The exits in which threads ended.
    pub last_exits: Vec<LastExit>,
    /// Where each vCPU's time went; empty if it was not measured.
    pub vcpus: Vec<VcpuAccount>,
    /// Threads that ended, by index into [`Threads::list`]. No later interval speaks of them, and the places
    /// may be given to other threads from the next interval on.
    pub ended: Vec<usize>,
    /// Readings of KVM's own counters, those of a VM in a row; empty if they were not asked for.
    pub counters: Vec<Counter>,
    /// Which parts were measured.
    pub known: MeasuredParts,
    /// Changes of the clocks, where a recording tells them.
    pub clock: Option<ClockChange>,
}

impl Interval {
    /// Empties the interval but keeps its memory.
    pub fn reset(&mut self) {
        self.cells.clear();
        self.buckets.clear();
        self.open.clear();
        self.last_exits.clear();
        self.vcpus.clear();
        self.ended.clear();
        self.counters.clear();
        self.losses = Losses::default();
        self.host = None;
        self.clock = None;
    }

    /// Its length.
    pub fn elapsed_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// Wall-clock time of its beginning, in ms since 1970, if the clock was not set meanwhile.
    pub fn start_unix_ms(&self) -> u64 {
        self.end_unix_ms.saturating_sub(self.elapsed_ns() / 1_000_000)
    }

    /// How many exits were completed.
    pub fn exits(&self) -> u64 {
        self.cells.iter().filter(|cell| kinds::is_exit(cell.subkey)).map(|cell| cell.count).sum()
    }

    /// The buckets of one of its cells.
    pub fn buckets_of(&self, cell: &Cell) -> Packed<'_> {
        self.buckets.of(&cell.buckets)
    }

    /// It and the threads it names.
    pub fn with<'a>(&'a self, threads: &'a Threads) -> NamedInterval<'a> {
        NamedInterval { interval: self, threads }
    }
}

/// An interval and the threads that it names.
#[derive(Clone, Copy, Debug)]
pub struct NamedInterval<'a> {
    /// The interval.
    pub interval: &'a Interval,
    /// The list that its indices refer to.
    pub threads: &'a Threads,
}

impl<'a> NamedInterval<'a> {
    /// One of its threads.
    pub fn thread(&self, index: usize) -> &'a Thread {
        &self.threads.list[index]
    }
}
