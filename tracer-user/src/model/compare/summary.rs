//! A recording summed up for a comparison, by rows and blocks of time, in memory that does not grow with its
//! length.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tracer_ebpf::{histogram::BUCKETS, part::Part};

use crate::{
    decode::{Isa, decode, may_be_halt},
    model::{Cell, GroupBy, Interval, Losses, Selection, Stats, Thread, Threads, kinds},
};

/// More blocks than this are joined two by two.
const MAX_BLOCKS: usize = 32;

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

/// Identifies the cells that add to the same row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CellKey {
    /// Index in the list of threads.
    thread: usize,
    reason: Reason,
    idle: bool,
}

/// A recording, summed up for a comparison.
#[derive(Clone, Debug)]
pub struct RecordingSummary {
    by: GroupBy,
    pub(super) rows: BTreeMap<RowKey, RowSummary>,
    pub(super) blocks: Vec<Block>,
    /// How many intervals of a host make a block.
    intervals_per_block: usize,
    /// The hosts of the newest interval.
    newest_hosts: BTreeSet<Option<String>>,
    /// The rows of the cells that were seen: making a key anew for each cell would copy its names.
    row_of_cell: HashMap<CellKey, RowKey>,
    /// Intervals, those of all hosts at the same time counted once.
    pub intervals: u64,
    /// Time covered in ns, of all hosts together.
    pub elapsed_ns: u64,
    /// Sum of the losses.
    pub losses: Losses,
    /// The instruction sets whose exit codes occur.
    pub isas: BTreeSet<Isa>,
    /// Idle time may be in exits that do not tell: see [`may_be_halt`].
    pub hidden_halts: bool,
    /// Whether the wait of halted guests was told apart; `None` without exits.
    pub waits_apart: Option<bool>,
}

impl RecordingSummary {
    /// A summary of no intervals, whose rows will be grouped by `by`.
    pub fn new(by: GroupBy) -> Self {
        Self {
            by,
            rows: BTreeMap::new(),
            blocks: Vec::new(),
            intervals_per_block: 1,
            newest_hosts: BTreeSet::new(),
            row_of_cell: HashMap::new(),
            intervals: 0,
            elapsed_ns: 0,
            losses: Losses::default(),
            isas: BTreeSet::new(),
            hidden_halts: false,
            waits_apart: None,
        }
    }

    /// Adds the selected part of an interval. `threads` must be the same list for all intervals, which may
    /// grow.
    pub fn add(&mut self, interval: &Interval, threads: &Threads, selection: &Selection) {
        if !selection.wants_host(interval.host.as_deref()) {
            return;
        }
        self.losses.merge(&interval.losses);
        let elapsed_ns = interval.elapsed_ns();
        self.elapsed_ns = self.elapsed_ns.saturating_add(elapsed_ns);
        self.open_block(interval.host.as_ref(), elapsed_ns);
        for cell in &interval.cells {
            let thread = &threads.list[cell.thread];
            if selection.wants_thread(thread) && selection.wants_reason(cell.isa, cell.code) {
                self.add_cell(cell, interval, thread);
            }
        }
    }

    /// Makes sure that the newest block is the one to which an interval of this host belongs. Hosts that were
    /// read at the same time share blocks: those of one alone would seem to come and go.
    fn open_block(&mut self, host: Option<&String>, elapsed_ns: u64) {
        let host = host.cloned();
        let begins = self.blocks.is_empty() || self.newest_hosts.contains(&host);
        if begins {
            self.newest_hosts.clear();
            self.intervals += 1;
            let full = |summary: &Self| {
                summary.blocks.last().is_none_or(|block| block.intervals >= summary.intervals_per_block)
            };
            if full(self) && self.blocks.len() == MAX_BLOCKS {
                self.halve_blocks();
            }
            if full(self) {
                self.blocks.push(Block::default());
            }
        }
        self.newest_hosts.insert(host.clone());
        let block = self.blocks.last_mut().expect("one was just made if there was none");
        block.intervals += usize::from(begins);
        let elapsed = block.elapsed_ns.entry(host).or_default();
        *elapsed = elapsed.saturating_add(elapsed_ns);
    }

    /// Joins blocks two by two.
    fn halve_blocks(&mut self) {
        self.intervals_per_block *= 2;
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

    fn add_cell(&mut self, cell: &Cell, interval: &Interval, thread: &Thread) {
        // Every exit once: the other kinds are the same time seen in another way.
        if !kinds::is_exit(cell.subkey) {
            return;
        }
        // Where the wait of a halted guest is known, it is in no cell of these kinds.
        let waits_apart = interval.known.has(Part::Halt);
        let idle = decode(cell.isa, cell.code).idle && !waits_apart;
        self.isas.insert(cell.isa);
        self.hidden_halts |= !waits_apart && may_be_halt(cell.isa, cell.code);
        self.waits_apart = Some(self.waits_apart.unwrap_or(true) && waits_apart);
        let block = self.blocks.len() - 1;
        if !idle {
            let handled = &mut self.blocks[block].handled_ns;
            *handled = handled.saturating_add(cell.sum_ns);
        }
        let GroupBy { host, vm, vcpu, reason, part: _ } = self.by;
        let reason_of_cell = Reason { isa: cell.isa, code: cell.code };
        let cell_key = CellKey { thread: cell.thread, reason: reason_of_cell, idle };
        let key = self.row_of_cell.entry(cell_key).or_insert_with(|| RowKey {
            idle,
            host: thread.host.clone().filter(|_| host),
            vm: vm.then(|| thread.vm.clone()),
            vcpu: vcpu.then(|| thread.vcpu_label()),
            reason: reason.then_some(reason_of_cell),
        });
        if !self.rows.contains_key(key) {
            self.rows.insert(key.clone(), RowSummary::default());
        }
        let row = self.rows.get_mut(key).expect("just made sure of it");
        let buckets = interval.buckets_of(cell);
        row.stats.add(cell.count, cell.sum_ns, cell.min_ns, cell.max_ns, buckets);
        row.blocks.entry(block).or_default().add(
            cell.count,
            cell.sum_ns,
            buckets.iter().map(|(bucket, count)| (*bucket, (*count).into())),
        );
        debug_assert!(buckets.iter().all(|(bucket, _)| usize::from(*bucket) < BUCKETS));
    }

    /// Handled time of all rows, in ns.
    pub fn handled_ns(&self) -> u64 {
        self.blocks.iter().fold(0, |sum, block| sum.saturating_add(block.handled_ns))
    }
}
