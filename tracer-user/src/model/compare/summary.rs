//! A recording summed up for a comparison, by rows and blocks of time, in memory that does not grow with its
//! length.

use std::collections::{BTreeMap, BTreeSet};

use tracer_ebpf::part::Part;

use crate::{
    decode::{Isa, decode},
    model::{GroupBy, Losses, NamedInterval, Row, Rows, Selection, Stats, Store},
};

/// More blocks than this are joined two by two.
const MAX_BLOCKS: usize = 32;
/// A store with more cells than this is emptied before its block ends. Threads that come and go would fill
/// the memory.
const MAX_CELLS: usize = 1 << 16;

/// An exit reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason {
    /// The instruction set that numbers the code.
    pub isa: Isa,
    /// The code as the exit's record has it, with flags.
    pub code: u32,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        decode(self.isa, self.code).fmt(f)
    }
}

/// Identifies a row in both recordings. Pids do not: they change from run to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// Whether the guest had nothing to do.
    pub idle: bool,
    /// Host name, if rows are by host and the host is known.
    pub host: Option<String>,
    /// Name of the VM, if rows are by VM.
    pub vm: Option<String>,
    /// Label of the vCPU, if rows are by vCPU.
    pub vcpu: Option<String>,
    /// Exit reason, if rows are by reason.
    pub reason: Option<Reason>,
}

impl RowKey {
    /// The key of a row that is at least by `by`.
    fn of(row: &Row, by: GroupBy) -> Self {
        let GroupBy { host, vm, vcpu, reason, part: _ } = by;
        let name = row.vm().map(|vm| vm.name.to_string());
        Self {
            idle: row.idle,
            host: row.host().filter(|_| host).map(str::to_owned),
            vm: name.filter(|_| vm),
            vcpu: row.thread().filter(|_| vcpu).map(ToString::to_string),
            reason: row.reason.filter(|_| reason).map(|(isa, code)| Reason { isa, code }),
        }
    }

    /// The reason's name, if rows are by reason.
    pub fn reason_label(&self) -> Option<String> {
        self.reason.map(|reason| reason.to_string())
    }

    /// The row in one line, for people.
    pub fn label(&self) -> String {
        let reason = self.reason_label();
        let vcpu = self.vcpu.as_ref().map(|vcpu| format!("vCPU {vcpu}"));
        let parts = [self.host.clone(), self.vm.clone(), vcpu, reason];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let idle = self.idle && self.reason.is_none();
        match (parts.is_empty(), idle) {
            (true, false) => "all".to_owned(),
            (true, true) => "all (idle)".to_owned(),
            (false, idle) => format!("{}{}", parts.join(" "), if idle { " (idle)" } else { "" }),
        }
    }
}

/// The samples of a row in one block.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockSamples {
    pub count: u64,
    pub sum_ns: u64,
    /// Samples by bucket of the histogram, in ascending order of buckets.
    pub buckets: Vec<(u16, u64)>,
}

impl BlockSamples {
    fn add(&mut self, count: u64, sum_ns: u64, buckets: impl IntoIterator<Item = (u16, u64)>) {
        self.count = self.count.saturating_add(count);
        self.sum_ns = self.sum_ns.saturating_add(sum_ns);
        for (bucket, count) in buckets {
            match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
                Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
                Err(at) => self.buckets.insert(at, (bucket, count)),
            }
        }
    }
}

/// A row of a recording: all its samples, and those of each block that has any, by the block's index.
#[derive(Clone, Debug, Default)]
pub(super) struct RowSummary {
    pub stats: Stats,
    pub blocks: BTreeMap<usize, BlockSamples>,
}

/// A block of neighbouring intervals, with the amounts that all rows share.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// Time covered, by host.
    pub elapsed_ns: BTreeMap<Option<String>, u64>,
    /// Handled time of all rows.
    pub handled_ns: u64,
    /// Intervals in the block; those of all hosts at the same time count once.
    intervals: usize,
}

impl Block {
    /// Time covered, of one host if it is named.
    pub fn elapsed_ns(&self, host: Option<&str>) -> u64 {
        let wanted = |known: &Option<String>| host.is_none() || known.as_deref() == host;
        let times = self.elapsed_ns.iter().filter(|(known, _)| wanted(known));
        times.fold(0, |sum, (_, ns)| sum.saturating_add(*ns))
    }
}

