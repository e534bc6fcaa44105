//! KVM's own counters of several intervals and VMs: the newest of all, and those that are shown.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::{Counter, CounterId, HostId, Interval, Selection};

/// A VM whose counters are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountedVm {
    /// Where it ran.
    pub host: HostId,
    /// Its name.
    pub vm: String,
    /// Its process.
    pub pid: u32,
    /// Its descriptor in the process.
    pub vm_fd: Option<u32>,
}

impl CountedVm {
    fn of(host: &HostId, id: &CounterId) -> Self {
        let CounterId { vm, pid, vm_fd, .. } = id;
        Self { host: host.clone(), vm: vm.clone(), pid: *pid, vm_fd: *vm_fd }
    }
}

/// A VM is taken for gone if its counters were not read for so long: of a host with thousands of VMs each
/// interval has the counters of some.
const GONE_MS: u64 = 120_000;

#[derive(Clone, Debug, Default)]
struct Newest {
    counters: BTreeMap<Arc<CounterId>, Counter>,
    /// When they were read last.
    seen_ms: u64,
}

/// The newest readings of all counters, with their growth summed up.
#[derive(Clone, Debug, Default)]
pub struct CounterSums {
    vms: BTreeMap<CountedVm, Newest>,
    now_ms: u64,
}

impl CounterSums {
    /// Adds the readings of an interval. Of the VMs that are gone it holds the newest `keep`.
    pub fn add(&mut self, interval: &Interval, keep: usize) {
        self.now_ms = self.now_ms.max(interval.end_unix_ms);
        if interval.counters.is_empty() {
            return;
        }
        let host = HostId::new(interval.host.as_deref());
        // The counters of a VM follow one another.
        for counters in interval.counters.chunk_by(|a, b| same_vm(&a.id, &b.id)) {
            let newest = self.vms.entry(CountedVm::of(&host, &counters[0].id)).or_default();
            newest.seen_ms = interval.end_unix_ms;
            for counter in counters {
                let sum = newest.counters.entry(counter.id.clone()).or_default();
                let delta = match (sum.delta, counter.delta) {
                    (Some(sum), Some(delta)) => Some(sum.saturating_add(delta)),
                    (sum, delta) => delta.or(sum),
                };
                let over_ns = sum.over_ns.saturating_add(counter.delta.map_or(0, |_| counter.over_ns));
                *sum = Counter { delta, over_ns, ..counter.clone() };
            }
        }
        self.forget(keep);
    }

    fn forget(&mut self, keep: usize) {
        let is_gone = |newest: &Newest| newest.seen_ms.saturating_add(GONE_MS) < self.now_ms;
        let count = self.vms.values().filter(|newest| is_gone(newest)).count();
        let Some(surplus) = count.checked_sub(keep).filter(|surplus| *surplus != 0) else { return };
        let gone = self.vms.iter().filter(|(_, newest)| is_gone(newest));
        let mut gone: Vec<_> = gone.map(|(vm, newest)| (newest.seen_ms, vm.clone())).collect();
        gone.sort_unstable();
        for (_, vm) in &gone[..surplus] {
            self.vms.remove(vm);
        }
    }

    /// The newest readings, by host and VM.
    pub fn all(&self) -> impl Iterator<Item = (&HostId, &Counter)> {
        let of = |(vm, newest)| {
            let (vm, newest): (&CountedVm, &Newest) = (vm, newest);
            newest.counters.values().map(move |counter| (&vm.host, counter))
        };
        self.vms.iter().flat_map(of)
    }
}

fn same_vm(a: &CounterId, b: &CounterId) -> bool {
    (a.pid, a.vm_fd, &a.vm) == (b.pid, b.vm_fd, &b.vm)
}

/// The readings that are shown, each with its host.
#[derive(Clone, Debug, Default)]
pub struct Counters(Vec<(HostId, Counter)>);

impl Counters {
    /// Those of an interval.
    pub fn of_interval(&mut self, interval: &Interval, selection: &Selection) {
        self.0.clear();
        let host = HostId::new(interval.host.as_deref());
        let wanted = interval.counters.iter().filter(|counter| selection.wants_counter(&host, &counter.id));
        self.0.extend(wanted.map(|counter| (host.clone(), counter.clone())));
    }

