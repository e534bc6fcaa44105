//! Intervals summed up to rows.

use std::collections::BTreeMap;

use regex::Regex;
use tracer_ebpf::{
    part::Part,
    subkey::{self, kind},
};

use crate::{
    decode::{Isa, decode},
    model::{
        Cell, GroupBy, Interval, Loss, Losses, MeasuredParts, NamePattern, OpenExit, Parts, Stats, Thread,
        Threads, VcpuTime, kinds, parts::PARTS,
    },
};

/// Which cells are looked at.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// vCPU numbers; empty for all.
    pub vcpus: Vec<u32>,
    /// Processes; empty for all.
    pub pids: Vec<u32>,
    /// Hosts; empty for all. Intervals of other hosts are not looked at.
    pub hosts: Vec<NamePattern>,
    /// VMs by name, beside those of `pids`.
    pub guests: Vec<NamePattern>,
    /// Matched against the reason's label.
    pub fields: Option<Regex>,
}

impl Selection {
    /// Whether intervals of this host are looked at.
    pub fn wants_host(&self, host: Option<&str>) -> bool {
        self.hosts.is_empty() || host.is_some_and(|host| self.hosts.iter().any(|wanted| wanted.matches(host)))
    }

    /// Whether this thread is looked at.
    pub fn wants_thread(&self, thread: &Thread) -> bool {
        let named = |wanted: &NamePattern| wanted.matches(&thread.vm);
        let any_vm = self.pids.is_empty() && self.guests.is_empty();
        (any_vm || self.pids.contains(&thread.pid) || self.guests.iter().any(named))
            && (self.vcpus.is_empty() || thread.vcpu.is_some_and(|vcpu| self.vcpus.contains(&vcpu)))
    }

    /// Whether this open exit is looked at.
    pub fn wants_open(&self, open: &OpenExit, threads: &Threads) -> bool {
        self.wants_thread(&threads.list[open.thread]) && self.wants_reason(open.isa, open.code)
    }

    /// Whether exits of this reason are looked at.
    pub fn wants_reason(&self, isa: Isa, code: u32) -> bool {
        self.fields.as_ref().is_none_or(|regex| regex.is_match(&decode(isa, code).to_string()))
    }
}

/// What of a vCPU's time a row of a table of parts stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slice {
    /// Running in the guest.
    Guest,
    /// A part of its exits.
    Of(Part),
    /// Lost with unpaired events.
    Unaccounted,
}

impl Slice {
    /// Name in machine-readable output.
    pub fn id(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Of(part) => PARTS[part as usize].id,
            Self::Unaccounted => "unaccounted",
        }
    }

    /// Name on the screen.
    pub fn title(self) -> &'static str {
        match self {
            Self::Guest => "Guest",
            Self::Of(part) => PARTS[part as usize].title,
            Self::Unaccounted => "Unaccounted",
        }
    }
}

/// What tells rows apart. Idle and handled time are never mixed in one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    idle: bool,
    host: Option<String>,
    /// Process and name: in days, or between two recordings of one host, a pid may come to be another VM's.
    vm: Option<(u32, String)>,
    thread: Option<usize>,
    reason: Option<(Isa, u32)>,
    slice: Option<Slice>,
}

/// One row of a table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The host, where rows are by host, or by VM and hosts are told apart.
    pub host: Option<String>,
    /// Name of the VM and its pid, where rows are by VM.
    pub vm: Option<(String, u32)>,
    /// The vCPU's number or thread, where rows are by vCPU.
    pub vcpu: Option<(String, u32)>,
    /// Isa and code of the reason, where rows are by reason.
    pub reason: Option<(Isa, u32)>,
    /// What of the time, where rows are by part.
    pub slice: Option<Slice>,
    /// The guest had nothing to do; such time is not part of `Time%`. Only where idle time was not measured, so that
    /// the reason has to tell.
    pub idle: bool,
    /// The samples. Of a row by part only the sum.
    pub stats: Stats,
    /// What their time consists of; idle time included, whether or not it is in `stats`.
    pub parts: Parts,
    /// Which parts were measured.
    pub known: MeasuredParts,
    /// Causes below the reason, by [`tracer_ebpf::subkey`], where rows are by reason.
    pub causes: BTreeMap<u64, Stats>,
}

impl Row {
    /// The reason as it is printed; "" if rows are not by reason.
    pub fn reason_label(&self) -> String {
        self.reason.map(|(isa, code)| decode(isa, code).to_string()).unwrap_or_default()
    }
}

/// Where the time of one VM's vCPUs went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmTime {
    /// Its vCPU threads, by index into the threads.
    pub vcpus: std::collections::BTreeSet<usize>,
    /// Wall time of all its vCPUs.
    pub elapsed_ns: u64,
    /// In the guest.
    pub guest_ns: u64,
    /// Elsewhere.
    pub parts: Parts,
    /// Which parts were measured.
    pub known: MeasuredParts,
}

