//! Time by [`Part`]: the one list of parts, with their names and meanings.

use tracer_ebpf::part::Part;

/// One row of the table of parts.
#[derive(Debug)]
pub struct PartInfo {
    /// The part.
    pub part: Part,
    /// Name in machine-readable output.
    pub id: &'static str,
    /// Name of its machine-readable column: the id with the unit.
    pub column: &'static str,
    /// Heading of its column.
    pub title: &'static str,
    /// What the vCPU thread was doing.
    pub meaning: &'static str,
}

/// All parts, in the order of [`Part`].
pub static PARTS: [PartInfo; Part::COUNT] = [
    info(Part::Kernel, "kernel", "kernel_ns", "Kernel", "running in KVM"),
    info(
        Part::Poll,
        "poll",
        "poll_ns",
        "Poll",
        "halt polling: spinning in KVM until the guest has work, or KVM gives up",
    ),
    info(Part::Halt, "halt", "halt_ns", "Idle", "asleep because the guest has nothing to do"),
    info(
        Part::Blocked,
        "blocked",
        "blocked_ns",
        "Blocked",
        "asleep in the kernel for any other cause, memory for instance",
    ),
    info(
        Part::Runqueue,
        "runqueue",
        "runqueue_ns",
        "Runqueue",
        "runnable, waiting for a CPU: the guest's steal time",
    ),
    info(Part::User, "user", "user_ns", "VMM", "running in the VMM"),
    info(
        Part::UserBlocked,
        "user_blocked",
        "user_blocked_ns",
        "VMM asleep",
        "the VMM's vCPU thread is asleep",
    ),
    info(
        Part::Stopped,
        "stopped",
        "stopped_ns",
        "Stopped",
        "the process was stopped, by SIGSTOP or a debugger, or the whole VM was paused",
    ),
];

const fn info(
    part: Part,
    id: &'static str,
    column: &'static str,
    title: &'static str,
    meaning: &'static str,
) -> PartInfo {
    PartInfo { part, id, column, title, meaning }
}

/// Nanoseconds by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts(pub [u64; Part::COUNT]);

impl Parts {
    /// The time of one part.
    pub fn get(&self, part: Part) -> u64 {
        self.0[part as usize]
    }

    /// Adds to one part.
    pub fn add(&mut self, part: Part, ns: u64) {
        let sum = &mut self.0[part as usize];
        *sum = sum.saturating_add(ns);
    }

    /// Adds all parts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// Sum of all parts.
    pub fn total_ns(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, ns| sum.saturating_add(*ns))
    }

    /// The part that this machine-readable name stands for.
    pub fn from_id(id: &str) -> Option<Part> {
        PARTS.iter().find(|info| info.id == id).map(|info| info.part)
    }
}

/// Which parts were measured. Time of unmeasured parts is in [`Part::Kernel`]; unmeasured
/// [`Part::UserBlocked`] is in [`Part::User`] where that is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MeasuredParts(u8);

impl MeasuredParts {
    /// These and no others.
    pub fn of(parts: &[Part]) -> Self {
        parts.iter().fold(Self::default(), |known, part| Self(known.0 | 1 << *part as u8))
    }

    /// Whether this part was measured.
    pub fn has(self, part: Part) -> bool {
        self.0 & 1 << part as u8 != 0
    }

    /// The parts with these machine-readable names; other names are left out.
    pub fn from_ids(ids: &[String]) -> Self {
        let parts: Vec<_> = ids.iter().filter_map(|id| Parts::from_id(id)).collect();
        Self::of(&parts)
    }

    /// Their machine-readable names.
    pub fn ids(self) -> impl Iterator<Item = &'static str> {
        PARTS.iter().filter(move |info| self.has(info.part)).map(|info| info.id)
    }

    /// The parts that are in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, info) in PARTS.iter().enumerate() {
            assert_eq!(info.part as usize, index);
            assert_eq!(info.column, format!("{}_ns", info.id));
            assert_eq!(Part::ALL[index] as usize, index);
            assert_eq!(Parts::from_id(info.id), Some(info.part));
        }
    }

    #[test]
    fn known_parts() {
        let known = MeasuredParts::of(&[Part::Kernel, Part::Halt]);
        assert!(known.has(Part::Halt) && !known.has(Part::Runqueue));
        assert!(!known.and(MeasuredParts::of(&[Part::Kernel])).has(Part::Halt));
    }
}
