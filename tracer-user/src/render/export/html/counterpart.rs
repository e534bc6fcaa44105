//! Which row of one recording is which of another.

use std::collections::HashMap;

use crate::{
    decode::Isa,
    model::{Group, Groups},
};

/// What stays the same from recording to recording: names and vCPU numbers do, pids do not.
type Key<'a> = (Option<&'a str>, Option<Option<u32>>, Option<(Isa, u32)>, bool);

fn key(group: &Group) -> Key<'_> {
    let vcpu = group.thread.as_ref().map(|thread| thread.vcpu);
    (group.vm.as_deref(), vcpu, group.key.reason, group.key.idle)
}

/// The rows of a recording, to be found by those of another.
#[derive(Debug, Default)]
pub(super) struct Counterparts<'a>(HashMap<Key<'a>, Vec<&'a Group>>);

impl<'a> Counterparts<'a> {
    /// The exits of these groups.
    pub(super) fn of(groups: &'a Groups) -> Self {
        let mut rows: HashMap<_, Vec<_>> = HashMap::new();
        groups.exits().for_each(|group| rows.entry(key(group)).or_default().push(group));
        Self(rows)
    }

    /// The row that is meant: of several VMs with the same name the one with the same pid, else none.
    pub(super) fn find(&self, group: &Group) -> Option<&'a Group> {
        match self.0.get(&key(group))?.as_slice() {
            [only] => Some(only),
            several => several.iter().find(|other| other.key.pid == group.key.pid).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::histogram::bucket_of;

    use super::*;
    use crate::model::{By, Cell, Interval, Parts, Roster, Selection, Thread};

    fn groups(vms: &[(u32, &str)]) -> Groups {
        let threads = vms.iter().map(|(pid, vm)| Thread {
            pid: *pid,
            tid: *pid,
            vcpu: Some(0),
            vm: (*vm).to_owned(),
            host: None,
        });
        let roster = Roster { threads: threads.collect() };
        let cell = |thread| Cell {
            thread,
            isa: Isa::SVM,
            code: 0x72,
            detail: 0,
            count: 1,
            sum_ns: 5,
            min_ns: 5,
            max_ns: 5,
            parts: Parts::default(),
            buckets: 0..1,
        };
        let cells = (0..vms.len()).map(cell).collect();
        let interval = Interval { cells, buckets: vec![(bucket_of(5) as u16, 1)], ..Interval::default() };
        let mut groups = Groups::new(By { vm: true, ..By::REASON });
        groups.add(&interval, &roster, &Selection::default());
        groups
    }

    #[test]
    fn a_vm_that_was_started_anew_is_the_same() {
        let (before, after) =
            (groups(&[(1, "web"), (2, "twin"), (3, "twin")]), groups(&[(7, "web"), (3, "twin"), (9, "new")]));
        let before = Counterparts::of(&before);
        let found: Vec<_> =
            after.exits().map(|group| before.find(group).and_then(|other| other.key.pid)).collect();
        assert_eq!(found, [Some(3), Some(1), None]);
    }
}