impl VmTime {
    /// Wall time in which the guest did not run although it was not idle.
    pub fn overhead_ns(&self) -> u64 {
        self.parts.total_ns().saturating_sub(self.parts.get(Part::Halt))
    }

    /// What is in neither guest nor parts.
    pub fn unaccounted_ns(&self) -> u64 {
        self.elapsed_ns.saturating_sub(self.guest_ns).saturating_sub(self.parts.total_ns())
    }
}

/// The sum of any number of intervals, grouped.
#[derive(Debug)]
pub struct Rows {
    by: GroupBy,
    idle: bool,
    groups: BTreeMap<Key, Row>,
    sums: Totals,
    guests: BTreeMap<Key, Row>,
    /// Where the time of each VM went, by host (of a merged dump), pid and name.
    pub vms: BTreeMap<(Option<String>, u32, String), VmTime>,
    /// Sum of the losses.
    pub losses: Losses,
    /// Open exits of the newest interval, of each host.
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
    pub fn new(by: GroupBy) -> Self {
        Self {
            by,
            idle: false,
            groups: BTreeMap::new(),
            sums: Totals::default(),
            guests: BTreeMap::new(),
            vms: BTreeMap::new(),
            losses: Losses::default(),
            open: Vec::new(),
            elapsed_ns: 0,
            first: 0,
            last: 0,
            end_unix_ms: 0,
        }
    }

    /// Samples include the time in which the guest had nothing to do, as perf counts them.
    #[must_use]
    pub fn with_idle(self, idle: bool) -> Self {
        Self { idle, ..self }
    }

    /// How rows are told apart.
    pub fn by(&self) -> GroupBy {
        self.by
    }

    /// Adds the selected part of an interval.
    pub fn add(&mut self, interval: &Interval, threads: &Threads, selection: &Selection) {
        if !selection.wants_host(interval.host.as_deref()) {
            return;
        }
        if self.first == 0 {
            self.first = interval.number;
        }
        self.last = interval.number;
        self.end_unix_ms = interval.end_unix_ms;
        self.elapsed_ns = self.elapsed_ns.saturating_add(interval.elapsed_ns());
        self.losses.merge(&interval.losses);
        self.open.retain(|open| threads.list[open.thread].host != interval.host);
        self.open.extend(interval.open.iter().filter(|open| selection.wants_open(open, threads)).cloned());
        for time in &interval.vcpus {
            let thread = &threads.list[time.thread];
            if selection.wants_thread(thread) {
                self.add_time(time, thread, interval.known);
            }
        }
        for cell in &interval.cells {
            let thread = &threads.list[cell.thread];
            let guest = subkey::kind_of(cell.subkey) == kind::GUEST;
            if selection.wants_thread(thread) && (guest || selection.wants_reason(cell.isa, cell.code)) {
                self.add_cell(cell, interval.buckets_of(cell), thread, interval.known);
            }
        }
    }

    fn add_cell(&mut self, cell: &Cell, buckets: &[(u16, u32)], thread: &Thread, known: MeasuredParts) {
        let kind = subkey::kind_of(cell.subkey);
        if kind == kind::GUEST {
            let key = self.key(thread, cell.thread, None, false, None);
            let by = self.by;
            let row = self.guests.entry(key).or_insert_with_key(|key| by.row(key, thread, known));
            row.stats.add(cell.count, cell.sum_ns, cell.min_ns, cell.max_ns, buckets);
            return;
        }
        let decoded = decode(cell.isa, cell.code);
        let whole_exit = kinds::is_exit(cell.subkey);
        if whole_exit && !decoded.known {
            self.losses.add(Loss::UnknownCodes, cell.count);
        }
        // Where idle time was measured it is not in the samples; elsewhere the reason has to do.
        let idle = decoded.idle && !known.has(Part::Halt);
        let reason = Some((cell.isa, cell.code));
        self.sum_up(cell, kind, idle);
        if self.by.part {
            // Without parts all would be the kernel's.
            if self.by.reason && whole_exit && known.has(Part::Kernel) {
                for part in Part::ALL.into_iter().filter(|part| cell.parts.get(*part) != 0) {
                    let key = self.key(thread, cell.thread, reason, false, Some(Slice::Of(part)));
                    self.add_slice(key, thread, known, cell.parts.get(part));
                }
            }
            return;
        }
        let key = self.key(thread, cell.thread, reason, idle, None);
        let by = self.by;
        let row = self.groups.entry(key).or_insert_with_key(|key| by.row(key, thread, known));
        row.known = row.known.and(known);
        match kind {
            kind::PLAIN => row.stats.add(cell.count, cell.sum_ns, cell.min_ns, cell.max_ns, buckets),
            kind::HALTED | kind::WHOLE if self.idle != (kind == kind::WHOLE) => {}
            kind::HALTED | kind::WHOLE => {
                row.stats.add(cell.count, cell.sum_ns, cell.min_ns, cell.max_ns, buckets);
            }
            _ if self.by.reason => {
                let cause = row.causes.entry(cell.subkey).or_default();
                cause.add(cell.count, cell.sum_ns, cell.min_ns, cell.max_ns, buckets);
            }
            _ => {}
        }
        if whole_exit {
            row.parts.merge(&cell.parts);
        }
    }

