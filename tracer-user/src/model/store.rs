//! Everything that was measured, summed up: the only thing that accumulates. Tables and exports are views of
//! it, see [`Rows`](crate::model::Rows).
//!
//! A store keeps threads of its own, so a reader may retire those of its intervals. Of the VMs that ended it
//! keeps the newest ones apart; older ones are folded into one for each host, by vCPU number. So it does with
//! the threads that ended in VMs which run on: older ones are folded within their VM. Sums stay exact, and
//! memory grows only with the vCPUs that run.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{
    decode::Isa,
    model::{
        Account, Cell, CounterSums, Crowded, Disagreement, HostId, LastReason, Losses, MeasuredParts,
        NamedInterval, OpenExit, Packed, Parts, ThreadId, VmId,
        buckets::{BucketSpan, Buckets},
        finder::Finder,
        threads::{Revision, Seen, Unseen},
    },
};

/// The number of VMs that are told apart after they ended.
pub const ENDED_KEPT: usize = 64;

/// Ended threads that are told apart, per VM that is told apart after it ended.
const ENDED_THREADS: usize = 4;

/// A thread's place is not known yet.
const UNKNOWN: usize = usize::MAX;

/// What tells the cells of a store apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    thread: usize,
    isa: Isa,
    code: u32,
    subkey: u64,
    /// Decides what the samples mean: without [`Part::Halt`](tracer_ebpf::part::Part::Halt) they include
    /// idle time.
    measured: MeasuredParts,
}

#[derive(Clone, Debug)]
struct Sum {
    key: Key,
    count: u64,
    sum_ns: u64,
    min_ns: u64,
    max_ns: u64,
    parts: Parts,
    buckets: BucketSpan,
}

/// The samples of a cell, of an interval or of a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellRef<'a> {
    pub thread: usize,
    pub isa: Isa,
    pub code: u32,
    pub subkey: u64,
    pub measured: MeasuredParts,
    pub count: u64,
    pub sum_ns: u64,
    pub min_ns: u64,
    pub max_ns: u64,
    pub parts: &'a Parts,
    pub buckets: Buckets<'a>,
}

impl<'a> CellRef<'a> {
    pub(super) fn of(cell: &'a Cell, measured: MeasuredParts, buckets: Packed<'a>) -> Self {
        let Cell { thread, isa, code, subkey, count, sum_ns, min_ns, max_ns, ref parts, buckets: _ } = *cell;
        let buckets = Buckets::Packed(buckets);
        Self { thread, isa, code, subkey, measured, count, sum_ns, min_ns, max_ns, parts, buckets }
    }
}

/// A thread of a store.
#[derive(Clone, Debug)]
pub(super) struct StoredThread {
    pub id: ThreadId,
    /// Where its time went, if it was measured.
    pub account: Option<Account>,
    /// Number of threads with an account that it stands for.
    pub accounts: u64,
    cells: Vec<usize>,
    /// The exits in which it ended, and how often: a number may be used again, and VMs that ended are one.
    pub last_exits: BTreeMap<LastReason, u64>,
    ended: bool,
    /// Its index in the intervals.
    named: usize,
}

impl StoredThread {
    fn add_last(&mut self, reason: LastReason, count: u64) {
        let sum = self.last_exits.entry(reason).or_insert(0);
        *sum = sum.saturating_add(count);
    }
}

#[derive(Clone, Debug, Default)]
struct StoredVm {
    threads: Vec<usize>,
    running: usize,
}

/// The intervals of one host.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage {
    pub host: HostId,
    pub losses: Losses,
    pub elapsed_ns: u64,
    /// Place among all intervals, and number.
    pub first: (u64, u64),
    pub last: (u64, u64),
    pub end_unix_ms: u64,
    /// Open at the end of the newest interval, by thread of the store.
    pub open: Vec<OpenExit>,
    /// Parts that all intervals measured.
    pub measured: Option<MeasuredParts>,
    /// VMs that were folded.
    pub folded: u64,
}

