//! Where a sample is added up: the way from an exit code to its slot, and the update of a slot.

use core::{hint::cold_path, mem::offset_of, ptr::NonNull};

use crate::{
    abi::{DIRECT, EPOCH_STEP, Extremes, Isa, Slot, SlotRef, Tally, Vcpu},
    codegen::{behind, masked, opaque},
    histogram::{BUCKETS, USUAL_SPAN, above_shortest, rare_bucket_of, usual_bucket_of},
    part::Part,
};

/// Codes below this are their own index in [`Vcpu::direct`].
const DENSE: u32 = 0xc0;
/// The second range of codes with a direct place: SVM's nested-paging and AVIC exits from 0x400 on.
const SVM_HIGH: u32 = 0x400;

/// The last place of [`Vcpu::direct`], which stays empty: that of all codes that have none.
const EMPTY: usize = DIRECT - 1;

/// The place of an exit code in [`Vcpu::direct`], if it has one. Every code of the kernels' tables has,
/// except the software-defined ones of SVM (0x8000_0000 and up), failed entries, and codes with flags.
///
/// ```
/// # use tracer_ebpf::slot::direct_index;
/// assert_eq!(direct_index(0x0c), Some(0x0c));
/// assert_eq!(direct_index(0x400), Some(0xc0));
/// assert_eq!(direct_index(0x8000_0021), None);
/// ```
#[inline(always)]
pub const fn direct_index(code: u32) -> Option<usize> {
    if code < DENSE {
        return Some(code as usize);
    }
    let high = code.wrapping_sub(SVM_HIGH);
    if high < EMPTY as u32 - DENSE { Some((DENSE + high) as usize) } else { None }
}

/// The slot noted for a code of this vCPU.
#[inline(always)]
pub fn find(vcpu: &Vcpu, isa: Isa, code: u32) -> SlotRef {
    let direct = if isa == vcpu.isa { find_direct(vcpu, code) } else { SlotRef::NONE };
    match direct {
        SlotRef::NONE => find_rare(vcpu, isa, code),
        slot => slot,
    }
}

/// The slot noted for a code of the vCPU's isa that has a direct place; [`SlotRef::NONE`] for other codes.
#[inline(always)]
pub fn find_direct(vcpu: &Vcpu, code: u32) -> SlotRef {
    match direct_index(code) {
        Some(index) if opaque(index) < DIRECT => vcpu.direct[index],
        _ => SlotRef::NONE,
    }
}

/// Where the slot of the open exit is noted, an empty place if its code has none; [`None`] if the exit is
/// [touched](crate::abi::touched). One comparison tells the lowest codes of exits that are not touched from
/// all others.
#[inline(always)]
pub fn direct_place(vcpu: &Vcpu) -> Option<NonNull<SlotRef>> {
    let fields = (&raw const *vcpu).wrapping_byte_add(offset_of!(Vcpu, open_code));
    // SAFETY: the two fields of 4 bytes lie side by side in the entry, as `abi` asserts.
    let mut reason = unsafe { fields.cast::<u64>().read_volatile() };
    if cfg!(target_endian = "big") {
        reason = reason.rotate_left(u32::BITS);
    }
    if reason < DENSE.into() {
        return Some(place_of(vcpu, reason));
    }
    cold_path();
    if reason > u32::MAX.into() {
        return None;
    }
    const { assert!(DIRECT.is_power_of_two()) };
    let index = direct_index(reason as u32).unwrap_or(EMPTY) as u64;
    Some(place_of(vcpu, masked::<{ DIRECT as i32 - 1 }>(index) as u64))
}

/// An element of [`Vcpu::direct`].
#[inline(always)]
fn place_of(vcpu: &Vcpu, index: u64) -> NonNull<SlotRef> {
    let (structure, offset) = ((&raw const *vcpu).cast_mut(), index * size_of::<SlotRef>() as u64);
    // SAFETY: it is behind a reference.
    unsafe { NonNull::new_unchecked(behind::<Vcpu, _, { offset_of!(Vcpu, direct) }>(structure, offset)) }
}

#[inline(always)]
fn find_rare(vcpu: &Vcpu, isa: Isa, code: u32) -> SlotRef {
    for rare in &vcpu.rare {
        if rare.slot == SlotRef::NONE {
            return SlotRef::NONE;
        }
        if rare.code == code && rare.isa == isa {
            return rare.slot;
        }
    }
    SlotRef::NONE
}

