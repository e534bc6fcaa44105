//! Rows: a view of what was measured, by [`GroupBy`], [`Selection`] and how idle time counts.
//!
//! The only place that knows which samples are of one row, which kinds are exits and when an exit is idle.
//! Exits, causes below them and time in the guest are rows apart: the last two describe time that is in other
//! rows too. [`Rows::of_interval`] and [`Rows::of_store`] replace the rows; as long as the same rows come
//! again they allocate nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tracer_ebpf::{
    part::Part,
    subkey::{self, kind},
};

use crate::{
    decode::{Isa, decode, may_be_halt},
    model::{
        Account, Counters, Crowded, Disagreement, GroupBy, HostId, LastReason, Loss, Losses, MeasuredParts,
        NamedInterval, OpenExit, Parts, Selection, Stats, ThreadId, VmId,
        finder::Finder,
        kinds,
        row::{OpenRow, Place, Row, Slice, Totals, VmAccount},
        store::{CellRef, Store},
        threads::{Revision, Seen, Unseen},
    },
};

mod access;
mod order;

pub use access::HIDDEN_HALTS;

/// What tells rows apart. Idle and handled time are never mixed in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    idle: bool,
    place: usize,
    reason: Option<(Isa, u32)>,
    slice: Option<Slice>,
    cause: Option<u64>,
}

/// How a thread of the source is seen here.
#[derive(Clone, Debug)]
struct Seat {
    id: ThreadId,
    /// Whether the thread is selected; others have no rows.
    wanted: bool,
    place: usize,
    vm: usize,
}

/// How a reason is seen here.
#[derive(Clone, Copy, Debug)]
struct Reason {
    wanted: bool,
    idle: bool,
    named: bool,
}

/// Whose indices the seats are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Interval(Revision),
    Store(Revision),
}

/// What was measured, grouped.
#[derive(Debug, Default)]
pub struct Rows {
    by: GroupBy,
    idle: bool,
    exits_only: bool,
    selection: Selection,
    source: Option<Source>,
    seats: Vec<Option<Seat>>,
    places: Vec<Arc<Place>>,
    place_of: HashMap<Arc<Place>, usize>,
    /// By place: its rank in the order of rows.
    ranks: Vec<usize>,
    reason_of: Finder<(Isa, u32)>,
    reasons: Vec<Reason>,
    row_of: Finder<Key>,
    keys: Vec<Key>,
    rows: Vec<Row>,
    /// The rows that there are, in the order of their keys.
    order: Vec<usize>,
    vm_of: HashMap<VmId, usize>,
    vms: Vec<VmAccount>,
    vm_order: Vec<usize>,
    /// By place: where the time of its vCPUs went, if it was measured.
    accounts: Vec<Option<Account>>,
    sums: Totals,
    /// Idle time may be in exits whose reason does not show it; see [`Rows::has_hidden_halts`].
    hidden_halts: bool,
    folded: Vec<(HostId, u64)>,
    /// The selected hosts of a store, in the order of their newest intervals.
    hosts: Vec<usize>,
    elapsed: Vec<(HostId, u64)>,
    /// Sum of the losses.
    pub losses: Losses,
    /// Open exits of the newest interval, of each host.
    pub open: Vec<OpenRow>,
    /// How many threads of each VM ended in exits of a reason.
    pub last_exits: BTreeMap<(VmId, LastReason), u64>,
    /// Time covered.
    pub elapsed_ns: u64,
    /// Number of the first interval, 0 if there is none.
    pub first: u64,
    /// Number of the newest interval.
    pub last: u64,
    /// Wall-clock time of the newest interval's end.
    pub end_unix_ms: u64,
    /// The parts that all intervals measured.
    pub measured: MeasuredParts,
    /// All VMs and threads so far, selected or not.
    pub seen: Seen,
    /// VMs with vCPUs that had no exit yet, selected or not.
    pub unseen: Vec<Unseen>,
    /// Tables that refused places.
    pub crowded: Vec<Crowded>,
    /// Counts of KVM's that ours do not agree with, selected or not.
    pub disagreements: Vec<Disagreement>,
    /// KVM's own counters, if they were read.
    pub counters: Counters,
}

impl Rows {
    /// No rows yet; everything is selected.
    pub fn new(by: GroupBy) -> Self {
        Self { by, ..Self::default() }
    }

    /// Samples include the time in which the guest had nothing to do, as perf counts them.
    #[must_use]
    pub fn with_idle(self, idle: bool) -> Self {
        Self { idle, ..self }
    }