/// Sums of any number of intervals, of one source or of several.
#[derive(Clone, Debug)]
pub struct Store {
    keep: usize,
    threads: Vec<Option<StoredThread>>,
    free_threads: Vec<usize>,
    thread_of: HashMap<ThreadId, usize>,
    vms: HashMap<VmId, StoredVm>,
    /// VMs without a running thread, the newest last.
    ended: VecDeque<VmId>,
    /// Threads that ended, the newest last; some may have come back since, or were folded with their VM.
    ended_threads: VecDeque<ThreadId>,
    cells: Vec<Option<Sum>>,
    free_cells: Vec<usize>,
    finder: Finder<Key>,
    hosts: Vec<Coverage>,
    /// VMs with vCPUs that had no exit yet, as of the newest interval.
    unseen: Vec<Unseen>,
    crowded: Vec<Crowded>,
    /// As of the newest interval.
    disagreements: Vec<Disagreement>,
    counters: CounterSums,
    intervals: u64,
    /// From indices of intervals to threads of the store, as of this revision of theirs.
    named: Vec<usize>,
    revision: Revision,
    replaced: u64,
    seen: Seen,
}

impl Default for Store {
    fn default() -> Self {
        Self::keeping(ENDED_KEPT)
    }
}

impl Store {
    /// An empty store that tells `keep` VMs apart after they ended.
    pub fn keeping(keep: usize) -> Self {
        Self {
            keep,
            threads: Vec::new(),
            free_threads: Vec::new(),
            thread_of: HashMap::new(),
            vms: HashMap::new(),
            ended: VecDeque::new(),
            ended_threads: VecDeque::new(),
            cells: Vec::new(),
            free_cells: Vec::new(),
            finder: Finder::default(),
            unseen: Vec::new(),
            crowded: Vec::new(),
            disagreements: Vec::new(),
            counters: CounterSums::default(),
            hosts: Vec::new(),
            intervals: 0,
            named: Vec::new(),
            revision: Revision::default(),
            replaced: 0,
            seen: Seen::default(),
        }
    }

    /// Adds an interval. Intervals must be of one list of threads; for another one see
    /// [`Store::next_source`].
    pub fn add(&mut self, of: NamedInterval<'_>) {
        let NamedInterval { interval, threads } = of;
        self.see(of);
        self.unseen.clone_from(&threads.unseen);
        self.disagreements.clone_from(&threads.disagreements);
        for crowded in &threads.crowded {
            match self.crowded.iter_mut().find(|known| known.table == crowded.table) {
                Some(known) => known.merge(crowded),
                None => self.crowded.push(crowded.clone()),
            }
        }
        self.counters.add(interval, self.keep);
        self.intervals += 1;
        self.cover(of);
        let measured = interval.known;
        for vcpu in &interval.vcpus {
            let index = self.thread(of, vcpu.thread);
            let thread = self.threads[index].as_mut().expect("a named thread is held");
            thread.accounts = 1;
            thread.account.get_or_insert_default().merge(&vcpu.account);
        }
        self.finder.begin();
        for cell in &interval.cells {
            let index = self.thread(of, cell.thread);
            self.add_cell(index, CellRef::of(cell, measured, interval.buckets_of(cell)));
        }
        for last in &interval.last_exits {
            let index = self.thread(of, last.thread);
            self.threads[index].as_mut().expect("a named thread is held").add_last(last.reason, last.count);
        }
        for &ended in &interval.ended {
            let index = self.thread(of, ended);
            self.end(index);
        }
        debug_assert_eq!(threads.revision(), self.revision);
        while self.ended.len() > self.keep {
            let vm = self.ended.pop_front().expect("there are too many");
            self.fold(&vm);
        }
        while self.ended_threads.len() > self.keep.saturating_mul(ENDED_THREADS) {
            let id = self.ended_threads.pop_front().expect("there are too many");
            self.fold_thread(id);
        }
    }

    /// Expects the next interval to use another list of threads.
    pub fn next_source(&mut self) {
        self.named.clear();
        self.revision = Revision::default();
    }

