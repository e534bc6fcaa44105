//! Cells summed up by everything that tells them apart, causes and parts included: what is exported.
//!
//! [`Rows`](crate::model::Rows) is for tables. Groups keep what describes the same time twice apart: the exits
//! of a reason are one group, and each cause below it is one of its own.

use std::collections::BTreeMap;

use tracer_ebpf::part::Part;

use crate::{
    decode::{Isa, decode},
    model::{Cell, GroupBy, Interval, Parts, Selection, Stats, Thread, Threads, kinds},
};

/// What tells groups apart, and their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Time in which the guest had nothing to do, of a dump that does not take it off the exit.
    pub idle: bool,
    /// The host, where groups are by host, or by VM and hosts are told apart: the same pid on two hosts is two VMs.
    pub host: Option<String>,
    /// The VM's process and name, where groups are by VM. A pid may come to be another VM's.
    pub vm: Option<(u32, String)>,
    /// Index of the thread, where groups are by vCPU.
    pub thread: Option<usize>,
    /// The reason, where groups are by reason and the kind has one.
    pub reason: Option<(Isa, u32)>,
    /// The cause; [`None`] for the exits themselves.
    pub cause: Option<u64>,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// What is common to its samples.
    pub key: Key,
    /// The thread, where groups are by vCPU.
    pub thread: Option<Thread>,
    /// The samples.
    pub stats: Stats,
    /// What their time consists of; idle time included, which is not in the samples.
    pub parts: Parts,
}

impl Group {
    /// The reason as it is printed; "" where there is none.
    pub fn reason_label(&self) -> String {
        self.key.reason.map(|(isa, code)| decode(isa, code).to_string()).unwrap_or_default()
    }

    /// The cause below the reason as it is printed; "" for the exits themselves.
    pub fn cause_label(&self) -> String {
        let isa = self.key.reason.map_or(Isa(0), |(isa, _)| isa);
        self.key.cause.map(|cause| kinds::label(isa, cause)).unwrap_or_default()
    }

    /// The VM as tables print it: name and pid.
    pub fn vm_label(&self) -> String {
        self.key.vm.as_ref().map_or_else(String::new, |(pid, vm)| format!("{vm}[{pid}]"))
    }

    /// The words that tell it from the others: host, VM, vCPU, reason, as far as groups are by them.
    pub fn labels(&self) -> Vec<String> {
        let host = self.key.host.clone();
        let vm = self.key.vm.is_some().then(|| self.vm_label());
        let vcpu = self.thread.as_ref().map(|thread| match thread.vcpu {
            Some(vcpu) => format!("vcpu{vcpu}"),
            None => format!("tid{}", thread.tid),
        });
        let reason = self.key.reason.is_some().then(|| self.reason_label());
        [host, vm, vcpu, reason].into_iter().flatten().collect()
    }
}

/// The groups of any number of intervals.
#[derive(Debug)]
pub struct Groups {
    by: GroupBy,
    groups: BTreeMap<Key, Group>,
    /// Samples whose code is in no table.
    pub unknown: u64,
}

impl Groups {
    /// No groups yet.
    pub fn new(by: GroupBy) -> Self {
        Self { by, groups: BTreeMap::new(), unknown: 0 }
    }

    /// How they are told apart.
    pub fn by(&self) -> GroupBy {
        self.by
    }