/// A recording, summed up for a comparison.
#[derive(Clone, Debug, Default)]
pub struct RecordingSummary {
    pub(super) rows: BTreeMap<RowKey, RowSummary>,
    pub(super) blocks: Vec<Block>,
    /// Intervals, those of all hosts at the same time counted once.
    pub intervals: u64,
    /// Time covered in ns, of all hosts together.
    pub elapsed_ns: u64,
    /// Sum of the losses.
    pub losses: Losses,
    /// The instruction sets whose exit codes occur.
    pub isas: BTreeSet<Isa>,
    /// Idle time may be in exits whose reason does not show it: see [`crate::decode::may_be_halt`].
    pub hidden_halts: bool,
    /// Whether the wait of halted guests was told apart; `None` without exits.
    pub waits_apart: Option<bool>,
}

impl RecordingSummary {
    /// Handled time of all rows, in ns.
    pub fn handled_ns(&self) -> u64 {
        self.blocks.iter().fold(0, |sum, block| sum.saturating_add(block.handled_ns))
    }

    /// Joins blocks two by two.
    fn halve_blocks(&mut self) {
        let mut joined: Vec<Block> = Vec::new();
        for (index, block) in std::mem::take(&mut self.blocks).into_iter().enumerate() {
            if index % 2 == 0 {
                joined.push(block);
                continue;
            }
            let earlier = joined.last_mut().expect("the one before it");
            earlier.intervals += block.intervals;
            earlier.handled_ns = earlier.handled_ns.saturating_add(block.handled_ns);
            for (host, ns) in block.elapsed_ns {
                let elapsed = earlier.elapsed_ns.entry(host).or_default();
                *elapsed = elapsed.saturating_add(ns);
            }
        }
        self.blocks = joined;
        for row in self.rows.values_mut() {
            let mut joined: BTreeMap<usize, BlockSamples> = BTreeMap::new();
            for (index, samples) in std::mem::take(&mut row.blocks) {
                joined.entry(index / 2).or_default().add(samples.count, samples.sum_ns, samples.buckets);
            }
            row.blocks = joined;
        }
    }

    /// Adds samples to the newest block.
    fn add(&mut self, rows: &Rows, by: GroupBy) {
        let block = self.blocks.len() - 1;
        let handled_ns = &mut self.blocks[block].handled_ns;
        *handled_ns = handled_ns.saturating_add(rows.totals().handled_ns);
        self.hidden_halts |= rows.has_hidden_halts();
        for row in rows.exits() {
            let waits_apart = row.measured.has(Part::Halt);
            self.waits_apart = Some(self.waits_apart.unwrap_or(true) && waits_apart);
            self.isas.extend(row.reason.map(|(isa, _)| isa));
            let stats = &row.stats;
            let sum = self.rows.entry(RowKey::of(row, by)).or_default();
            sum.stats.merge(stats);
            let filled = stats.buckets.iter().enumerate().filter(|(_, count)| **count != 0);
            let filled = filled.map(|(bucket, count)| (bucket as u16, *count));
            sum.blocks.entry(block).or_default().add(stats.count, stats.sum_ns, filled);
        }
    }
}

/// Sums a recording up, interval by interval.
#[derive(Debug)]
pub struct Summarizer {
    by: GroupBy,
    selection: Selection,
    summary: RecordingSummary,
    /// Samples of the newest block, which the summary does not have yet.
    store: Store,
    /// How many intervals of a host make a block.
    intervals_per_block: usize,
    /// The hosts of the newest interval.
    newest_hosts: BTreeSet<Option<String>>,
}

impl Summarizer {
    /// An empty summary. It will have the selected samples, in rows by `by`.
    pub fn new(by: GroupBy, selection: Selection) -> Self {
        Self {
            by,
            selection,
            summary: RecordingSummary::default(),
            store: Store::keeping(usize::MAX),
            intervals_per_block: 1,
            newest_hosts: BTreeSet::new(),
        }
    }

    /// Adds an interval. Intervals must be of one list of threads.
    pub fn add(&mut self, of: NamedInterval<'_>) {
        let interval = of.interval;
        if !self.selection.wants_host(interval.host.as_deref()) {
            return;
        }
        let elapsed_ns = interval.elapsed_ns();
        self.open_block(interval.host.as_ref(), elapsed_ns);
        self.summary.losses.merge(&interval.losses);
        self.summary.elapsed_ns = self.summary.elapsed_ns.saturating_add(elapsed_ns);
        self.store.add(of);
        let (_, cells) = self.store.held();
        if cells > MAX_CELLS {
            self.settle();
        }
    }

