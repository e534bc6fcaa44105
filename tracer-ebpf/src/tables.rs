//! Slots of threads: how one is found, taken and given back. The same rule for the maps of the BPF programs
//! and for tables in user space; [`Tables`] is all in which they differ.

use crate::{
    abi::{Isa, Slot, SlotKey, SlotRef, Vcpu},
    loss::PerVcpu,
    slot,
};

/// The tables of threads and slots, and the options that decide what is recorded in them.
///
/// An entry is one thread, so whoever holds an [`Tables::Entry`] is its only writer. The provided functions
/// are those that few events need: the BPF programs make calls of them, so that the usual event has the
/// registers for itself.
pub trait Tables: Sized {
    /// Names an entry of the table of threads that is known to exist.
    type Entry: Copy;

    /// Index of the entry in the table.
    fn index(entry: Self::Entry) -> u32;

    /// The entry itself.
    fn vcpu(&mut self, entry: Self::Entry) -> &mut Vcpu;

    /// The slot that is referred to; [`None`] for [`SlotRef::NONE`].
    fn slot(&mut self, slot: SlotRef) -> Option<&mut Slot>;

    /// Takes a free slot; [`SlotRef::NONE`] if the table is full.
    fn pop_free(&mut self) -> SlotRef;

    /// Puts back a slot that nobody has seen.
    fn push_free(&mut self, slot: SlotRef);

    /// The slot noted under a key, or [`SlotRef::NONE`].
    fn find_key(&mut self, key: &SlotKey) -> SlotRef;

    /// Notes a slot under a key; false if there is no room.
    fn note_key(&mut self, key: &SlotKey, slot: SlotRef) -> bool;

    /// Whether exits can have a cause below their reason.
    fn has_causes(&self) -> bool;

    /// Whether guest intervals get a histogram.
    fn has_guest_histogram(&self) -> bool;

    /// [`crate::event::close_in_parts`].
    fn close_in_parts(&mut self, entry: Self::Entry, now_ns: u64) {
        crate::event::close_in_parts(self, entry, now_ns);
    }

    /// [`rare_or_new`].
    fn rare_or_new(&mut self, entry: Self::Entry) -> SlotRef {
        rare_or_new(self, entry)
    }

    /// [`sample`].
    fn sample(&mut self, key: SlotKey, ns: u64) {
        sample(self, key, ns);
    }

    /// Counts a loss of the entry with this index.
    fn count_loss(&mut self, index: u32, loss: PerVcpu);
}

/// The slot of a thread's open exit, a new one if its code is new. A slot that cannot be had is counted as
/// lost.
#[inline(always)]
pub fn plain<T: Tables>(tables: &mut T, entry: T::Entry) -> SlotRef {
    let vcpu = tables.vcpu(entry);
    match slot::find_direct(vcpu, vcpu.open_isa, vcpu.open_code) {
        SlotRef::NONE => tables.rare_or_new(entry),
        known => known,
    }
}

/// The slot of an open exit whose code has no direct place, or is new to the thread.
#[inline(always)]
pub fn rare_or_new<T: Tables>(tables: &mut T, entry: T::Entry) -> SlotRef {
    let vcpu = tables.vcpu(entry);
    let (isa, code) = (vcpu.open_isa, vcpu.open_code);
    let known = slot::find(vcpu, isa, code);
    if known != SlotRef::NONE {
        return known;
    }
    if !slot::has_place(vcpu, isa, code) {
        vcpu.lost[PerVcpu::RareCodesFull as usize] += 1;
        return SlotRef::NONE;
    }
    let new = take(tables, &SlotKey { vcpu: T::index(entry), isa, code, pad: 0, subkey: 0 });
    let vcpu = tables.vcpu(entry);
    if new == SlotRef::NONE {
        vcpu.lost[PerVcpu::SlotTableFull as usize] += 1;
    } else {
        slot::note(vcpu, isa, code, new);
    }
    new
}

/// The key of a slot below the reason of the exit that is open or was closed last.
#[inline(always)]
pub fn key_below<T: Tables>(tables: &mut T, entry: T::Entry, subkey: u64) -> SlotKey {
    let vcpu = tables.vcpu(entry);
    SlotKey { vcpu: T::index(entry), isa: vcpu.open_isa, code: vcpu.open_code, pad: 0, subkey }
}

/// The slot of a key, a new one at its first sample. A slot that cannot be had is counted as lost.
#[inline(always)]
pub fn below<T: Tables>(tables: &mut T, key: SlotKey) -> SlotRef {
    let mut found = tables.find_key(&key);
    if found == SlotRef::NONE {
        found = take(tables, &key);
        if found != SlotRef::NONE && !tables.note_key(&key, found) {
            give_back(tables, found);
            found = SlotRef::NONE;
        }
        if found == SlotRef::NONE {
            tables.count_loss(key.vcpu, PerVcpu::SlotTableFull);
        }
    }
    found
}

/// Adds one sample to the slot of a key.
#[inline(always)]
pub fn sample<T: Tables>(tables: &mut T, key: SlotKey, ns: u64) {
    let slot = below(tables, key);
    if let Some(slot) = tables.slot(slot) {
        slot::record(slot, ns);
    }
}

/// The slot of a thread's guest intervals.
#[inline(always)]
pub fn guest<T: Tables>(tables: &mut T, entry: T::Entry, subkey: u64) -> SlotRef {
    let known = tables.vcpu(entry).guest_slot;
    if known != SlotRef::NONE {
        return known;
    }
    let new = take(tables, &SlotKey { vcpu: T::index(entry), isa: Isa::NONE, code: 0, pad: 0, subkey });
    let vcpu = tables.vcpu(entry);
    vcpu.guest_slot = new;
    if new == SlotRef::NONE {
        vcpu.lost[PerVcpu::SlotTableFull as usize] += 1;
    }
    new
}

/// Takes a free slot and publishes it.
#[inline(always)]
fn take<T: Tables>(tables: &mut T, key: &SlotKey) -> SlotRef {
    let free = tables.pop_free();
    let Some(slot) = tables.slot(free) else { return SlotRef::NONE };
    slot::set(&mut slot.vcpu, key.vcpu);
    slot::set(&mut slot.isa, key.isa);
    slot::set(&mut slot.code, key.code);
    slot::set(&mut slot.subkey, key.subkey);
    // Last: user space takes the slot as it is once it sees an epoch.
    slot::set(&mut slot.epoch, 1);
    free
}

#[inline(always)]
fn give_back<T: Tables>(tables: &mut T, slot: SlotRef) {
    if let Some(unseen) = tables.slot(slot) {
        slot::set(&mut unseen.epoch, 0);
        tables.push_free(slot);
    }
}
