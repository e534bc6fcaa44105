//! Finds the row of one recording that corresponds to a row of another.

use std::collections::HashMap;

use crate::{
    decode::Isa,
    model::{HostId, Row, Rows},
};

/// Identifies a row across recordings: names and vCPU numbers stay the same, pids do not.
type Key<'a> = (Option<&'a str>, Option<Option<u32>>, Option<(Isa, u32)>, bool);

fn key(row: &Row) -> Key<'_> {
    let vcpu = row.thread().map(|thread| thread.vcpu);
    let vm = row.vm().map(|vm| &*vm.name);
    (vm, vcpu, row.reason, row.idle)
}

/// Whether both may be the same host. A recording that does not tell hosts apart does not name its host.
pub(super) fn same_host(one: &HostId, other: &HostId) -> bool {
    one.name().is_none() || other.name().is_none() || one == other
}

/// The rows of a recording by what identifies them in another recording.
#[derive(Debug, Default)]
pub(super) struct Counterparts<'a>(HashMap<Key<'a>, Vec<&'a Row>>);

impl<'a> Counterparts<'a> {
    /// The exit rows of a recording.
    pub(super) fn of(all: &'a Rows) -> Self {
        let mut rows: HashMap<_, Vec<_>> = HashMap::new();
        all.exits().for_each(|row| rows.entry(key(row)).or_default().push(row));
        Self(rows)
    }

    /// The row that corresponds to `row`. Of several VMs with the same name it is the one on the same host,
    /// then the one with the same pid; otherwise none.
    pub(super) fn find(&self, row: &Row) -> Option<&'a Row> {
        let rows = self.0.get(&key(row))?.iter().copied();
        let near: Vec<_> = rows.filter(|other| same_host(&other.place.host, &row.place.host)).collect();
        match near.as_slice() {
            [only] => Some(only),
            several => {
                let place = |row: &Row| (row.place.host.clone(), row.place.vm.clone());
                several.iter().find(|other| place(other) == place(row)).copied()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::histogram::bucket_of;

    use super::*;
    use crate::model::{Cell, GroupBy, Interval, PackedBuckets, Thread, Threads};

    fn groups(vms: &[(u32, &str)]) -> Rows {
        groups_on(vms, None)
    }

    /// One VM per host, if hosts are told apart.
    fn groups_on(vms: &[(u32, &str)], host: Option<&str>) -> Rows {
        let threads = vms.iter().map(|(pid, vm)| Thread {
            pid: *pid,
            tid: *pid,
            vcpu: Some(0),
            vm: (*vm).to_owned(),
            host: host.map(|host| format!("{host} {pid}")),
            ..Thread::default()
        });
        let threads: Threads = threads.collect();
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
        let cells = (0..vms.len()).map(cell).collect();
        let interval = Interval { cells, buckets, ..Interval::default() };
        let mut rows = Rows::new(GroupBy { vm: true, ..GroupBy::REASON });
        rows.of_interval(interval.with(&threads));
        rows
    }

    #[test]
    fn a_vm_that_was_started_anew_is_the_same() {
        let (before, after) =
            (groups(&[(1, "web"), (2, "twin"), (3, "twin")]), groups(&[(7, "web"), (3, "twin"), (9, "new")]));
        let before = Counterparts::of(&before);
        let found: Vec<_> =
            after.exits().map(|row| before.find(row).and_then(|other| other.vm()?.pid)).collect();
        assert_eq!(found, [Some(3), Some(1), None]);
    }

    #[test]
    fn vms_of_two_hosts_are_two() {
        let (before, after) = (groups_on(&[(1, "web")], Some("a")), groups_on(&[(1, "web")], Some("b")));
        let after = after.exits().next().unwrap();
        assert!(Counterparts::of(&before).find(after).is_none());
        let unnamed = groups(&[(1, "web")]);
        assert!(Counterparts::of(&unnamed).find(after).is_some());
    }
}
