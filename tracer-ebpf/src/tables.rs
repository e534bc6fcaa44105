//! Slots of threads: how one is found, taken and given back. The same rule for the maps of the BPF programs
//! and for tables in user space; [`Tables`] is all in which they differ.

use crate::{
    abi::{CACHED, Cached, Extremes, FIRST_EPOCH, Isa, Slot, SlotKey, SlotRef, Tally, Vcpu, table},
    breakdown::Sleep,
    loss::PerVcpu,
    pairing, slot, subkey,
};

/// A place that was asked for in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is there.
    Free(SlotRef),
    /// The table is full.
    Full,
    /// Few are left, and the process has more than the reserve gives to one.
    Refused,
}

/// The tables of threads, slots and thin records, and the options that decide what is recorded in them.
///
/// An entry is one vCPU on one thread, so whoever holds an [`Tables::Entry`] is its only writer. The provided
/// functions are those that few events need: the BPF programs make calls of them, so that the usual event has
/// the registers for itself.
pub trait Tables: Sized {
    /// Names an entry of the table of threads that is known to exist.
    type Entry: Copy;

    /// Names a place where a slot may be noted.
    type Noted;

    /// Index of the entry in the table.
    fn index(entry: Self::Entry) -> u32;

    /// The entry with this index, if there is one.
    fn entry_at(&mut self, index: u32) -> Option<Self::Entry>;

    /// The entry itself.
    fn vcpu(&mut self, entry: Self::Entry) -> &mut Vcpu;

    /// Where the slot of the open exit may be noted; [`None`] if the exit is
    /// [touched](crate::abi::touched).
    fn noted(&mut self, entry: Self::Entry) -> Option<Self::Noted>;

    /// The slot that is noted there and its epoch, if one is.
    fn noted_slot(&mut self, noted: Self::Noted) -> Option<(&mut Slot, u32)>;

    /// The slot that is referred to; [`None`] for [`SlotRef::NONE`].
    fn slot(&mut self, slot: SlotRef) -> Option<&mut Slot>;

    /// The thin record that is referred to; [`None`] for [`SlotRef::NONE`].
    fn tally(&mut self, tally: SlotRef) -> Option<&mut Tally>;

    /// Takes a free slot or thin record, as [`table`] says, for a thread of this process.
    fn pop_free(&mut self, table: u32, pid: u32) -> Place;

    /// Puts back a slot or thin record that was not published.
    fn push_free(&mut self, table: u32, pid: u32, slot: SlotRef);

    /// The slot or thin record noted under a key, or [`SlotRef::NONE`].
    fn find_key(&mut self, key: &SlotKey) -> SlotRef;

    /// Notes a slot or thin record under a key; false if there is no room.
    fn note_key(&mut self, key: &SlotKey, slot: SlotRef) -> bool;

    /// Whether exits can have a cause below their reason. The BPF programs need any number to ask with.
    fn has_causes(&self, any: u64) -> bool;

    /// Whether guest intervals get a histogram. The BPF programs need any number to ask with.
    fn has_guest_histogram(&self, any: u64) -> bool;

    /// How many causes a vCPU may have; see [`sample`].
    fn max_causes(&self) -> u32;

    /// [`pairing::on_odd_exit`].
    fn odd_exit(&mut self, entry: Self::Entry, now_ns: u64, isa: Option<Isa>, code: u32) {
        pairing::on_odd_exit(self.vcpu(entry), now_ns, isa, code);
    }

    /// [`pairing::on_odd_entry`].
    fn odd_entry(&mut self, entry: Self::Entry, now_ns: u64) {
        pairing::on_odd_entry(self.vcpu(entry), now_ns);
    }

    /// [`crate::event::guest_sample`].
    fn guest_sample(&mut self, entry: Self::Entry, ns: u64) {
        crate::event::guest_sample(self, entry, ns);
    }

    /// [`crate::event::close_in_parts`].
    fn close_in_parts(&mut self, entry: Self::Entry, now_ns: u64) {
        crate::event::close_in_parts(self, entry, now_ns);
    }

    /// [`plain`].
    fn plain(&mut self, entry: Self::Entry) -> SlotRef {
        plain(self, entry)
    }

    /// Adds a sample to the [`plain`] slot.
    fn plain_sample(&mut self, entry: Self::Entry, ns: u64) {
        let slot = plain(self, entry);
        if let Some(slot) = self.slot(slot) {
            slot::record(slot, ns);
        }
    }

    /// [`sample`].
    fn sample(&mut self, key: SlotKey, ns: u64) {
        sample(self, key, ns);
    }

    /// [`crate::pause::paused_ns`].
    fn paused_ns(&mut self, entry: Self::Entry, sleep: Sleep) -> u64 {
        crate::pause::paused_ns(self, entry, sleep)
    }
}

/// The slot of a thread's open exit, a new one if its code is new. A slot that cannot be had is counted as
/// lost.
#[inline(always)]
pub fn plain<T: Tables>(tables: &mut T, entry: T::Entry) -> SlotRef {
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
    let new = take(tables, entry, &SlotKey { vcpu: T::index(entry), isa, code, pad: 0, subkey: 0 });
    if new != SlotRef::NONE {
        slot::note(tables.vcpu(entry), isa, code, new);
    }
    new
}

/// The key of a slot below the reason of the exit that is open or was closed last.
#[inline(always)]
pub fn key_below<T: Tables>(tables: &mut T, entry: T::Entry, subkey: u64) -> SlotKey {
    let vcpu = tables.vcpu(entry);
    SlotKey { vcpu: T::index(entry), isa: vcpu.open_isa, code: vcpu.open_code, pad: 0, subkey }
}

