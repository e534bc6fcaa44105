//! The maps as the tables that the shared rules work on.

use tracer_ebpf::{
    abi::{Isa, Slot, SlotKey, SlotRef, Vcpu, table},
    config::{CAUSES, GUEST},
    event,
    loss::PerVcpu,
    tables::{self, Tables},
};

use crate::{
    config::flag,
    entries::EntryRef,
    maps::{self, FREE_SLOTS, SLOT_OF, SLOTS},
};

/// All maps.
pub struct Maps;

impl Tables for Maps {
    type Entry = EntryRef;

    #[inline(always)]
    fn index(entry: EntryRef) -> u32 {
        entry.index
    }

    #[inline(always)]
    fn vcpu(&mut self, entry: EntryRef) -> &mut Vcpu {
        entry.vcpu()
    }

    #[inline(always)]
    fn slot(&mut self, slot: SlotRef) -> Option<&mut Slot> {
        // SAFETY: array elements live as long as the program; a slot belongs to one thread, whose events do
        // not overlap. User space writes a slot's epoch only, once the slot is published.
        SLOTS.get_ptr_mut(slot.number()).map(|slot| unsafe { &mut *slot })
    }

    #[inline(always)]
    fn pop_free(&mut self) -> SlotRef {
        maps::take(&FREE_SLOTS, table::SLOTS).map_or(SlotRef::NONE, SlotRef::new)
    }

    #[inline(always)]
    fn push_free(&mut self, slot: SlotRef) {
        let _ = FREE_SLOTS.push(slot.number(), 0);
    }

    #[inline(always)]
    fn find_key(&mut self, key: &SlotKey) -> SlotRef {
        // SAFETY: the value is copied at once.
        SlotRef::from_raw(unsafe { SLOT_OF.get(key).copied() }.unwrap_or(SlotRef::NONE.raw()))
    }

    #[inline(always)]
    fn note_key(&mut self, key: &SlotKey, slot: SlotRef) -> bool {
        SLOT_OF.insert(key, slot.raw(), 0).is_ok()
    }

    #[inline(always)]
    fn has_causes(&self) -> bool {
        flag::<CAUSES>()
    }

    #[inline(always)]
    fn has_guest_histogram(&self) -> bool {
        flag::<GUEST>()
    }

    #[inline(always)]
    fn count_loss(&mut self, index: u32, loss: PerVcpu) {
        if let Some(entry) = EntryRef::at(index) {
            entry.vcpu().lost[loss as usize] += 1;
        }
    }

    #[inline(always)]
    fn close_in_parts(&mut self, entry: EntryRef, now_ns: u64) {
        close_in_parts(entry.index, now_ns);
    }

    #[inline(always)]
    fn rare_or_new(&mut self, entry: EntryRef) -> SlotRef {
        SlotRef::from_raw(rare_or_new(entry.index))
    }

    #[inline(always)]
    fn sample(&mut self, key: SlotKey, ns: u64) {
        sample(key.vcpu, key.isa.0, key.code, key.subkey, ns);
    }
}

// Calls, so that the usual event has the registers for itself. By index: the verifier loses sight of pointers
// that are handed to a function.

#[inline(never)]
fn close_in_parts(index: u32, now_ns: u64) {
    if let Some(entry) = EntryRef::at(index) {
        event::close_in_parts(&mut Maps, entry, now_ns);
    }
}

#[cold]
#[inline(never)]
fn rare_or_new(index: u32) -> u32 {
    EntryRef::at(index).map_or(SlotRef::NONE, |entry| tables::rare_or_new(&mut Maps, entry)).raw()
}

#[inline(never)]
fn sample(vcpu: u32, isa: u32, code: u32, subkey: u64, ns: u64) {
    tables::sample(&mut Maps, SlotKey { vcpu, isa: Isa(isa), code, pad: 0, subkey }, ns);
}
