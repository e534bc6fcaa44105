//! When a VM as a whole stood still: QEMU's `stop`, the last step of a migration, the freezer.
//!
//! Nothing tells of it but the vCPUs. A signal makes KVM_RUN of each return (KVM_EXIT_INTR), and its thread
//! sleeps in the VMM. One vCPU that does so waits for something, a lock of the VMM for instance; if all do so
//! at a time, the VM is stopped. That time is the intersection of their stays.

use crate::{
    abi::Breakdown,
    breakdown::{KVM_EXIT_HLT, Mode, Off, Sleep},
    tables::Tables,
};

/// Sleeps shorter than this are never taken for a pause: a vCPU is kicked, and finds a lock taken, often.
pub const SHORTEST_NS: u64 = 1_000_000;
/// So many vCPUs of a process are looked at. A process with more is never taken to be paused.
pub const MOST: u32 = 256;

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub from_ns: u64,
    /// When it ended.
    pub until_ns: u64,
}

impl Span {
    /// How long it is; 0 if it ends before it begins.
    pub const fn ns(self) -> u64 {
        self.until_ns.saturating_sub(self.from_ns)
    }

    /// What both have in common.
    #[inline(always)]
    pub fn and(self, other: Self) -> Self {
        let from_ns = if self.from_ns > other.from_ns { self.from_ns } else { other.from_ns };
        let until_ns = if self.until_ns < other.until_ns { self.until_ns } else { other.until_ns };
        Self { from_ns, until_ns }
    }
}

/// When this vCPU did not run because a signal took it out of KVM, and it slept. [`None`] of a vCPU that says
/// nothing: its guest waits, in the VMM.
#[inline(always)]
pub fn stay(breakdown: &Breakdown) -> Option<Span> {
    let Breakdown { mode, off, user_reason, kicked_ns, resumed_ns, .. } = *breakdown;
    if mode == Mode::USER && user_reason == KVM_EXIT_HLT && off != Off::RUNNING && off != Off::RUNNABLE {
        return None;
    }
    match (kicked_ns, resumed_ns) {
        // Never.
        (0, _) => Some(Span { from_ns: u64::MAX, until_ns: 0 }),
        (from_ns, 0) => Some(Span { from_ns, until_ns: u64::MAX }),
        (from_ns, until_ns) => Some(Span { from_ns, until_ns }),
    }
}

/// How much of a sleep in the VMM was a pause of the whole VM. Nothing if its vCPUs are not known yet.
#[inline(always)]
pub fn paused_ns<T: Tables>(tables: &mut T, entry: T::Entry, sleep: Sleep) -> u64 {
    let Sleep { from_ns, until_ns, most_ns } = sleep;
    let mut paused = Span { from_ns, until_ns };
    let mut next = tables.vcpu(entry).sibling;
    for _ in 0..MOST {
        let Some(other) = tables.entry_at(next.wrapping_sub(1)) else { return 0 };
        if T::index(other) == T::index(entry) {
            return paused.ns().min(most_ns);
        }
        let vcpu = tables.vcpu(other);
        if let Some(stay) = stay(&vcpu.breakdown) {
            paused = paused.and(stay);
        }
        if paused.ns() == 0 {
            return 0;
        }
        next = vcpu.sibling;
    }
    0
}
