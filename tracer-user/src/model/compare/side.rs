//! One side of a comparison: a recording by rows and blocks of time, in memory that does not grow with its length.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tracer_ebpf::{histogram::BUCKETS, part::Part};

use crate::{
    decode::{Isa, decode},
    model::{Cell, GroupBy, Interval, Losses, Selection, Stats, Thread, Threads, kinds},
};

/// More blocks than this are joined two by two.
const MAX_BLOCKS: usize = 32;

/// What tells rows apart on both sides. Pids do not: they change from run to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The guest had nothing to do.
    pub idle: bool,
    /// The host, where rows are by host.
    pub host: Option<String>,
    /// Name of the VM, where rows are by VM.
    pub vm: Option<String>,
    /// The vCPU, where rows are by vCPU.
    pub vcpu: Option<String>,
    /// The reason, where rows are by reason.
    pub reason: Option<(Isa, u32)>,
}

impl Key {
    /// The reason as it is printed; "" if rows are not by reason.
    pub fn reason_label(&self) -> String {
        self.reason.map(|(isa, code)| decode(isa, code).to_string()).unwrap_or_default()
    }

    /// The row in one line, for people.
    pub fn label(&self) -> String {
        let reason = self.reason.is_some().then(|| self.reason_label());
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
pub(super) struct Samples {
    pub count: u64,
    pub sum_ns: u64,
    /// In rising order.
    pub buckets: Vec<(u16, u64)>,
}

impl Samples {
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

/// A row of one side.
#[derive(Clone, Debug, Default)]
pub(super) struct SideRow {
    pub stats: Stats,
    pub blocks: BTreeMap<usize, Samples>,
}

/// What all rows of a block have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// Time covered, by host.
    pub elapsed_ns: BTreeMap<Option<String>, u64>,
    /// Handled time of all rows.
    pub handled_ns: u64,
    /// Intervals in it.
    rounds: usize,
}

impl Block {
    /// Time covered, of one host if it is named.
    pub fn elapsed_ns(&self, host: Option<&str>) -> u64 {
        let wanted = |known: &Option<String>| host.is_none() || known.as_deref() == host;
        let times = self.elapsed_ns.iter().filter(|(known, _)| wanted(known));
        times.fold(0, |sum, (_, ns)| sum.saturating_add(*ns))
    }
}

/// One side of a comparison.
#[derive(Clone, Debug)]
pub struct Side {
    by: GroupBy,
    pub(super) rows: BTreeMap<Key, SideRow>,
    pub(super) blocks: Vec<Block>,
    /// How many intervals of a host make a block.
    rounds: usize,
    /// The hosts of the newest of them.
    round: BTreeSet<Option<String>>,
    known: HashMap<(usize, Isa, u32, bool), Key>,
    /// Intervals, those of all hosts at the same time counted once.
    pub intervals: u64,
    /// Time covered, of all hosts together.
    pub elapsed_ns: u64,
    /// Sum of the losses.
    pub losses: Losses,
    /// Whose exit codes there are.
    pub isas: BTreeSet<Isa>,
    /// Whether the wait of halted guests was told apart; `None` without exits.
    pub waits_apart: Option<bool>,
}

impl Side {
    /// Nothing yet, to be grouped like this.
    pub fn new(by: GroupBy) -> Self {
        Self {
            by,
            rows: BTreeMap::new(),
            blocks: Vec::new(),
            rounds: 1,
            round: BTreeSet::new(),
            known: HashMap::new(),
            intervals: 0,
            elapsed_ns: 0,
            losses: Losses::default(),
            isas: BTreeSet::new(),
            waits_apart: None,
        }
    }

    /// Adds the selected part of an interval. All intervals must be of one threads.
    pub fn add(&mut self, interval: &Interval, threads: &Threads, selection: &Selection) {
        if !selection.wants_host(interval.host.as_deref()) {
            return;
        }
        self.losses.merge(&interval.losses);
        let elapsed_ns = interval.elapsed_ns();
        self.elapsed_ns = self.elapsed_ns.saturating_add(elapsed_ns);
        self.open(interval.host.as_ref(), elapsed_ns);
        for cell in &interval.cells {
            let thread = &threads.list[cell.thread];
            if selection.wants_thread(thread) && selection.wants_reason(cell.isa, cell.code) {
                self.add_cell(cell, interval, thread);
            }
        }
    }

    /// Makes the newest block that which an interval of this host belongs to. Hosts that were read at the same
    /// time share blocks: those of one alone would seem to come and go.
    fn open(&mut self, host: Option<&String>, elapsed_ns: u64) {
        let host = host.cloned();
        let begins = self.blocks.is_empty() || self.round.contains(&host);
        if begins {
            self.round.clear();
            self.intervals += 1;
            let full = |side: &Self| side.blocks.last().is_none_or(|block| block.rounds >= side.rounds);
            if full(self) && self.blocks.len() == MAX_BLOCKS {
                self.join();
            }
            if full(self) {
                self.blocks.push(Block::default());
            }
        }
        self.round.insert(host.clone());
        let block = self.blocks.last_mut().expect("one was just made if there was none");
        block.rounds += usize::from(begins);
        let elapsed = block.elapsed_ns.entry(host).or_default();
        *elapsed = elapsed.saturating_add(elapsed_ns);
    }

    /// Joins blocks two by two.
    fn join(&mut self) {
        self.rounds *= 2;
        let mut joined: Vec<Block> = Vec::new();
        for (index, block) in std::mem::take(&mut self.blocks).into_iter().enumerate() {
            if index % 2 == 0 {
                joined.push(block);
                continue;
            }
            let earlier = joined.last_mut().expect("the one before it");
            earlier.rounds += block.rounds;
            earlier.handled_ns = earlier.handled_ns.saturating_add(block.handled_ns);
            for (host, ns) in block.elapsed_ns {
                let elapsed = earlier.elapsed_ns.entry(host).or_default();
                *elapsed = elapsed.saturating_add(ns);
            }
        }
        self.blocks = joined;
        for row in self.rows.values_mut() {
            let mut joined: BTreeMap<usize, Samples> = BTreeMap::new();
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
        self.waits_apart = Some(self.waits_apart.unwrap_or(true) && waits_apart);
        let block = self.blocks.len() - 1;
        if !idle {
            let handled = &mut self.blocks[block].handled_ns;
            *handled = handled.saturating_add(cell.sum_ns);
        }
        let GroupBy { host, vm, vcpu, reason, part: _ } = self.by;
        let key = self.known.entry((cell.thread, cell.isa, cell.code, idle)).or_insert_with(|| Key {
            idle,
            host: thread.host.clone().filter(|_| host),
            vm: vm.then(|| thread.vm.clone()),
            vcpu: vcpu.then(|| thread.vcpu_label()),
            reason: reason.then_some((cell.isa, cell.code)),
        });
        if !self.rows.contains_key(key) {
            self.rows.insert(key.clone(), SideRow::default());
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

    /// Handled time of all rows.
    pub fn handled_ns(&self) -> u64 {
        self.blocks.iter().fold(0, |sum, block| sum.saturating_add(block.handled_ns))
    }
}