/// Notes `slot` for a code that [`find`] did not know. False if the rare codes are full.
#[inline(always)]
pub fn note(vcpu: &mut Vcpu, isa: Isa, code: u32, slot: SlotRef) -> bool {
    if let Some(index) = direct_index(code)
        && isa == vcpu.isa
    {
        let index = opaque(index);
        if index < DIRECT {
            vcpu.direct[index] = slot;
        }
        return true;
    }
    for rare in &mut vcpu.rare {
        if rare.slot == SlotRef::NONE {
            rare.isa = isa;
            rare.code = code;
            rare.slot = slot;
            return true;
        }
    }
    false
}

/// Whether a new code still finds a place.
#[inline(always)]
pub fn has_place(vcpu: &Vcpu, isa: Isa, code: u32) -> bool {
    (direct_index(code).is_some() && isa == vcpu.isa) || vcpu.rare[vcpu.rare.len() - 1].slot == SlotRef::NONE
}

/// Adds one sample.
#[inline(always)]
pub fn record(slot: &mut Slot, ns: u64) {
    let epoch = epoch(slot);
    record_in(slot, epoch, ns);
}

/// The epoch of a slot now; 0 if it is not handed out.
#[inline(always)]
pub fn epoch(slot: &Slot) -> u32 {
    get(&slot.tally.epoch)
}

/// Adds one sample to the slot, whose epoch is known.
#[inline(always)]
pub fn record_in(slot: &mut Slot, epoch: u32, ns: u64) {
    let count = begin(&mut slot.tally, epoch, ns);
    bucket(slot, ns);
    end(&mut slot.tally, count);
}

/// Adds one sample that has parts.
#[inline(always)]
pub fn record_parts(slot: &mut Slot, ns: u64, parts: &[u64; Part::COUNT]) {
    let epoch = epoch(slot);
    let count = begin(&mut slot.tally, epoch, ns);
    for (sum, part) in slot.parts.iter_mut().zip(parts) {
        add(sum, *part);
    }
    bucket(slot, ns);
    end(&mut slot.tally, count);
}

/// Adds one sample to a thin record.
#[inline(always)]
pub fn record_thin(tally: &mut Tally, ns: u64) {
    let epoch = get(&tally.epoch);
    let count = begin(tally, epoch, ns);
    end(tally, count);
}

/// Begins an update. All accesses are volatile, which keeps the compiler from reordering them: `begun` comes
/// first and `done` last. The processors that matter here (x86, s390x) do not reorder stores among
/// themselves.
#[inline(always)]
fn begin(tally: &mut Tally, epoch: u32, ns: u64) -> u64 {
    let count = get(&tally.begun).wrapping_add(1);
    set(&mut tally.begun, count);
    add(&mut tally.sum_ns, ns);
    let extremes = current(tally, epoch);
    if ns < get(&extremes.min_ns) {
        set(&mut extremes.min_ns, ns);
    }
    if ns > get(&extremes.max_ns) {
        set(&mut extremes.max_ns, ns);
    }
    count
}

/// The extremes of the epoch.
#[inline(always)]
fn current(tally: &mut Tally, epoch: u32) -> &mut Extremes {
    let offset = masked::<{ EPOCH_STEP as i32 }>(epoch.into());
    // SAFETY: `parity` times the size of one, which is the offset of one of the two.
    unsafe { &mut *behind::<_, _, { offset_of!(Tally, extremes) }>(tally, offset as u64) }
}

#[inline(always)]
fn bucket(slot: &mut Slot, ns: u64) {
    const USUAL: i32 = 0xff;
    const ANY: i32 = BUCKETS.next_power_of_two() as i32 - 1;
    const { assert!(USUAL < BUCKETS as i32) };
    let above = above_shortest(ns);
    let bucket = if above < USUAL_SPAN {
        masked::<USUAL>(usual_bucket_of(ns, above) as u64)
    } else {
        cold_path();
        let bucket = masked::<ANY>(rare_bucket_of(ns) as u64);
        if bucket >= BUCKETS {
            return;
        }
        bucket
    };
    let offset = (bucket * size_of::<u32>()) as u64;
    // SAFETY: moved by fewer elements than there are.
    let samples: &mut u32 = unsafe { &mut *behind::<_, _, { offset_of!(Slot, buckets) }>(slot, offset) };
    set(samples, get(samples).wrapping_add(1));
}

