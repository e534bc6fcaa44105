//! Counts of KVM's and ours that should be the same and are not.

use std::fmt;

/// A difference that does not go away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The process.
    pub pid: u32,
    /// Name of its VM.
    pub vm: String,
    /// KVM's counter.
    pub counter: &'static str,
    /// Growth of our count since the base.
    pub ours: u64,
    /// The least that KVM's has grown.
    pub kvm_low: u64,
    /// The most that KVM's has grown.
    pub kvm_high: u64,
    /// Samples that are known to be lost since the base, of all VMs.
    pub lost: u64,
    /// Exits that may have been under way.
    pub slack: u64,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counter, ours, kvm_low, kvm_high, lost, .. } = self;
        write!(
            f,
            "KVM's {counter} grew by {kvm_low} to {kvm_high} since the first reading, and exitlat counted {ours}; \
            {lost} are known to be lost"
        )
    }
}
