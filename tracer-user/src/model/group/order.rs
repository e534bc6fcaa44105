//! The order of rows, and which causes are below which row.

use tracer_ebpf::{
    part::Part,
    subkey::{self, kind},
};

use super::{Key, Rows};
use crate::model::{HostId, MeasuredParts, VmId, kinds, row::Row};

impl Rows {
    /// Puts the rows in order.
    pub(super) fn end(&mut self) {
        self.sort();
        if self.by.reason && self.add_uncaused() {
            self.sort();
        }
        let rows = &mut self.rows;
        let folded = |vm: &VmId, folded: &[(HostId, u64)]| {
            let of_host = folded.iter().find(|(host, _)| *host == vm.host && vm.pid.is_none());
            of_host.map_or(0, |(_, count)| *count)
        };
        for at in &self.order {
            let row = &mut rows[*at];
            row.ended = row.place.vm.as_ref().map_or(0, |vm| folded(vm, &self.folded));
        }
        for vm in &mut self.vms {
            vm.ended = folded(&vm.vm, &self.folded);
        }
        let vms = &self.vms;
        self.vm_order.sort_unstable_by(|a, b| vms[*a].vm.cmp(&vms[*b].vm));
    }

    fn sort(&mut self) {
        let (keys, ranks, rows) = (&self.keys, &self.ranks, &mut self.rows);
        self.order.sort_unstable_by_key(|at| {
            let Key { idle, place, reason, slice, cause } = keys[*at];
            (idle, ranks[place], reason, slice, cause)
        });
        let mut head = None;
        for (position, at) in self.order.iter().enumerate() {
            rows[*at].rank = position;
            if rows[*at].cause.is_none() {
                head = Some(*at);
                rows[*at].causes = position + 1..position + 1;
            } else if let Some(head) = head {
                let same = |key: Key| Key { cause: None, ..key };
                if same(keys[head]) == same(keys[*at]) {
                    rows[head].causes.end = position + 1;
                }
            }
        }
    }

    /// Adds to each row with causes one for the exits without a cause. Returns whether it added any.
    fn add_uncaused(&mut self) -> bool {
        let sorted = self.order.len();
        for position in 0..sorted {
            let at = self.order[position];
            let row = &self.rows[at];
            let causes = self.order[row.causes.clone()].iter().map(|at| &self.rows[*at]);
            let mut causes = causes.filter(|row| row.cause.is_some_and(kinds::is_cause_of_exit)).peekable();
            if row.cause.is_some() || causes.peek().is_none() {
                continue;
            }
            // Causes have handled time, also where the row has all of it.
            let idle_ns = [Part::Halt, Part::Stopped].map(|part| row.parts.get(part));
            let idle_ns = if self.idle { idle_ns[0].saturating_add(idle_ns[1]) } else { 0 };
            let all = (row.stats.count, row.stats.sum_ns.saturating_sub(idle_ns));
            // Slots are read one after the other: in an interval the causes may be ahead of their row.
            let (count, sum_ns) = causes.fold(all, |(count, sum_ns), Row { stats, .. }| {
                (count.saturating_sub(stats.count), sum_ns.saturating_sub(stats.sum_ns))
            });
            if count != 0 {
                let key = Key { cause: Some(subkey::new(kind::NONE, 0)), ..self.keys[at] };
                let none = self.row(key, MeasuredParts::default());
                // A remainder has no known minimum and maximum.
                none.stats.add(count, sum_ns, u64::MAX, 0, &[]);
            }
        }
        self.order.len() != sorted
    }
}
