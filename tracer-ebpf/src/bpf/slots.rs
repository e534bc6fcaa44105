//! The maps as the tables that the shared rules work on.

use core::ptr::NonNull;

use tracer_ebpf::{
    abi::{Isa, Slot, SlotKey, SlotRef, Tally, Vcpu, table},
    breakdown::Sleep,
    config::{CAUSES, GUEST, MAX_CAUSES},
    event, pairing, pause, slot,
    tables::{self, Place, Tables},
};

use crate::{
    config::{asks, value},
    entries::EntryRef,
    maps::{self, FREE_SLOTS, FREE_TALLIES, SLOT_OF, SLOTS, TALLIES},
};

/// All maps.
pub struct Maps;

impl Tables for Maps {
    type Entry = EntryRef;
    type Noted = NonNull<SlotRef>;

    #[inline(always)]
    fn index(entry: EntryRef) -> u32 {
        entry.index()
    }

    #[inline(always)]
    fn entry_at(&mut self, index: u32) -> Option<EntryRef> {
        EntryRef::of(index)
    }

    #[inline(always)]
    fn vcpu(&mut self, entry: EntryRef) -> &mut Vcpu {
        entry.vcpu()
    }

    #[inline(always)]
    fn noted(&mut self, entry: EntryRef) -> Option<NonNull<SlotRef>> {
        slot::direct_place(entry.vcpu())
    }

    #[inline(always)]
    fn noted_slot(&mut self, noted: NonNull<SlotRef>) -> Option<(&mut Slot, u32)> {
        // SAFETY: the place is in an entry; as below.
        let slot = unsafe { &mut *maps::element(&SLOTS, noted.as_ptr().cast_const().cast())?.as_ptr() };
        let epoch = slot::epoch(slot);
        // That of nobody is no epoch.
        if epoch == 0 { None } else { Some((slot, epoch)) }
    }

    #[inline(always)]
    fn slot(&mut self, slot: SlotRef) -> Option<&mut Slot> {
        if slot == SlotRef::NONE {
            return None;
        }
        // SAFETY: array elements live as long as the program; a slot belongs to one thread, whose events do
        // not overlap. User space writes the epoch and the extremes of the next one only, once the slot is
        // published.
        SLOTS.get_ptr_mut(slot.0).map(|slot| unsafe { &mut *slot })
    }

    #[inline(always)]
    fn tally(&mut self, tally: SlotRef) -> Option<&mut Tally> {
        if tally == SlotRef::NONE {
            return None;
        }
        // SAFETY: array elements live as long as the program; a thin record belongs to one thread, whose
        // events do not overlap.
        TALLIES.get_ptr_mut(tally.0).map(|tally| unsafe { &mut *tally })
    }

    #[inline(always)]
    fn pop_free(&mut self, table: u32, pid: u32) -> Place {
        match table {
            table::TALLIES => maps::take::<{ table::TALLIES }>(&FREE_TALLIES, pid),
            _ => maps::take::<{ table::SLOTS }>(&FREE_SLOTS, pid),
        }
    }

    #[inline(always)]
    fn push_free(&mut self, table: u32, pid: u32, slot: SlotRef) {
        match table {
            table::TALLIES => maps::put_back::<{ table::TALLIES }>(&FREE_TALLIES, pid, slot.0),
            _ => maps::put_back::<{ table::SLOTS }>(&FREE_SLOTS, pid, slot.0),
        }
    }

    #[inline(always)]
    fn find_key(&mut self, key: &SlotKey) -> SlotRef {
        // SAFETY: the value is copied at once.
        SlotRef(unsafe { SLOT_OF.get(key).copied() }.unwrap_or(SlotRef::NONE.0))
    }

    #[inline(always)]
    fn note_key(&mut self, key: &SlotKey, slot: SlotRef) -> bool {
        SLOT_OF.insert(key, slot.0, 0).is_ok()
    }