    /// Rows of exits only: what describes their time once more, and time in the guest, is left out.
    #[must_use]
    pub fn of_exits_only(self) -> Self {
        Self { exits_only: true, ..self }
    }

    /// Rows of these hosts, VMs, vCPUs and reasons only.
    #[must_use]
    pub fn with_selection(self, selection: Selection) -> Self {
        let rows = Self::new(self.by).with_idle(self.idle);
        Self { selection, exits_only: self.exits_only, ..rows }
    }

    /// How rows are told apart.
    pub fn by(&self) -> GroupBy {
        self.by
    }

    /// The hosts, VMs, vCPUs and reasons that have rows.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The rows of one interval. All intervals must be of one list of threads.
    pub fn of_interval(&mut self, of: NamedInterval<'_>) {
        let NamedInterval { interval, threads } = of;
        let source = Source::Interval(threads.revision());
        if self.source != Some(source) {
            self.seen = threads.seen();
        }
        self.unseen.clone_from(&threads.unseen);
        self.crowded.clone_from(&threads.crowded);
        self.disagreements.clone_from(&threads.disagreements);
        self.begin(source, |index| Some(threads.list[index].id()));
        if self.selection.wants_host(interval.host.as_deref()) {
            self.counters.of_interval(interval, &self.selection);
            (self.first, self.last) = (interval.number, interval.number);
            self.end_unix_ms = interval.end_unix_ms;
            self.elapsed_ns = interval.elapsed_ns();
            self.elapsed.push((HostId::new(interval.host.as_deref()), self.elapsed_ns));
            self.losses.merge(&interval.losses);
            self.measured = interval.known;
            interval.open.iter().for_each(|exit| self.add_open(exit));
            for last in &interval.last_exits {
                self.add_last(last.thread, last.reason, last.count);
            }
            for vcpu in &interval.vcpus {
                self.add_account(vcpu.thread, &vcpu.account, 1);
            }
            for cell in &interval.cells {
                self.add_cell(&CellRef::of(cell, interval.known, interval.buckets_of(cell)));
            }
        }
        self.end();
    }

    /// The rows of all that a store has.
    pub fn of_store(&mut self, store: &Store) {
        let threads = store.threads();
        self.seen = store.seen();
        store.unseen().clone_into(&mut self.unseen);
        store.crowded().clone_into(&mut self.crowded);
        store.disagreements().clone_into(&mut self.disagreements);
        self.begin(Source::Store(store.revision()), |index| Some(threads[index].as_ref()?.id.clone()));
        self.cover(store);
        self.counters.of_sums(store.counters(), &self.selection);
        for (index, thread) in threads.iter().enumerate().filter_map(|(at, it)| Some((at, it.as_ref()?))) {
            if let Some(account) = &thread.account {
                self.add_account(index, account, thread.accounts);
            }
            thread.last_exits.iter().for_each(|(reason, count)| self.add_last(index, *reason, *count));
        }
        store.cells().for_each(|cell| self.add_cell(&cell));
        self.end();
    }

    fn cover(&mut self, store: &Store) {
        let all = store.hosts();
        let mut hosts = std::mem::take(&mut self.hosts);
        hosts.clear();
        hosts.extend((0..all.len()).filter(|at| self.selection.wants_host(all[*at].host.name())));
        hosts.sort_unstable_by_key(|at| all[*at].last);
        let of = |at: &usize| &all[*at];
        self.first = hosts.iter().map(of).min_by_key(|host| host.first).map_or(0, |host| host.first.1);
        let measured = hosts.iter().map(of).filter_map(|host| host.measured);
        self.measured = measured.reduce(MeasuredParts::and).unwrap_or_default();
        for host in hosts.iter().map(of) {
            self.last = host.last.1;
            self.end_unix_ms = host.end_unix_ms;
            self.elapsed_ns = self.elapsed_ns.saturating_add(host.elapsed_ns);
            self.elapsed.push((host.host.clone(), host.elapsed_ns));
            self.losses.merge(&host.losses);
            if host.folded != 0 {
                self.folded.push((host.host.clone(), host.folded));
            }
            for exit in &host.open {
                self.add_open(exit);
            }
        }
        self.hosts = hosts;
    }