    /// Ends the recording: no interval follows.
    pub fn finish(mut self) -> RecordingSummary {
        self.settle();
        self.summary
    }

    /// Moves the samples of the store to the summary.
    fn settle(&mut self) {
        let store = std::mem::replace(&mut self.store, Store::keeping(usize::MAX));
        if store.intervals() == 0 {
            return;
        }
        // By reason in any case: the reason tells the instruction set.
        let by = GroupBy { reason: true, part: false, ..self.by };
        let mut rows = Rows::new(by).of_exits_only().with_selection(self.selection.clone());
        rows.of_store(&store);
        self.summary.add(&rows, self.by);
    }

    /// Makes sure that the newest block is the one to which an interval of this host belongs. Hosts that were
    /// read at the same time share blocks: those of one alone would seem to come and go.
    fn open_block(&mut self, host: Option<&String>, elapsed_ns: u64) {
        let host = host.cloned();
        let begins = self.summary.blocks.is_empty() || self.newest_hosts.contains(&host);
        if begins {
            self.newest_hosts.clear();
            self.summary.intervals += 1;
            if self.is_block_full() {
                self.settle();
                if self.summary.blocks.len() == MAX_BLOCKS {
                    self.summary.halve_blocks();
                    self.intervals_per_block *= 2;
                }
            }
            // The joined blocks may have room.
            if self.is_block_full() {
                self.summary.blocks.push(Block::default());
            }
        }
        self.newest_hosts.insert(host.clone());
        let block = self.summary.blocks.last_mut().expect("one was just made if there was none");
        block.intervals += usize::from(begins);
        let elapsed = block.elapsed_ns.entry(host).or_default();
        *elapsed = elapsed.saturating_add(elapsed_ns);
    }

    fn is_block_full(&self) -> bool {
        self.summary.blocks.last().is_none_or(|block| block.intervals >= self.intervals_per_block)
    }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::histogram::bucket_of;

    use super::*;
    use crate::model::{Cell, Interval, PackedBuckets, Thread, Threads};

    /// A second in which each of these threads had a `cpuid` of 5 ns.
    fn second(number: u64, threads: usize) -> Interval {
        let mut buckets = PackedBuckets::default();
        let place = buckets.add_pairs(&[(bucket_of(5) as u16, 1)]);
        let cell = |thread| Cell {
            thread,
            isa: Isa::SVM,
            code: 0x72,
            count: 1,
            sum_ns: 5,
            min_ns: 5,
            max_ns: 5,
            buckets: place.clone(),
            ..Cell::default()
        };
        let cells = (0..threads).map(cell).collect();
        Interval { number, end_ns: 1_000_000_000, cells, buckets, ..Interval::default() }
    }

    #[test]
    fn a_store_that_is_emptied_within_a_block_loses_nothing() {
        const MANY: usize = MAX_CELLS + 1;
        // Two VMs of one name are one row.
        let thread = |tid: u32| Thread { pid: tid % 2, tid, vm: "web".into(), ..Thread::default() };
        let threads: Threads = (0..MANY as u32).map(thread).collect();
        let by = GroupBy { vm: true, ..GroupBy::REASON };
        let mut summarizer = Summarizer::new(by, Selection::default());
        // The 33rd joins blocks two by two; the 34th is in its block.
        for number in 1..=34 {
            let threads_seen = if number == 33 { MANY } else { 1 };
            summarizer.add(second(number, threads_seen).with(&threads));
            assert!(summarizer.store.held().1 <= MAX_CELLS);
        }
        let summary = summarizer.finish();
        let (key, row) = summary.rows.iter().next().unwrap();
        assert_eq!((summary.rows.len(), key.label().as_str()), (1, "web cpuid"));
        let counts: Vec<u64> = row.blocks.values().map(|samples| samples.count).collect();
        let expected: Vec<u64> = [2; 16].into_iter().chain([MANY as u64 + 1]).collect();
        assert_eq!((counts, row.stats.count), (expected, 33 + MANY as u64));
        assert_eq!(row.stats.buckets[bucket_of(5)], row.stats.count);
        assert_eq!(summary.handled_ns(), 5 * row.stats.count);
    }
}
