//! Intervals summed up to rows.

use std::collections::BTreeMap;

use regex::Regex;

use crate::{
    decode::{Isa, decode},
    model::{By, Cell, Interval, Loss, Losses, OpenExit, Roster, Stats, Thread},
};

/// Which cells are looked at.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// vCPU numbers; empty for all.
    pub vcpus: Vec<u32>,
    /// Processes; empty for all.
    pub pids: Vec<u32>,
    /// Matched against the reason's label.
    pub fields: Option<Regex>,
}

impl Selection {
    fn wants_thread(&self, thread: &Thread) -> bool {
        (self.pids.is_empty() || self.pids.contains(&thread.pid))
            && (self.vcpus.is_empty() || thread.vcpu.is_some_and(|vcpu| self.vcpus.contains(&vcpu)))
    }

    fn wants_reason(&self, isa: Isa, code: u32) -> bool {
        self.fields.as_ref().is_none_or(|regex| regex.is_match(&decode(isa, code).to_string()))
    }
}

/// What tells rows apart. Idle and handled time are never mixed in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    idle: bool,
    pid: Option<u32>,
    thread: Option<usize>,
    reason: Option<(Isa, u32)>,
}

/// One row of a table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the VM and its pid, where rows are by VM.
    pub vm: Option<(String, u32)>,
    /// The vCPU's number or thread, where rows are by vCPU.
    pub vcpu: Option<(String, u32)>,
    /// Isa and code of the reason, where rows are by reason.
    pub reason: Option<(Isa, u32)>,
    /// The guest had nothing to do; such time is not part of `Time%`.
    pub idle: bool,
    /// The samples.
    pub stats: Stats,
}

impl Row {
    /// The reason as it is printed; "" if rows are not by reason.
    pub fn reason_label(&self) -> String {
        self.reason.map(|(isa, code)| decode(isa, code).to_string()).unwrap_or_default()
    }
}

/// The sum of any number of intervals, grouped.
#[derive(Debug)]
pub struct Rows {
    by: By,
    groups: BTreeMap<Key, Row>,
    /// Sum of the losses.
    pub losses: Losses,
    /// Open exits of the newest interval.
    pub open: Vec<OpenExit>,
    /// Time covered.
    pub elapsed_ns: u64,
    /// Number of the first interval, 0 if there is none.
    pub first: u64,
    /// Number of the newest interval.
    pub last: u64,
    /// Wall-clock time of the newest interval's end.
    pub end_unix_ms: u64,
}

impl Rows {
    /// No rows yet.
    pub fn new(by: By) -> Self {
        Self {
            by,
            groups: BTreeMap::new(),
            losses: Losses::default(),
            open: Vec::new(),
            elapsed_ns: 0,
            first: 0,
            last: 0,
            end_unix_ms: 0,
        }
    }

    /// How rows are told apart.
    pub fn by(&self) -> By {
        self.by
    }

    /// Adds the selected part of an interval.
    pub fn add(&mut self, interval: &Interval, roster: &Roster, selection: &Selection) {
        if self.first == 0 {
            self.first = interval.number;
        }
        self.last = interval.number;
        self.end_unix_ms = interval.end_unix_ms;
        let elapsed_ns = interval.end_ns.saturating_sub(interval.start_ns);
        self.elapsed_ns = self.elapsed_ns.saturating_add(elapsed_ns);
        self.losses.merge(&interval.losses);
        self.open.clear();
        self.open.extend(
            interval.open.iter().filter(|open| selection.wants_thread(&roster.threads[open.thread])).cloned(),
        );
        for cell in &interval.cells {
            let thread = &roster.threads[cell.thread];
            if selection.wants_thread(thread) && selection.wants_reason(cell.isa, cell.code) {
                self.add_cell(cell, interval.buckets_of(cell), thread);
            }
        }
    }

    fn add_cell(&mut self, cell: &Cell, buckets: &[(u16, u64)], thread: &Thread) {
        let decoded = decode(cell.isa, cell.code);
        if !decoded.known {
            self.losses.add(Loss::UnknownCodes, cell.count);
        }
        let By { vm, vcpu, reason } = self.by;
        let key = Key {
            idle: decoded.idle,
            pid: vm.then_some(thread.pid),
            thread: vcpu.then_some(cell.thread),
            reason: reason.then_some((cell.isa, cell.code)),
        };
        let row = self.groups.entry(key).or_insert_with(|| Row {
            vm: vm.then(|| (thread.vm.clone(), thread.pid)),
            vcpu: vcpu.then(|| (thread.vcpu_label(), thread.tid)),
            reason: key.reason,
            idle: key.idle,
            stats: Stats::default(),
        });
        row.stats.add(cell.count, cell.sum_ns, cell.min_ns, cell.max_ns, buckets);
    }

    /// The rows, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.groups.values()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Sum of the handled rows and sum of the idle rows.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for row in self.iter() {
            let (count, sum) = if row.idle {
                (&mut totals.idle_count, &mut totals.idle_ns)
            } else {
                (&mut totals.handled_count, &mut totals.handled_ns)
            };
            *count = count.saturating_add(row.stats.count);
            *sum = sum.saturating_add(row.stats.sum_ns);
        }
        totals
    }
}

/// Sums over all rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Samples of handled exits.
    pub handled_count: u64,
    /// Their time.
    pub handled_ns: u64,
    /// Samples of idle exits.
    pub idle_count: u64,
    /// Their time.
    pub idle_ns: u64,
}

impl Totals {
    /// All samples.
    pub fn count(&self) -> u64 {
        self.handled_count.saturating_add(self.idle_count)
    }
}
