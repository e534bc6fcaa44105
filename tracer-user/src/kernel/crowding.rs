//! Tables that refused places: which VMs hold the places, and which VMs lost samples.

use std::collections::HashMap;

use tracer_ebpf::abi::{HELD, Held};

use crate::{
    kernel::mapped::Mapped,
    model::crowded::{self, Crowded, Share, Table},
};

/// What was refused since the last reading.
#[derive(Debug, Default)]
pub struct Crowding {
    /// Refused entries by place of the array, as they were read last.
    refused: Vec<u64>,
    hit: [Vec<Share>; 2],
}

impl Crowding {
    /// Notes the samples that a VM lost to a table, or the exits of its threads without an entry.
    pub fn lost(&mut self, table: Table, share: &Share) {
        crowded::add(&mut self.hit[table as usize], share);
    }

    /// The processes whose threads were refused an entry, with the exits lost by each; only those that lost
    /// most.
    pub fn refused(&mut self, held: &Mapped<Held>) -> Vec<(u32, u64)> {
        self.refused.resize(HELD - 1, 0);
        let mut gained = Vec::new();
        for (index, before) in self.refused.iter_mut().enumerate() {
            let now = held.copy(index);
            if now.refused != *before {
                gained.push((now.refused_pid, now.refused.wrapping_sub(*before)));
                *before = now.refused;
            }
        }
        // Naming a process means looking into it, so few are kept.
        gained.sort_unstable_by_key(|(_, lost)| std::cmp::Reverse(*lost));
        gained.truncate(crowded::KEPT);
        gained
    }

    /// Takes the tables that refused something since the last call. `held` gives a table's number of places,
    /// and who holds those that are taken.
    pub fn take(&mut self, mut held: impl FnMut(Table) -> (u64, Vec<Share>)) -> Vec<Crowded> {
        let mut all = Vec::new();
        for table in [Table::Vcpus, Table::Slots] {
            let hit = std::mem::take(&mut self.hit[table as usize]);
            if hit.is_empty() {
                continue;
            }
            let (places, holders) = held(table);
            if let Some(holder) = holders.into_iter().max_by_key(|share| share.count) {
                all.push(Crowded { table, places, holder, hit });
            }
        }
        all
    }
}

/// Shares by process, of the name and process of each place.
pub fn shares<'a>(places: impl Iterator<Item = (&'a str, u32)>) -> Vec<Share> {
    let mut by_pid: HashMap<u32, Share> = HashMap::new();
    for (vm, pid) in places {
        by_pid.entry(pid).or_insert_with(|| Share::new(vm, pid, 0)).count += 1;
    }
    by_pid.into_values().collect()
}