    fn sum_up(&mut self, cell: &Cell, kind: u8, idle: bool) {
        let counts = match kind {
            kind::PLAIN => true,
            kind::HALTED => !self.idle,
            kind::WHOLE => self.idle,
            _ => return,
        };
        let sums = &mut self.sums;
        if !self.idle && kind != kind::WHOLE {
            sums.idle_ns = sums.idle_ns.saturating_add(cell.parts.get(Part::Halt));
        }
        if counts {
            let (count, sum) = if idle {
                (&mut sums.idle_count, &mut sums.idle_ns)
            } else {
                (&mut sums.handled_count, &mut sums.handled_ns)
            };
            *count = count.saturating_add(cell.count);
            *sum = sum.saturating_add(cell.sum_ns);
        }
    }

    fn add_time(&mut self, time: &VcpuTime, thread: &Thread, known: MeasuredParts) {
        let vm = self
            .vms
            .entry((thread.host.clone(), thread.pid, thread.vm.clone()))
            .or_insert_with(|| VmTime { known, ..VmTime::default() });
        vm.vcpus.insert(time.thread);
        vm.elapsed_ns = vm.elapsed_ns.saturating_add(time.elapsed_ns);
        vm.guest_ns = vm.guest_ns.saturating_add(time.guest_ns);
        vm.parts.merge(&time.parts);
        vm.known = vm.known.and(known);
        if self.by.part && !self.by.reason {
            let parts = Part::ALL.map(|part| (Slice::Of(part), time.parts.get(part)));
            let others = [(Slice::Guest, time.guest_ns), (Slice::Unaccounted, time.unaccounted_ns())];
            for (slice, ns) in parts.into_iter().chain(others).filter(|(_, ns)| *ns != 0) {
                let key = self.key(thread, time.thread, None, false, Some(slice));
                self.add_slice(key, thread, known, ns);
            }
        }
    }

    fn add_slice(&mut self, key: Key, thread: &Thread, known: MeasuredParts, ns: u64) {
        let by = self.by;
        let row = self.groups.entry(key).or_insert_with_key(|key| by.row(key, thread, known));
        row.stats.sum_ns = row.stats.sum_ns.saturating_add(ns);
        self.sums.slices_ns = self.sums.slices_ns.saturating_add(ns);
    }

    fn key(
        &self,
        thread: &Thread,
        index: usize,
        reason: Option<(Isa, u32)>,
        idle: bool,
        slice: Option<Slice>,
    ) -> Key {
        Key {
            idle,
            // The same pid on two hosts is two VMs.
            host: thread.host.clone().filter(|_| self.by.host || self.by.vm),
            vm: self.by.vm.then(|| (thread.pid, thread.vm.clone())),
            thread: self.by.vcpu.then_some(index),
            reason: reason.filter(|_| self.by.reason),
            slice,
        }
    }

    /// Rows of time in the guest, from entry to exit, where it was measured; they are no exits.
    pub fn guests(&self) -> impl Iterator<Item = &Row> {
        self.guests.values()
    }

    /// The rows, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.groups.values()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Sums over all exits, however they are grouped.
    pub fn totals(&self) -> Totals {
        self.sums
    }

    /// What the rows' shares are of: as [`Rows::totals`], but idle rows are handled ones where samples include idle time.
    pub fn wholes(&self) -> Totals {
        let sums = self.sums;
        let idle_ns = if self.idle { sums.idle_ns } else { 0 };
        Totals { handled_ns: sums.handled_ns.saturating_add(idle_ns), with_idle: self.idle, ..sums }
    }
}

impl GroupBy {
    fn row(self, key: &Key, thread: &Thread, known: MeasuredParts) -> Row {
        Row {
            host: key.host.clone(),
            vm: key.vm.clone().map(|(pid, name)| (name, pid)),
            vcpu: self.vcpu.then(|| (thread.vcpu_label(), thread.tid)),
            reason: key.reason,
            slice: key.slice,
            idle: key.idle,
            stats: Stats::default(),
            parts: Parts::default(),
            known,
            causes: BTreeMap::new(),
        }
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
    /// Their time, and the measured idle time of the others.
    pub idle_ns: u64,
    /// Time of all rows by part.
    pub slices_ns: u64,
    /// Idle rows have a share, too.
    pub with_idle: bool,
}

impl Totals {
    /// All samples.
    pub fn count(&self) -> u64 {
        self.handled_count.saturating_add(self.idle_count)
    }
}