    /// The newest of a store's intervals.
    pub fn of_sums(&mut self, sums: &CounterSums, selection: &Selection) {
        self.0.clear();
        let wanted = sums.all().filter(|(host, counter)| {
            selection.wants_host(host.name()) && selection.wants_counter(host, &counter.id)
        });
        self.0.extend(wanted.map(|(host, counter)| (host.clone(), counter.clone())));
    }

    /// All of them, those of a VM in a row.
    pub fn iter(&self) -> impl Iterator<Item = &(HostId, Counter)> {
        self.0.iter()
    }

    /// VM by VM.
    pub fn by_vm(&self) -> impl Iterator<Item = &[(HostId, Counter)]> {
        self.0.chunk_by(|a, b| a.0 == b.0 && same_vm(&a.1.id, &b.1.id))
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::counters::Kind;

    fn counter(pid: u32, name: &str, value: i128, delta: Option<u64>) -> Counter {
        let id = CounterId { pid, name: name.into(), kind: Kind::Cumulative, ..CounterId::default() };
        let over_ns = delta.map_or(0, |_| 500_000_000);
        Counter { id: Arc::new(id), value: Some(value), delta, over_ns, buckets: Vec::new() }
    }

    fn interval(counters: Vec<Counter>) -> Interval {
        Interval { counters, ..Interval::default() }
    }

    #[test]
    fn the_newest_value_stands_beside_all_growth() {
        let mut sums = CounterSums::default();
        sums.add(&interval(vec![counter(1, "exits", 100, None)]), 0);
        // Somebody set it to zero after the third.
        for (value, delta) in [(130, Some(30)), (150, Some(20)), (5, None), (7, Some(2))] {
            sums.add(&interval(vec![counter(1, "exits", value, delta)]), 0);
        }
        let found: Vec<_> =
            sums.all().map(|(_, it)| (it.value, it.delta, it.over_ns, it.per_second())).collect();
        assert_eq!(found, [(Some(7), Some(52), 1_500_000_000, Some(52.0 / 1.5))]);
    }

    #[test]
    fn vms_that_are_gone_are_forgotten_but_for_the_newest() {
        const EACH_MS: u64 = 2000;
        let pids = |keep: usize| {
            let mut sums = CounterSums::default();
            for pid in 1..=200 {
                let both = vec![counter(1000, "exits", 1, None), counter(pid, "exits", 1, None)];
                let end_unix_ms = u64::from(pid) * EACH_MS;
                sums.add(&Interval { end_unix_ms, ..interval(both) }, keep);
            }
            sums.all().map(|(_, it)| it.id.pid).collect::<Vec<_>>()
        };
        let running = (GONE_MS / EACH_MS) as u32 + 1;
        assert_eq!(pids(0), (201 - running..=200).chain([1000]).collect::<Vec<_>>());
        assert_eq!(pids(10), (191 - running..=200).chain([1000]).collect::<Vec<_>>());
        assert_eq!(pids(usize::MAX).len(), 201);
    }

    #[test]
    fn a_selection_chooses_counters_by_vm_vcpu_and_name() {
        let of_vcpu = |vcpu| {
            let id =
                CounterId { vcpu, name: "exits".into(), vm: "web".into(), pid: 7, ..CounterId::default() };
            Counter { id: Arc::new(id), ..Counter::default() }
        };
        let all =
            interval(vec![of_vcpu(None), of_vcpu(Some(0)), of_vcpu(Some(1)), counter(8, "halt", 1, None)]);
        let count = |selection: Selection| {
            let mut counters = Counters::default();
            counters.of_interval(&all, &selection);
            (counters.iter().count(), counters.by_vm().count())
        };
        let fields = |text: &str| regex::Regex::new(text).ok();
        assert_eq!(count(Selection::default()), (4, 2));
        assert_eq!(count(Selection { fields: fields("^exits$"), ..Selection::default() }), (3, 1));
        assert_eq!(count(Selection { pids: vec![8], ..Selection::default() }), (1, 1));
        // What counts for the whole VM stays.
        assert_eq!(count(Selection { vcpus: vec![1], ..Selection::default() }), (3, 2));
        let guests = vec!["w*".parse().unwrap()];
        assert_eq!(count(Selection { guests, ..Selection::default() }), (3, 1));
    }
}
