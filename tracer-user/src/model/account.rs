//! Where the time of vCPU threads went: one type for a thread, a VM, a host.

use tracer_ebpf::part::Part;

use crate::model::{MeasuredParts, Parts};

/// Where time went: in the guest, in parts of exits, and the rest that is unaccounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Wall time, of all threads together.
    pub elapsed_ns: u64,
    /// Running in the guest.
    pub guest_ns: u64,
    /// Everything else that is known.
    pub parts: Parts,
    /// The parts that were measured all the time.
    pub measured: MeasuredParts,
}

/// The neutral element of [`Account::merge`]: no time, in which no part was missed.
impl Default for Account {
    fn default() -> Self {
        Self { elapsed_ns: 0, guest_ns: 0, parts: Parts::default(), measured: MeasuredParts::of(&Part::ALL) }
    }
}

impl Account {
    /// Adds another account.
    pub fn merge(&mut self, other: &Self) {
        self.elapsed_ns = self.elapsed_ns.saturating_add(other.elapsed_ns);
        self.guest_ns = self.guest_ns.saturating_add(other.guest_ns);
        self.parts.merge(&other.parts);
        self.measured = self.measured.and(other.measured);
    }

    /// Time outside the guest that was not idle.
    pub fn overhead_ns(&self) -> u64 {
        self.parts.total_ns().saturating_sub(self.parts.get(Part::Halt))
    }

    /// Elapsed time in neither guest nor parts: it was lost with unpaired events.
    pub fn unaccounted_ns(&self) -> u64 {
        self.elapsed_ns.saturating_sub(self.guest_ns).saturating_sub(self.parts.total_ns())
    }

    /// The time of one part, if it was measured.
    pub fn part_ns(&self, part: Part) -> Option<u64> {
        self.measured.has(part).then(|| self.parts.get(part))
    }
}

/// The account of one vCPU thread between two readings, open exits included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VcpuAccount {
    /// Index into [`Threads::list`](crate::model::Threads::list).
    pub thread: usize,
    /// From its first event, or the reading before, to this reading, or its death.
    pub account: Account,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_one_side_did_not_measure_is_unknown_in_the_sum() {
        let mut parts = Parts::default();
        parts.add(Part::Kernel, 30);
        parts.add(Part::Halt, 20);
        let one = Account { elapsed_ns: 100, guest_ns: 40, parts, ..Account::default() };
        let mut sum = Account::default();
        sum.merge(&one);
        assert_eq!((sum.overhead_ns(), sum.unaccounted_ns(), sum.part_ns(Part::Halt)), (30, 10, Some(20)));
        sum.merge(&Account { measured: MeasuredParts::of(&[Part::Kernel]), ..one });
        assert_eq!(
            (sum.elapsed_ns, sum.part_ns(Part::Kernel), sum.part_ns(Part::Halt)),
            (200, Some(60), None)
        );
    }
}