    /// Takes notice of new threads.
    fn see(&mut self, of: NamedInterval<'_>) {
        let revision = of.threads.revision();
        if revision == self.revision {
            return;
        }
        if revision.replaced != self.revision.replaced || revision.len < self.revision.len {
            self.named.clear();
        }
        self.revision = revision;
        let known = self.named.len();
        self.named.resize(revision.len, UNKNOWN);
        // New threads get places in the order of the list, not of the interval.
        if revision.replaced == 0 {
            let new = of.threads.present().skip_while(|(index, _)| *index < known);
            new.for_each(|(index, _)| _ = self.thread(of, index));
        }
    }

    fn thread(&mut self, of: NamedInterval<'_>, named: usize) -> usize {
        let known = self.named[named];
        if known != UNKNOWN {
            return known;
        }
        let id = of.thread(named).id();
        let index = self.held_thread(id);
        self.named[named] = index;
        let thread = self.threads[index].as_mut().expect("just made sure of it");
        thread.named = named;
        if std::mem::replace(&mut thread.ended, false) {
            let id = thread.id.vm.clone();
            let vm = self.vms.get_mut(&id).expect("a held thread has a VM");
            vm.running += 1;
            self.ended.retain(|ended| *ended != id);
        }
        index
    }

    /// The place of a thread, a new one if need be.
    fn held_thread(&mut self, id: ThreadId) -> usize {
        if let Some(index) = self.thread_of.get(&id) {
            return *index;
        }
        // Stands for threads that ended in a VM that may run.
        let heir = id.tid.is_none() && id.vm.pid.is_some();
        let thread = StoredThread {
            id: id.clone(),
            account: None,
            accounts: 0,
            cells: Vec::new(),
            last_exits: BTreeMap::new(),
            ended: heir,
            named: UNKNOWN,
        };
        let index = match self.free_threads.pop() {
            Some(index) => {
                self.replaced += 1;
                self.threads[index] = Some(thread);
                index
            }
            None => {
                self.threads.push(Some(thread));
                self.threads.len() - 1
            }
        };
        let ours = usize::from(id.tid.is_some());
        self.seen.threads += ours;
        let seen_vms = &mut self.seen.vms;
        let vm = self.vms.entry(id.vm.clone()).or_insert_with(|| {
            *seen_vms += ours;
            StoredVm::default()
        });
        vm.threads.push(index);
        vm.running += usize::from(!heir);
        let vm_id = id.vm.clone();
        self.thread_of.insert(id, index);
        // The VM had ended, and has a new thread.
        if self.vms[&vm_id].running == 1 {
            self.ended.retain(|ended| *ended != vm_id);
        }
        index
    }

    fn cover(&mut self, of: NamedInterval<'_>) {
        let NamedInterval { interval, .. } = of;
        let name = interval.host.as_deref();
        let at = match self.hosts.iter().position(|host| host.host.name() == name) {
            Some(at) => at,
            None => {
                let first = (self.intervals, interval.number);
                self.hosts.push(Coverage { host: HostId::new(name), first, ..Coverage::default() });
                self.hosts.len() - 1
            }
        };
        let mut open = std::mem::take(&mut self.hosts[at].open);
        open.clear();
        for exit in &interval.open {
            open.push(OpenExit { thread: self.thread(of, exit.thread), ..exit.clone() });
        }
        let host = &mut self.hosts[at];
        host.open = open;
        host.last = (self.intervals, interval.number);
        host.end_unix_ms = interval.end_unix_ms;
        host.elapsed_ns = host.elapsed_ns.saturating_add(interval.elapsed_ns());
        host.losses.merge(&interval.losses);
        host.measured = Some(host.measured.map_or(interval.known, |known| known.and(interval.known)));
    }

