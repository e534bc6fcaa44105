//! Nothing that was added gets lost, and memory goes with the VMs that run.

use proptest::prelude::*;
use tracer_ebpf::{histogram::bucket_of, part::Part, subkey};

use super::*;
use crate::model::{GroupBy, Interval, Loss, Rows, Selection, Thread, Threads, VcpuAccount};

/// Acts like the kernel's reader: a place is free again at the reading after the one that reports the
/// thread's end.
#[derive(Default)]
struct Reader {
    threads: Threads,
    /// Running VMs: pid, and the places of their threads.
    running: Vec<(u32, Vec<usize>)>,
    retiring: Vec<usize>,
    number: u64,
    next_pid: u32,
}

/// The events of an interval: how many VMs start, which of the running ones end, and samples of all.
#[derive(Clone, Debug)]
struct Step {
    starts: usize,
    ends: Vec<usize>,
    samples: Vec<(u32, u64)>,
}

impl Reader {
    fn interval(&mut self, step: &Step) -> Interval {
        self.number += 1;
        let start_ns = self.number * 1_000_000;
        let end_ns = start_ns + 1_000_000;
        let mut interval = Interval { number: self.number, start_ns, end_ns, ..Interval::default() };
        interval.known = MeasuredParts::of(&Part::ALL);
        self.retiring.drain(..).for_each(|thread| self.threads.retire(thread));
        for _ in 0..step.starts {
            self.next_pid += 1;
            let pid = self.next_pid;
            let thread = |vcpu| Thread {
                pid,
                tid: 10 * pid + vcpu,
                vcpu: Some(vcpu),
                vm: format!("vm {pid}"),
                ..Thread::default()
            };
            let places = (0..=pid % 3).map(|vcpu| self.threads.add(thread(vcpu))).collect();
            self.running.push((pid, places));
        }
        for (_, places) in &self.running {
            for &thread in places {
                for &(code, ns) in &step.samples {
                    cell(&mut interval, thread, code, 0, ns);
                    cell(&mut interval, thread, code, subkey::new(subkey::kind::USER_EXIT, 2), ns / 2);
                }
                let account = Account { elapsed_ns: 1_000_000, guest_ns: 900_000, ..Account::default() };
                interval.vcpus.push(VcpuAccount { thread, account });
            }
        }
        interval.losses.add(Loss::UnpairedExits, 1);
        for end in &step.ends {
            if !self.running.is_empty() {
                let (_, places) = self.running.remove(end % self.running.len());
                interval.ended.extend(&places);
                self.retiring.extend(places);
            }
        }
        if let Some((_, places)) = self.running.first() {
            let exit = OpenExit { thread: places[0], isa: Isa::SVM, code: 0x72, age_ns: 7 };
            interval.open.push(exit);
        }
        interval
    }
}

fn cell(interval: &mut Interval, thread: usize, code: u32, subkey: u64, ns: u64) {
    let buckets = interval.buckets.add_pairs(&[(bucket_of(ns) as u16, 1)]);
    let mut parts = Parts::default();
    if subkey == 0 {
        parts.add(Part::Kernel, ns);
    }
    let isa = Isa::SVM;
    let (sum_ns, min_ns, max_ns) = (ns, ns, ns);
    interval.cells.push(Cell { thread, isa, code, subkey, count: 1, sum_ns, min_ns, max_ns, parts, buckets });
}

/// All that is said of rows that are not by VM.
fn sums(store: &Store, by: GroupBy) -> String {
    let mut rows = Rows::new(by);
    rows.of_store(store);
    let told: Vec<_> = rows.all().map(|row| (row.reason, row.cause, &row.stats, row.parts)).collect();
    let mut account = Account::default();
    let mut vcpus = 0;
    rows.vms().for_each(|vm| {
        account.merge(&vm.account);
        vcpus += vm.vcpus;
    });
    let open = rows.open.len();
    format!("{told:?} {:?} {:?} {account:?} {vcpus} {open} {}", rows.totals(), rows.losses, rows.elapsed_ns)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let samples =
        prop::collection::vec((prop::sample::select(vec![0x72u32, 0x78, 0x7b]), 1u64..1 << 40), 0..4);
    let step = (0usize..4, prop::collection::vec(any::<usize>(), 0..4), samples);
    let step = step.prop_map(|(starts, ends, samples)| Step { starts, ends, samples });
    prop::collection::vec(step, 1..30)
}