#[inline(always)]
fn end(tally: &mut Tally, count: u64) {
    set(&mut tally.done, count);
}

#[inline(always)]
fn get<T: Copy>(place: &T) -> T {
    // SAFETY: a reference is valid for reading.
    unsafe { core::ptr::read_volatile(place) }
}

/// A store that the compiler keeps in its place among the others of this kind.
#[inline(always)]
pub fn set<T>(place: &mut T, value: T) {
    // SAFETY: a reference is valid for writing.
    unsafe { core::ptr::write_volatile(place, value) }
}

/// Zeroes a number by a store of its own. Zeroes that lie side by side would become a call of memset, which
/// for BPF is a loop over bytes.
#[inline(always)]
pub(crate) fn clear(number: &mut u64) {
    set(number, 0);
}

/// An addition whose store the compiler keeps in its place.
#[inline(always)]
pub(crate) fn add(place: &mut u64, more: u64) {
    set(place, get(place).wrapping_add(more));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{FIRST_EPOCH, parity};

    #[test]
    fn codes_find_their_slots_again() {
        let mut vcpu = Vcpu::UNUSED;
        vcpu.isa = Isa::SVM;
        let codes = [(2, 0x72), (2, 0x400), (2, 0x8000_0011), (2, u32::MAX), (1, 0x72), (7, 12)];
        let codes = codes.map(|(isa, code)| (Isa(isa), code));
        for (number, (isa, code)) in codes.into_iter().enumerate() {
            assert_eq!(find(&vcpu, isa, code), SlotRef::NONE);
            assert!(has_place(&vcpu, isa, code));
            assert!(note(&mut vcpu, isa, code, SlotRef(number as u32 + 1)));
        }
        for (number, (isa, code)) in codes.into_iter().enumerate() {
            assert_eq!(find(&vcpu, isa, code), SlotRef(number as u32 + 1), "{isa:?} code {code:#x}");
        }
    }

    #[test]
    fn rare_codes_fill_up_and_say_so() {
        let mut vcpu = Vcpu::UNUSED;
        vcpu.isa = Isa::VMX;
        for code in 0..crate::abi::RARE as u32 {
            assert!(note(&mut vcpu, Isa::VMX, 0x8000_0000 | code, SlotRef(code + 1)));
        }
        assert!(!has_place(&vcpu, Isa::VMX, 0x9000_0000));
        assert!(!note(&mut vcpu, Isa::VMX, 0x9000_0000, SlotRef(98)));
        assert!(has_place(&vcpu, Isa::VMX, 12));
        assert_eq!(find(&vcpu, Isa::VMX, 0x8000_0005), SlotRef(6));
    }

    #[test]
    fn extremes_belong_to_their_epoch() {
        let mut slot = Slot::UNUSED;
        slot.tally.extremes = [Extremes::NONE; 2];
        let mut record_in = |epoch, ns| {
            // As a reader does it when it has taken the slot.
            if epoch != slot.tally.epoch {
                slot.tally.extremes[parity(epoch)] = Extremes::NONE;
            }
            slot.tally.epoch = epoch;
            record(&mut slot, ns);
            slot.tally
        };
        let [first, second, third] = [0, 1, 2].map(|past| FIRST_EPOCH.wrapping_add(past * EPOCH_STEP));
        record_in(first, 500);
        record_in(first, 300);
        let tally = record_in(second, 900);
        assert_eq!(tally.extremes[0], Extremes { min_ns: 300, max_ns: 500 });
        assert_eq!(tally.extremes[1], Extremes { min_ns: 900, max_ns: 900 });
        let tally = record_in(third, 700);
        assert_eq!(tally.extremes[0], Extremes { min_ns: 700, max_ns: 700 });
        assert_eq!((tally.begun, tally.done, tally.sum_ns), (4, 4, 2400));
        assert_eq!(slot.buckets.iter().sum::<u32>(), 4);
    }

    #[test]
    fn a_thin_record_is_exact() {
        let mut tally = Tally { epoch: FIRST_EPOCH, extremes: [Extremes::NONE; 2], ..Tally::UNUSED };
        [30, 10, 20].into_iter().for_each(|ns| record_thin(&mut tally, ns));
        assert_eq!((tally.done, tally.sum_ns), (3, 60));
        assert_eq!(tally.extremes[0], Extremes { min_ns: 10, max_ns: 30 });
    }
}