/// Where the slot or thin record of a cause is kept in [`Vcpu::cache`].
#[inline(always)]
pub const fn cache_index(subkey: u64, code: u32) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    ((subkey ^ code as u64).wrapping_mul(GOLDEN) >> (u64::BITS - CACHED.ilog2())) as usize
}

/// The slot or thin record of a key, if it has one. Those asked for lately are known without the hash.
#[inline(always)]
fn find<T: Tables>(tables: &mut T, entry: T::Entry, key: &SlotKey) -> SlotRef {
    let index = cache_index(key.subkey, key.code) & (CACHED - 1);
    let vcpu = tables.vcpu(entry);
    let cacheable = key.isa == vcpu.isa;
    let cached = vcpu.cache[index];
    if cacheable && cached.subkey == key.subkey && cached.code == key.code && cached.slot != SlotRef::NONE {
        return cached.slot;
    }
    let found = tables.find_key(key);
    if cacheable && found != SlotRef::NONE {
        tables.vcpu(entry).cache[index] = Cached { subkey: key.subkey, code: key.code, slot: found };
    }
    found
}

/// The slot or thin record of a key, a new one at its first sample. One that cannot be had is counted as
/// lost.
#[inline(always)]
pub fn keyed<T: Tables>(tables: &mut T, key: &SlotKey) -> SlotRef {
    let Some(entry) = tables.entry_at(key.vcpu) else { return SlotRef::NONE };
    match find(tables, entry, key) {
        SlotRef::NONE => new_keyed(tables, entry, key),
        found => found,
    }
}

#[inline(always)]
fn new_keyed<T: Tables>(tables: &mut T, entry: T::Entry, key: &SlotKey) -> SlotRef {
    let new = take(tables, entry, key);
    if new != SlotRef::NONE && !tables.note_key(key, new) {
        give_back(tables, entry, key, new);
        tables.vcpu(entry).lost[PerVcpu::SlotTableFull as usize] += 1;
        return SlotRef::NONE;
    }
    new
}

/// Adds one sample to the slot or thin record of a key. Causes beyond the vCPU's quota share the one of
/// [`subkey::other`]: what is refused is counted there, where it is refused.
#[inline(always)]
pub fn sample<T: Tables>(tables: &mut T, mut key: SlotKey, ns: u64) {
    let Some(entry) = tables.entry_at(key.vcpu) else { return };
    let mut found = find(tables, entry, &key);
    if found == SlotRef::NONE {
        let most = tables.max_causes();
        let vcpu = tables.vcpu(entry);
        if subkey::is_cause(key.subkey) {
            if vcpu.causes >= most {
                key.subkey = subkey::other(key.subkey);
                found = find(tables, entry, &key);
            } else {
                vcpu.causes += 1;
            }
        }
    }
    if found == SlotRef::NONE {
        found = new_keyed(tables, entry, &key);
    }
    if subkey::is_thin(key.subkey) {
        if let Some(tally) = tables.tally(found) {
            slot::record_thin(tally, ns);
        }
    } else if let Some(slot) = tables.slot(found) {
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
    let key = SlotKey { vcpu: T::index(entry), isa: Isa::NONE, code: 0, pad: 0, subkey };
    let new = take(tables, entry, &key);
    tables.vcpu(entry).guest_slot = new;
    new
}

/// The table in which the samples of a subkey are.
#[inline(always)]
const fn table_of(subkey: u64) -> u32 {
    if subkey::is_thin(subkey) { table::TALLIES } else { table::SLOTS }
}

/// Takes a free slot or thin record and publishes it. One that cannot be had is counted as lost.
#[inline(always)]
fn take<T: Tables>(tables: &mut T, entry: T::Entry, key: &SlotKey) -> SlotRef {
    let pid = tables.vcpu(entry).pid;
    let loss = match tables.pop_free(table_of(key.subkey), pid) {
        Place::Free(free) => {
            if let Some(tally) = tally(tables, key, free) {
                publish(tally, key);
                return free;
            }
            return SlotRef::NONE;
        }
        Place::Full => PerVcpu::SlotTableFull,
        Place::Refused => PerVcpu::SlotQuota,
    };
    tables.vcpu(entry).lost[loss as usize] += 1;
    SlotRef::NONE
}

#[inline(always)]
fn tally<'a, T: Tables>(tables: &'a mut T, key: &SlotKey, of: SlotRef) -> Option<&'a mut Tally> {
    if subkey::is_thin(key.subkey) { tables.tally(of) } else { tables.slot(of).map(|slot| &mut slot.tally) }
}

#[inline(always)]
fn publish(tally: &mut Tally, key: &SlotKey) {
    slot::set(&mut tally.vcpu, key.vcpu);
    slot::set(&mut tally.isa, key.isa);
    slot::set(&mut tally.code, key.code);
    slot::set(&mut tally.subkey, key.subkey);
    for extremes in &mut tally.extremes {
        slot::set(&mut extremes.min_ns, Extremes::NONE.min_ns);
        slot::set(&mut extremes.max_ns, Extremes::NONE.max_ns);
    }
    // Last: user space takes it as it is once it sees an epoch.
    slot::set(&mut tally.epoch, FIRST_EPOCH);
}

#[inline(always)]
fn give_back<T: Tables>(tables: &mut T, entry: T::Entry, key: &SlotKey, slot: SlotRef) {
    let pid = tables.vcpu(entry).pid;
    if let Some(unseen) = tally(tables, key, slot) {
        slot::set(&mut unseen.epoch, 0);
        tables.push_free(table_of(key.subkey), pid, slot);
    }
}