proptest! {
    /// However few VMs are kept after their end, sums, causes, accounts and losses are the same.
    #[test]
    fn folding_loses_nothing(steps in steps(), keep in 0usize..4) {
        let (mut reader, mut whole, mut folding) = (Reader::default(), Store::keeping(usize::MAX), Store::keeping(keep));
        for step in &steps {
            let interval = reader.interval(step);
            whole.add(interval.with(&reader.threads));
            folding.add(interval.with(&reader.threads));
        }
        for by in ["reason", "part"] {
            let by: GroupBy = by.parse().unwrap();
            prop_assert_eq!(sums(&whole, by), sums(&folding, by));
        }
        // Rows by VM: those that are kept are the same, and the others add up to the row of the ended.
        let by: GroupBy = "vm".parse().unwrap();
        let (mut all, mut some) = (Rows::new(by), Rows::new(by));
        all.of_store(&whole);
        some.of_store(&folding);
        let named = |rows: &Rows| rows.vms().map(|vm| (vm.vm.clone(), vm.account)).collect::<Vec<_>>();
        let (all, kept) = (named(&all), named(&some));
        for (vm, account) in kept.iter().filter(|(vm, _)| vm.pid.is_some()) {
            prop_assert!(all.contains(&(vm.clone(), *account)));
        }
        let row = some.vms().find(|vm| vm.vm.pid.is_none());
        prop_assert_eq!(row.map_or(0, |vm| vm.ended), folding.folded());
        let apart = kept.iter().filter(|(vm, _)| vm.pid.is_some()).count() as u64;
        prop_assert_eq!(apart + folding.folded(), all.len() as u64);
        // What one vCPU number did stays told apart.
        let selection = Selection { vcpus: vec![0], ..Selection::default() };
        let of_vcpu = |store: &Store| {
            let mut rows = Rows::new(GroupBy::REASON).with_selection(selection.clone());
            rows.of_store(store);
            rows.totals()
        };
        prop_assert_eq!(of_vcpu(&whole), of_vcpu(&folding));
    }

    /// The rows of a store are those of its intervals; vCPUs of one VM come in the order in which a
    /// place was found for them, which differs once places were used again.
    #[test]
    fn rows_of_one_interval_are_those_of_a_store_that_has_it(steps in steps()) {
        let mut reader = Reader::default();
        let mut reused = Rows::new("vcpu,reason".parse().unwrap());
        for step in &steps {
            let interval = reader.interval(step);
            let mut store = Store::default();
            store.add(interval.with(&reader.threads));
            let mut of_store = Rows::new(reused.by());
            of_store.of_store(&store);
            reused.of_interval(interval.with(&reader.threads));
            let told = |rows: &Rows| {
                let row = |row: &crate::model::Row| format!("{:?} {:?} {:?} {:?}", row.place, row.reason, row.cause, row.stats);
                rows.all().map(row).collect::<std::collections::BTreeSet<_>>()
            };
            prop_assert!(told(&reused) == told(&of_store));
            prop_assert_eq!(reused.totals(), of_store.totals());
        }
    }
}

/// A VM in each interval, for days: threads, cells and what leads to them stay as many as at the beginning.
#[test]
fn memory_goes_with_the_vms_that_run() {
    let (mut reader, mut store) = (Reader::default(), Store::default());
    let step = Step { starts: 1, ends: vec![0], samples: vec![(0x72, 700), (0x78, 90_000)] };
    let mut sizes = Vec::new();
    for number in 0..3_000u64 {
        let interval = reader.interval(&step);
        store.add(interval.with(&reader.threads));
        if number % 1_000 == 500 {
            sizes.push((
                store.held(),
                store.cells.capacity(),
                store.threads.capacity(),
                store.vms.len(),
                store.thread_of.len(),
                reader.threads.list.len(),
            ));
        }
    }
    // One VM more or less has one vCPU more or less.
    let ((threads, cells), ..) = sizes[0];
    assert!(threads < 3 * (ENDED_KEPT + 2) && cells < 4 * 3 * (ENDED_KEPT + 2), "{sizes:?}");
    assert!(sizes.windows(2).all(|pair| pair[0].1 == pair[1].1 && pair[0].5 == pair[1].5), "{sizes:?}");
    assert_eq!(store.folded(), 3_000 - ENDED_KEPT as u64);
    assert_eq!(store.seen().vms, 3_000);
}

/// A VM that got a new thread after its last one had ended is one VM, and running.
#[test]
fn a_vm_comes_back() {
    let thread = |tid| Thread { pid: 1, tid, vm: "a".into(), ..Thread::default() };
    let mut threads = Threads::default();
    let mut store = Store::keeping(0);
    let first = threads.add(thread(11));
    let mut interval = Interval { number: 1, ..Interval::default() };
    cell(&mut interval, first, 0x72, 0, 500);
    interval.ended.push(first);
    let second = threads.add(thread(12));
    store.add(interval.with(&threads));
    assert_eq!(store.folded(), 0, "its second thread runs");
    let mut interval = Interval { number: 2, ended: vec![second], ..Interval::default() };
    cell(&mut interval, second, 0x72, 0, 600);
    store.add(interval.with(&threads));
    assert_eq!((store.folded(), store.held().0), (1, 1));
}
