//! The order of rows, and which causes are below which row.

use super::{Key, Rows};
use crate::model::{HostId, VmId};

impl Rows {
    /// Puts the rows in order.
    pub(super) fn end(&mut self) {
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
}