    /// Empties the rows, and gives every thread of the source its seat.
    fn begin(&mut self, source: Source, id: impl Fn(usize) -> Option<ThreadId>) {
        let (Source::Interval(revision) | Source::Store(revision)) = source;
        let grown = match (self.source, source) {
            (Some(Source::Interval(old)), Source::Interval(new))
            | (Some(Source::Store(old)), Source::Store(new)) => {
                old.replaced == new.replaced && old.len <= new.len
            }
            _ => false,
        };
        if !grown {
            self.forget();
        }
        self.source = Some(source);
        for index in self.seats.len()..revision.len {
            let seat = id(index).map(|id| self.seat(&id));
            self.seats.push(seat);
        }
        if self.ranks.len() < self.places.len() {
            self.rank();
        }
        for row in self.rows.iter_mut().filter(|row| row.touched) {
            row.stats.clear();
            (row.parts, row.touched) = (Parts::default(), false);
        }
        for vm in &mut self.vms {
            (vm.vcpus, vm.account) = (0, Account::default());
        }
        self.accounts.clear();
        self.accounts.resize(self.places.len(), None);
        self.row_of.begin();
        self.reason_of.begin();
        self.order.clear();
        self.vm_order.clear();
        self.sums = Totals::default();
        self.hidden_halts = false;
        self.folded.clear();
        self.elapsed.clear();
        self.losses = Losses::default();
        self.open.clear();
        self.counters.clear();
        self.last_exits.clear();
        (self.elapsed_ns, self.first, self.last, self.end_unix_ms) = (0, 0, 0, 0);
        self.measured = MeasuredParts::default();
    }

    /// Threads have other indices now, and some are gone with their rows.
    fn forget(&mut self) {
        self.seats.clear();
        self.places.clear();
        self.place_of.clear();
        self.ranks.clear();
        self.row_of.clear();
        self.keys.clear();
        self.rows.clear();
        self.vm_of.clear();
        self.vms.clear();
    }

    fn seat(&mut self, id: &ThreadId) -> Seat {
        let place = Arc::new(Place {
            // The same pid on two hosts is two VMs.
            host: if self.by.host || self.by.vm { id.vm.host.clone() } else { HostId::default() },
            vm: self.by.vm.then(|| id.vm.clone()),
            thread: self.by.vcpu.then(|| id.clone()),
        });
        let next = self.places.len();
        let at = *self.place_of.entry(place.clone()).or_insert(next);
        if at == next {
            self.places.push(place);
        }
        let next = self.vms.len();
        let vm = *self.vm_of.entry(id.vm.clone()).or_insert(next);
        if vm == next {
            let account = Account::default();
            self.vms.push(VmAccount { vm: id.vm.clone(), ended: 0, vcpus: 0, account });
        }
        Seat { id: id.clone(), wanted: self.selection.wants(id), place: at, vm }
    }

    /// By host and VM; threads of one VM in the order of their first sight.
    fn rank(&mut self) {
        let mut sorted: Vec<usize> = (0..self.places.len()).collect();
        sorted.sort_by(|a, b| {
            let of = |at: usize| (&self.places[at].host, &self.places[at].vm);
            of(*a).cmp(&of(*b))
        });
        self.ranks.resize(self.places.len(), 0);
        sorted.into_iter().enumerate().for_each(|(rank, place)| self.ranks[place] = rank);
    }

    fn reason(&mut self, isa: Isa, code: u32) -> Reason {
        let (reasons, selection) = (&mut self.reasons, &self.selection);
        let at = self.reason_of.find(&(isa, code), || {
            let decoded = decode(isa, code);
            let wanted = selection.wants_reason(isa, code);
            reasons.push(Reason { wanted, idle: decoded.idle, named: decoded.known });
            reasons.len() - 1
        });
        self.reasons[at]
    }

    /// The seat of a thread, if it is selected: its place and VM.
    fn seat_of(&self, thread: usize) -> Option<(usize, usize)> {
        let seat = self.seats[thread].as_ref().expect("a thread with samples has a seat");
        seat.wanted.then_some((seat.place, seat.vm))
    }

    fn row(&mut self, key: Key, measured: MeasuredParts) -> &mut Row {
        let (rows, keys, places) = (&mut self.rows, &mut self.keys, &self.places);
        let at = self.row_of.find(&key, || {
            keys.push(key);
            rows.push(Row {
                place: places[key.place].clone(),
                ended: 0,
                reason: key.reason,
                slice: key.slice,
                cause: key.cause,
                idle: key.idle,
                stats: Stats::default(),
                parts: Parts::default(),
                measured,
                causes: 0..0,
                rank: 0,
                touched: false,
            });
            rows.len() - 1
        });
        let row = &mut self.rows[at];
        if !std::mem::replace(&mut row.touched, true) {
            row.measured = measured;
            self.order.push(at);
        }
        row.measured = row.measured.and(measured);
        row
    }

