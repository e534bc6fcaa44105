//! What a store tells of itself.

use super::{CellRef, Coverage, Store, StoredThread, Sum};
use crate::model::{
    CounterSums, Crowded, Disagreement,
    threads::{Revision, Seen, Unseen},
};

impl Store {
    /// How many intervals there were.
    pub fn intervals(&self) -> u64 {
        self.intervals
    }

    /// How many VMs were folded into [`ENDED_VMS`](crate::model::ids::ENDED_VMS).
    pub fn folded(&self) -> u64 {
        self.hosts.iter().map(|host| host.folded).sum()
    }

    /// The numbers of threads and cells, which its memory grows with.
    pub fn held(&self) -> (usize, usize) {
        (self.threads.len() - self.free_threads.len(), self.cells.len() - self.free_cells.len())
    }

    /// Tables that refused places.
    pub fn crowded(&self) -> &[Crowded] {
        &self.crowded
    }

    /// Counts of KVM's that ours do not agree with, as of the newest interval.
    pub fn disagreements(&self) -> &[Disagreement] {
        &self.disagreements
    }

    /// The newest readings of KVM's own counters.
    pub fn counters(&self) -> &CounterSums {
        &self.counters
    }

    /// VMs with vCPUs that had no exit yet, as of the newest interval.
    pub fn unseen(&self) -> &[Unseen] {
        &self.unseen
    }

    /// The threads, by index; [`None`] where there is none any more.
    pub(in crate::model) fn threads(&self) -> &[Option<StoredThread>] {
        &self.threads
    }

    /// The revision of the threads: while it is unchanged, every index keeps its meaning.
    pub(in crate::model) fn revision(&self) -> Revision {
        Revision { len: self.threads.len(), replaced: self.replaced }
    }

    pub(in crate::model) fn hosts(&self) -> &[Coverage] {
        &self.hosts
    }

    pub(in crate::model) fn seen(&self) -> Seen {
        self.seen
    }

    pub(in crate::model) fn cells(&self) -> impl Iterator<Item = CellRef<'_>> {
        self.cells.iter().flatten().map(Sum::as_ref)
    }
}