    /// Forgets all groups.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.unknown = 0;
    }

    /// Adds the selected cells of an interval.
    pub fn add(&mut self, interval: &Interval, threads: &Threads, selection: &Selection) {
        // Where sleep is a part of its own, it is in no exit's handled time.
        let split = interval.known.has(Part::Halt);
        for cell in &interval.cells {
            let thread = &threads.list[cell.thread];
            let wanted = if of_reason(cell) {
                selection.wants_reason(cell.isa, cell.code)
            } else {
                selection.fields.is_none()
            };
            if wanted && selection.wants_thread(thread) {
                self.add_cell(cell, interval.buckets_of(cell), thread, split);
            }
        }
    }

    fn add_cell(&mut self, cell: &Cell, buckets: &[(u16, u32)], thread: &Thread, split: bool) {
        let decoded = decode(cell.isa, cell.code);
        let exit = kinds::is_exit(cell.subkey);
        if exit && !decoded.known {
            self.unknown = self.unknown.saturating_add(cell.count);
        }
        let key = Key {
            idle: exit && decoded.idle && !split,
            host: thread.host.clone().filter(|_| self.by.host || self.by.vm),
            vm: self.by.vm.then(|| (thread.pid, thread.vm.clone())),
            thread: self.by.vcpu.then_some(cell.thread),
            reason: (self.by.reason && of_reason(cell)).then_some((cell.isa, cell.code)),
            cause: (!exit).then_some(cell.subkey),
        };
        let group = self.groups.entry(key).or_insert_with_key(|key| Group {
            key: key.clone(),
            thread: key.thread.map(|_| thread.clone()),
            stats: Stats::default(),
            parts: Parts::default(),
        });
        group.stats.add(cell.count, cell.sum_ns, cell.min_ns, cell.max_ns, buckets);
        group.parts.merge(&cell.parts);
    }

    /// All groups, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// The groups that are exits of a reason: no time twice.
    pub fn exits(&self) -> impl Iterator<Item = &Group> {
        self.iter().filter(|group| group.key.cause.is_none())
    }
}

/// Whether a cell belongs to a reason; time in the guest does not.
fn of_reason(cell: &Cell) -> bool {
    kinds::of(cell.subkey).is_none_or(|info| info.reason)
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::{
        histogram::bucket_of,
        subkey::{kind, new},
    };

    use super::*;
    use crate::model::MeasuredParts;

    fn interval(cells: &[(u64, u64)]) -> (Interval, Threads) {
        let mut interval = Interval { known: MeasuredParts::of(&Part::ALL), ..Interval::default() };
        for (index, (subkey, ns)) in cells.iter().enumerate() {
            let mut parts = Parts::default();
            parts.add(Part::Kernel, *ns);
            interval.buckets.push((bucket_of(*ns) as u16, 1));
            interval.cells.push(Cell {
                thread: 0,
                isa: Isa::SVM,
                code: 0x78,
                subkey: *subkey,
                count: 1,
                sum_ns: *ns,
                min_ns: *ns,
                max_ns: *ns,
                parts,
                buckets: index..index + 1,
            });
        }
        let threads = vec![Thread { pid: 1, tid: 2, vcpu: Some(0), vm: "a".into(), host: None }];
        (interval, Threads { list: threads })
    }

    /// What describes the same exits twice is in groups of its own.
    #[test]
    fn no_time_is_counted_twice() {
        let (interval, threads) = interval(&[
            (new(kind::PLAIN, 0), 100),
            (new(kind::HALTED, 0), 200),
            (new(kind::WHOLE, 0), 5000),
            (new(kind::GUEST, 0), 7000),
            (new(kind::USER_EXIT, 2), 50),
        ]);
        let mut groups = Groups::new(GroupBy::REASON);
        groups.add(&interval, &threads, &Selection::default());
        let exits: Vec<_> = groups.exits().map(|group| (group.stats.count, group.stats.sum_ns)).collect();
        assert_eq!(exits, [(2, 300)]);
        assert_eq!(groups.exits().next().unwrap().parts.get(Part::Kernel), 300);
        let causes: Vec<_> = groups
            .iter()
            .filter_map(|group| {
                group.key.cause.map(|cause| (kinds::id(cause), group.reason_label(), group.stats.sum_ns))
            })
            .collect();
        let cause = |id: &str, reason: &str, ns| (id.to_owned(), reason.to_owned(), ns);
        assert_eq!(
            causes,
            [cause("guest", "", 7000), cause("whole", "hlt", 5000), cause("user_exit", "hlt", 50)]
        );
        // Who asks for reasons gets none of the guest's time, which has none.
        let fields = Some(regex::Regex::new("").unwrap());
        groups.clear();
        groups.add(&interval, &threads, &Selection { fields, ..Selection::default() });
        assert_eq!(groups.iter().count(), 3);
    }

    #[test]
    fn idle_is_what_was_not_split() {
        let (mut interval, threads) = interval(&[(0, 100)]);
        let mut groups = Groups::new(GroupBy::REASON);
        groups.add(&interval, &threads, &Selection::default());
        assert!(!groups.iter().next().unwrap().key.idle);
        groups.clear();
        interval.known = MeasuredParts::default();
        groups.add(&interval, &threads, &Selection::default());
        assert!(groups.iter().next().unwrap().key.idle);
    }
}
