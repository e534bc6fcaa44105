//! Sizes of the tables: by the vCPUs that are open when tracing starts.

use std::mem::size_of;

use tracer_ebpf::{
    abi::{self, Slot, SlotKey, Tally, Vcpu},
    quota,
};

/// Slots for each open vCPU: some 24 pairs of a reason and a cause, and a quarter more.
const SLOTS_PER_VCPU: usize = 30;
/// No more slots than this without --slots.
pub const MAX_SLOTS: u32 = 1 << 17;
/// No more vCPU threads than this without --max-vcpus.
pub const MAX_VCPUS: u32 = 1 << 13;

/// Capacity of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// (vCPU, reason, cause) triples.
    pub slots: u32,
    /// vCPU threads.
    pub vcpus: u32,
}

impl Sizes {
    /// For a host with this many open vCPUs: twice as many may run at a time.
    pub fn for_open(vcpus: usize) -> Self {
        let within =
            |wanted: usize, least: u32, most: u32| u32::try_from(wanted).unwrap_or(most).clamp(least, most);
        Self {
            slots: within(vcpus.saturating_mul(SLOTS_PER_VCPU), abi::DEFAULT_SLOTS, MAX_SLOTS),
            vcpus: within(vcpus.saturating_mul(2), abi::DEFAULT_VCPUS, MAX_VCPUS),
        }
    }

    /// Says in words which tables are too small for this many open vCPUs.
    pub fn too_small(&self, vcpus: usize) -> Option<String> {
        let wanted = vcpus.saturating_mul(SLOTS_PER_VCPU);
        let slots = (self.slots as usize) < wanted;
        let threads = (self.vcpus as usize) < vcpus;
        let text = match (slots, threads) {
            (false, false) => return None,
            (true, false) => format!("--slots {wanted}"),
            (false, true) => format!("--max-vcpus {}", vcpus.saturating_mul(2)),
            (true, true) => format!("--slots {wanted} --max-vcpus {}", vcpus.saturating_mul(2)),
        };
        Some(format!("{vcpus} vCPUs are open; use {text}, or choose VMs with -g or -p"))
    }

    /// The memory that the kernel takes for them with the usual causes, in bytes: the arrays, and the hash
    /// tables beside them.
    pub fn bytes(&self) -> u64 {
        /// The kernel's own words in an element of a hash table (`struct htab_elem`, kernel/bpf/hashtab.c).
        const ELEMENT: usize = 48;
        let keyed = ELEMENT + size_of::<SlotKey>() + 2 * size_of::<u64>();
        let slot = size_of::<Slot>() + keyed;
        let tally = size_of::<Tally>() + keyed;
        let vcpu = size_of::<Vcpu>() + ELEMENT + 3 * size_of::<u64>();
        let of = |asked: u32, bytes: usize| u64::from(with_reserve(asked)) * bytes as u64;
        of(self.slots, slot) + of(tallies(self.slots, false), tally) + of(self.vcpus, vcpu)
    }
}

/// Capacity of the table of thin records, beside this many slots. With causes whose value a guest chooses it
/// takes a tenth of the slots' memory. Otherwise it holds only causes without a record of their own: few for
/// each reason of a vCPU.
pub fn tallies(slots: u32, chosen_by_guests: bool) -> u32 {
    const FEWEST: u32 = 256;
    let wanted = if chosen_by_guests { slots.saturating_mul(2) } else { slots / 4 };
    wanted.max(FEWEST)
}

/// The elements of an array with this many places: one more, which is nobody's.
pub fn with_nobody(places: u32) -> u32 {
    places.saturating_add(1)
}

/// Places of a table for which `asked` were requested.
pub fn with_reserve(asked: u32) -> u32 {
    asked.saturating_add(quota::reserve(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_grow_with_the_host_and_stay_within_the_limit() {
        assert_eq!(Sizes::for_open(0), Sizes { slots: abi::DEFAULT_SLOTS, vcpus: abi::DEFAULT_VCPUS });
        assert_eq!(Sizes::for_open(100), Sizes { slots: abi::DEFAULT_SLOTS, vcpus: abi::DEFAULT_VCPUS });
        assert_eq!(Sizes::for_open(1500), Sizes { slots: 45_000, vcpus: 3000 });
        assert_eq!(Sizes::for_open(usize::MAX), Sizes { slots: MAX_SLOTS, vcpus: MAX_VCPUS });
        assert_eq!(Sizes::for_open(1500).too_small(1500), None);
        assert!(Sizes::for_open(1500).bytes() > 45_000 * 2000);
    }

    #[test]
    fn thin_records_are_for_causes_that_are_traced() {
        assert_eq!([true, false].map(|chosen| tallies(4096, chosen)), [8192, 1024]);
        assert_eq!([true, false].map(|chosen| tallies(1, chosen)), [256, 256]);
    }

    #[test]
    fn what_does_not_fit_names_the_options() {
        let said = Sizes::for_open(10_000).too_small(10_000).unwrap();
        assert!(said.contains("10000 vCPUs") && said.contains("--slots 300000 --max-vcpus 20000"), "{said}");
        assert!(Sizes { slots: 8192, vcpus: 10 }.too_small(20).unwrap().contains("use --max-vcpus 40,"));
    }
}
