//! KVM's own counters beside the latencies: what was read of them within an interval, and the newest of all.
//!
//! A counter counts since its VM began, so a reading has two numbers: the value, and for those that only grow
//! how much it has grown since the reading before. The readings of an interval may be older than its end by
//! moments, and on a host with many VMs not every VM is read in every interval. So each reading tells the
//! time between the two.

use std::sync::Arc;

use crate::decode::counters::{Kind, Unit};

/// Which counter of which VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterId {
    /// Name of the VM: the guest's name, else that of the process.
    pub vm: String,
    /// The VM's process.
    pub pid: u32,
    /// The number of the VM's descriptor in its process, where it is known: a process may have several VMs.
    pub vm_fd: Option<u32>,
    /// The vCPU; [`None`] if the number is the VM's own or the sum of all its vCPUs.
    pub vcpu: Option<u32>,
    /// KVM's name of it.
    pub name: String,
    /// How it behaves.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// Width of the buckets of a linear histogram.
    pub bucket_size: u32,
}

impl CounterId {
    /// Bytes of memory that it takes, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.vm.len() + self.name.len()
    }
}

/// A reading of a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Which one.
    pub id: Arc<CounterId>,
    /// The number; [`None`] if there is not one number, or if it could not be read.
    pub value: Option<i128>,
    /// How much it has grown since the reading before; [`None`] if there was none, if it was set to zero in
    /// between, or if it is of a kind that does not only grow.
    pub delta: Option<u64>,
    /// Time since the reading before, or the sum of such times; 0 if there was none.
    pub over_ns: u64,
    /// The buckets of a histogram, since the VM began; empty if they could not be read.
    pub buckets: Vec<u64>,
}

impl Counter {
    /// Growth per second.
    pub fn per_second(&self) -> Option<f64> {
        let delta = self.delta.filter(|_| self.over_ns != 0)?;
        Some(delta as f64 * 1e9 / self.over_ns as f64)
    }

    /// Bytes of memory that it takes, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.buckets.as_slice())
    }
}