    fn add_cell(&mut self, thread: usize, cell: CellRef<'_>) {
        let CellRef { isa, code, subkey, measured, .. } = cell;
        let key = Key { thread, isa, code, subkey, measured };
        let (cells, free, threads) = (&mut self.cells, &mut self.free_cells, &mut self.threads);
        let index = self.finder.find(&key, || {
            let sum = Sum {
                key,
                count: 0,
                sum_ns: 0,
                min_ns: u64::MAX,
                max_ns: 0,
                parts: Parts::default(),
                buckets: BucketSpan::default(),
            };
            let index = free.pop().unwrap_or_else(|| {
                cells.push(None);
                cells.len() - 1
            });
            cells[index] = Some(sum);
            threads[thread].as_mut().expect("a cell's thread is held").cells.push(index);
            index
        });
        let sum = self.cells[index].as_mut().expect("a known cell is held");
        sum.count = sum.count.saturating_add(cell.count);
        sum.sum_ns = sum.sum_ns.saturating_add(cell.sum_ns);
        sum.min_ns = sum.min_ns.min(cell.min_ns);
        sum.max_ns = sum.max_ns.max(cell.max_ns);
        sum.parts.merge(cell.parts);
        sum.buckets.add(cell.buckets);
    }

    /// A thread ended; with its last thread the VM did.
    fn end(&mut self, index: usize) {
        let thread = self.threads[index].as_mut().expect("a named thread is held");
        if std::mem::replace(&mut thread.ended, true) {
            return;
        }
        self.ended_threads.push_back(thread.id.clone());
        let id = thread.id.vm.clone();
        let vm = self.vms.get_mut(&id).expect("a held thread has a VM");
        vm.running -= 1;
        if vm.running == 0 {
            self.ended.push_back(id);
        }
    }

    /// Moves all of a VM to those that ended, where its threads are told apart by vCPU number.
    fn fold(&mut self, vm: &VmId) {
        let Some(StoredVm { threads, .. }) = self.vms.remove(vm) else { return };
        for index in threads {
            self.hand_over(index, VmId::ended(vm.host.clone()));
        }
        if let Some(host) = self.hosts.iter_mut().find(|host| host.host == vm.host) {
            host.folded += 1;
        }
    }

    /// Moves all of a thread to those that ended in its VM, if it is there and has not come back.
    fn fold_thread(&mut self, id: ThreadId) {
        let Some(&index) = self.thread_of.get(&id) else { return };
        if self.threads[index].as_ref().is_some_and(|thread| thread.ended) {
            let vm = self.vms.get_mut(&id.vm).expect("a held thread has a VM");
            // It is one of the first: they are in the order of their coming.
            let at = vm.threads.iter().position(|other| *other == index).expect("a VM has its threads");
            vm.threads.remove(at);
            self.hand_over(index, id.vm);
        }
    }

    /// Moves all of a thread to the one that stands for its vCPU number in a VM, and frees its place.
    fn hand_over(&mut self, index: usize, vm: VmId) {
        let thread = self.threads[index].take().expect("a VM's thread is held");
        self.thread_of.remove(&thread.id);
        if let Some(named) = self.named.get_mut(thread.named).filter(|known| **known == index) {
            *named = UNKNOWN;
        }
        let heir = self.held_thread(ThreadId { vm, vcpu: thread.id.vcpu, tid: None });
        for (reason, count) in thread.last_exits {
            self.threads[heir].as_mut().expect("just made sure of it").add_last(reason, count);
        }
        if let Some(account) = thread.account {
            let heir = self.threads[heir].as_mut().expect("just made sure of it");
            heir.account.get_or_insert_default().merge(&account);
            heir.accounts += thread.accounts;
        }
        self.finder.forget_order();
        for cell in thread.cells {
            let sum = self.cells[cell].take().expect("a thread's cell is held");
            self.free_cells.push(cell);
            self.finder.forget(&sum.key);
            self.add_cell(heir, sum.as_ref());
        }
        self.finder.forget_order();
        for host in &mut self.hosts {
            host.open.retain(|open| open.thread != index);
        }
        self.free_threads.push(index);
    }
}

impl Sum {
    fn as_ref(&self) -> CellRef<'_> {
        let Key { thread, isa, code, subkey, measured } = self.key;
        let Self { count, sum_ns, min_ns, max_ns, ref parts, .. } = *self;
        let buckets = self.buckets.as_buckets();
        CellRef { thread, isa, code, subkey, measured, count, sum_ns, min_ns, max_ns, parts, buckets }
    }
}

mod access;
#[cfg(test)]
mod tests;