    #[inline(always)]
    fn has_causes(&self, any: u64) -> bool {
        asks::<CAUSES>(any)
    }

    #[inline(always)]
    fn has_guest_histogram(&self, any: u64) -> bool {
        asks::<GUEST>(any)
    }

    #[inline(always)]
    fn max_causes(&self) -> u32 {
        value::<MAX_CAUSES>() as u32
    }

    #[inline(always)]
    fn odd_exit(&mut self, entry: EntryRef, now_ns: u64, isa: Option<Isa>, code: u32) {
        odd_exit(entry.index(), now_ns, isa.unwrap_or(entry.vcpu().isa).0, code);
    }

    #[inline(always)]
    fn odd_entry(&mut self, entry: EntryRef, now_ns: u64) {
        odd_entry(entry.index(), now_ns);
    }

    #[inline(always)]
    fn guest_sample(&mut self, entry: EntryRef, ns: u64) {
        guest_sample(entry.index(), ns);
    }

    #[inline(always)]
    fn close_in_parts(&mut self, entry: EntryRef, now_ns: u64) {
        close_in_parts(entry.index(), now_ns);
    }

    #[inline(always)]
    fn plain(&mut self, entry: EntryRef) -> SlotRef {
        SlotRef(plain(entry.index()))
    }

    #[inline(always)]
    fn plain_sample(&mut self, entry: EntryRef, ns: u64) {
        plain_sample(entry.index(), ns);
    }

    #[inline(always)]
    fn sample(&mut self, key: SlotKey, ns: u64) {
        sample(key.vcpu, key.isa.0, key.code, key.subkey, ns);
    }

    #[inline(always)]
    fn paused_ns(&mut self, entry: EntryRef, sleep: Sleep) -> u64 {
        paused_ns(entry.index(), sleep.from_ns, sleep.until_ns, sleep.most_ns)
    }
}

// Calls, so that the usual event has the registers for itself. By index: the verifier loses sight of pointers
// that are handed to a function. With a name and numbers alone, a function is checked once, for all numbers,
// and not once for each call (commit 51c39bb1d5d1); such a function has to return a number.

#[cold]
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn odd_exit(index: u32, now_ns: u64, isa: u32, code: u32) -> u32 {
    if let Some(entry) = EntryRef::at(index) {
        pairing::on_odd_exit(entry.vcpu(), now_ns, Some(Isa(isa)), code);
    }
    0
}

#[cold]
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn odd_entry(index: u32, now_ns: u64) -> u32 {
    if let Some(entry) = EntryRef::at(index) {
        pairing::on_odd_entry(entry.vcpu(), now_ns);
    }
    0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn guest_sample(index: u32, ns: u64) -> u32 {
    if let Some(entry) = EntryRef::at(index) {
        event::guest_sample(&mut Maps, entry, ns);
    }
    0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn close_in_parts(index: u32, now_ns: u64) -> u32 {
    if let Some(entry) = EntryRef::at(index) {
        event::close_in_parts(&mut Maps, entry, now_ns);
    }
    0
}

#[cold]
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn plain(index: u32) -> u32 {
    EntryRef::at(index).map_or(SlotRef::NONE, |entry| tables::plain(&mut Maps, entry)).0
}

#[cold]
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn plain_sample(index: u32, ns: u64) -> u32 {
    if let Some(slot) = Maps.slot(SlotRef(plain(index))) {
        slot::record(slot, ns);
    }
    0
}

#[cold]
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn paused_ns(index: u32, from_ns: u64, until_ns: u64, most_ns: u64) -> u64 {
    let Some(entry) = EntryRef::at(index) else { return 0 };
    pause::paused_ns(&mut Maps, entry, Sleep { from_ns, until_ns, most_ns })
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn sample(vcpu: u32, isa: u32, code: u32, subkey: u64, ns: u64) -> u32 {
    tables::sample(&mut Maps, SlotKey { vcpu, isa: Isa(isa), code, pad: 0, subkey }, ns);
    0
}
