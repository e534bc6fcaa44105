//! When a VM as a whole stood still: QEMU's `stop`, the last step of a migration, the freezer.
//!
//! Nothing tells of it but the vCPUs. A signal makes KVM_RUN of each return (KVM_EXIT_INTR), and its thread
//! sleeps in the VMM. One vCPU that does so waits for something, a lock of the VMM for instance; if all do so
//! at a time, the VM is stopped. That time is the intersection of their stays.
//!
//! Each vCPU keeps its stay ready, in [`crate::abi::Breakdown::stay`]: the verifier follows the walk over all
//! of them step by step, so a step reads two numbers and decides nothing.

use crate::{breakdown::Sleep, codegen::min_max, tables::Tables};

/// Sleeps shorter than this are never taken for a pause: a vCPU is kicked, and finds a lock taken, often.
pub const SHORTEST_NS: u64 = 1_000_000;
/// Most vCPUs of a process that are looked at. A process with more is never taken to be paused.
pub const MOST: u32 = 128;

/// Later than every time.
pub const LATER_NS: u64 = u64::MAX >> 1;

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    /// When it began.
    pub from_ns: u64,
    /// When it ended.
    pub until_ns: u64,
}

impl Span {
    /// All time.
    pub const ALWAYS: Self = Self { from_ns: 0, until_ns: LATER_NS };
    /// No time.
    pub const NEVER: Self = Self { from_ns: 0, until_ns: 0 };

    /// How long it is; 0 if it ends before it begins.
    #[inline(always)]
    pub const fn ns(self) -> u64 {
        self.until_ns.saturating_sub(self.from_ns)
    }

    /// Whether it has no end yet.
    pub const fn goes_on(self) -> bool {
        self.until_ns == LATER_NS
    }

    /// The stretch that both have in common.
    #[inline(always)]
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (_, from_ns) = min_max(self.from_ns, other.from_ns);
        let (until_ns, _) = min_max(self.until_ns, other.until_ns);
        Self { from_ns, until_ns }
    }
}

/// How much of a sleep in the VMM was a pause of the whole VM. Nothing if its vCPUs are not known yet.
#[inline(always)]
pub fn paused_ns<T: Tables>(tables: &mut T, entry: T::Entry, sleep: Sleep) -> u64 {
    let Sleep { from_ns, until_ns, most_ns } = sleep;
    let mut paused = Span { from_ns, until_ns };
    let first = T::index(entry);
    let mut next = tables.vcpu(entry).sibling;
    for _ in 0..MOST {
        if next == first {
            return paused.ns().min(most_ns);
        }
        let Some(other) = tables.entry_at(next) else { return 0 };
        let vcpu = tables.vcpu(other);
        paused = paused.and(vcpu.breakdown.stay);
        next = vcpu.sibling;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spans_have_in_common() {
        let span = |from_ns, until_ns| Span { from_ns, until_ns };
        assert_eq!(span(5, 9).and(span(7, 20)), span(7, 9));
        assert_eq!(span(5, 9).and(Span::ALWAYS), span(5, 9));
        assert_eq!(span(5, 9).and(Span::NEVER).ns(), 0);
        assert!(Span::ALWAYS.and(span(3, Span::ALWAYS.until_ns)).goes_on());
    }
}