    fn add_open(&mut self, exit: &OpenExit) {
        let seat = self.seats[exit.thread].as_ref().expect("a thread with an open exit has a seat");
        if seat.wanted && self.selection.wants_reason(exit.isa, exit.code) {
            self.open.push(OpenRow { thread: seat.id.clone(), exit: exit.clone() });
        }
    }

    fn add_last(&mut self, thread: usize, reason: LastReason, count: u64) {
        let seat = self.seats[thread].as_ref().expect("a thread that ended in an exit has a seat");
        if seat.wanted && self.selection.wants_reason(reason.isa, reason.code) {
            let sum = self.last_exits.entry((seat.id.vm.clone(), reason)).or_insert(0);
            *sum = sum.saturating_add(count);
        }
    }

    fn add_cell(&mut self, cell: &CellRef<'_>) {
        let Some((place, _)) = self.seat_of(cell.thread) else { return };
        let &CellRef { isa, code, subkey, measured, .. } = cell;
        let number = subkey::kind_of(subkey);
        let exit = kinds::is_exit(subkey);
        if number == kind::GUEST {
            if self.exits_only {
                return;
            }
            let key = Key { idle: false, place, reason: None, slice: None, cause: Some(subkey) };
            self.row(key, measured).stats.add_cell(cell);
            return;
        }
        let reason = self.reason(isa, code);
        if !reason.wanted {
            return;
        }
        if exit && !reason.named {
            self.losses.add(Loss::UnknownCodes, cell.count);
        }
        // Measured idle time is not in the samples; otherwise the reason decides.
        let idle = reason.idle && !measured.has(Part::Halt);
        self.hidden_halts |= exit && !measured.has(Part::Halt) && may_be_halt(isa, code);
        // Samples with idle time stand beside those without it.
        let counts = match number {
            kind::HALTED => !self.idle,
            kind::WHOLE => self.idle,
            _ => exit,
        };
        self.sum_up(cell, exit, counts, idle);
        if self.exits_only && !exit && !counts {
            return;
        }
        let by_reason = self.by.reason.then_some((isa, code));
        if self.by.part {
            // Without parts all would be the kernel's.
            if self.by.reason && exit && measured.has(Part::Kernel) {
                for part in Part::ALL.into_iter().filter(|part| cell.parts.get(*part) != 0) {
                    let slice = Some(Slice::Of(part));
                    let key = Key { idle: false, place, reason: by_reason, slice, cause: None };
                    self.add_slice(key, measured, cell.parts.get(part));
                }
            }
            return;
        }
        let key = Key { idle, place, reason: by_reason, slice: None, cause: None };
        // A cause creates the row that it belongs to, even if there is no exit yet.
        let row = self.row(key, measured);
        if counts {
            row.stats.add_cell(cell);
        }
        if exit {
            row.parts.merge(cell.parts);
        } else if !counts {
            let row = self.row(Key { cause: Some(subkey), ..key }, MeasuredParts::default());
            row.stats.add_cell(cell);
            row.parts.merge(cell.parts);
        }
    }

    fn sum_up(&mut self, cell: &CellRef<'_>, exit: bool, counts: bool, idle: bool) {
        let sums = &mut self.sums;
        if exit && !self.idle {
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

    fn add_account(&mut self, thread: usize, account: &Account, vcpus: u64) {
        let Some((place, vm)) = self.seat_of(thread) else { return };
        let of_vm = &mut self.vms[vm];
        if of_vm.vcpus == 0 {
            self.vm_order.push(vm);
        }
        of_vm.vcpus += vcpus;
        of_vm.account.merge(account);
        self.accounts[place].get_or_insert_default().merge(account);
        if self.by.part && !self.by.reason {
            let parts = Part::ALL.map(|part| (Slice::Of(part), account.parts.get(part)));
            let others = [(Slice::Guest, account.guest_ns), (Slice::Unaccounted, account.unaccounted_ns())];
            for (slice, ns) in parts.into_iter().chain(others).filter(|(_, ns)| *ns != 0) {
                let key = Key { idle: false, place, reason: None, slice: Some(slice), cause: None };
                self.add_slice(key, account.measured, ns);
            }
        }
    }

    fn add_slice(&mut self, key: Key, measured: MeasuredParts, ns: u64) {
        let stats = &mut self.row(key, measured).stats;
        stats.sum_ns = stats.sum_ns.saturating_add(ns);
        self.sums.slices_ns = self.sums.slices_ns.saturating_add(ns);
    }
}

#[cfg(test)]
mod tests;
