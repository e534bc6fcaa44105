//! One event of a thread, in plain values: what it changes, and what a closed exit is recorded as.
//!
//! | exit | samples |
//! |---|---|
//! | handled by KVM without a pause | its time in the plain slot of its reason |
//! | left KVM, slept or lost its CPU, not idle | its time and parts in the plain slot |
//! | halted or stopped in between | handled time and parts under `HALTED`, all of its time under `WHOLE` |
//! | has a cause | its handled time under the cause too |
//! | went to the VMM | for each return from KVM_RUN, time in the VMM under `USER_EXIT` |
//!
//! The BPF programs, the replay of recorded events and the tests call these functions; they differ in
//! [`Tables`] only.

use core::hint::cold_path;

use crate::{
    abi::{Isa, SlotKey, SlotRef, pseudo, touched},
    breakdown::{self, Sleep, Trip},
    pairing,
    part::Part,
    slot,
    subkey::{self, kind},
    tables::{self, Tables},
};

/// A vCPU left its guest; `isa` is [`None`] if it is the vCPU's own.
#[inline(always)]
pub fn exit<T: Tables>(tables: &mut T, entry: T::Entry, now_ns: u64, isa: Option<Isa>, code: u32) {
    if !pairing::opens(tables.vcpu(entry), now_ns) {
        cold_path();
        return tables.odd_exit(entry, now_ns, isa, code);
    }
    let guest_ns = pairing::open(tables.vcpu(entry), now_ns, isa, code);
    if tables.has_guest_histogram(now_ns) {
        tables.guest_sample(entry, guest_ns);
    }
}

/// The guest ran for this long; nothing if that is [`pairing::UNKNOWN_NS`].
#[inline(always)]
pub fn guest_sample<T: Tables>(tables: &mut T, entry: T::Entry, ns: u64) {
    if ns == pairing::UNKNOWN_NS {
        return;
    }
    let slot = tables::guest(tables, entry, subkey::new(kind::GUEST, 0));
    if let Some(slot) = tables.slot(slot) {
        slot::record(slot, ns);
    }
}

/// A vCPU left its guest now, as a probe tells that comes before the exit event. The event then adds the
/// reason. Where an exit is open already, the event came first.
#[inline(always)]
pub fn stamp<T: Tables>(tables: &mut T, entry: T::Entry, now_ns: u64) {
    if pairing::is_in_guest(tables.vcpu(entry)) {
        exit(tables, entry, now_ns, Some(Isa::NONE), pseudo::STAMPED);
    }
}

/// A vCPU entered its guest.
#[inline(always)]
pub fn entry<T: Tables>(tables: &mut T, entry: T::Entry, now_ns: u64) {
    let Some(noted) = tables.noted(entry) else { return tables.close_in_parts(entry, now_ns) };
    if !pairing::closes(tables.vcpu(entry), now_ns) {
        return tables.odd_entry(entry, now_ns);
    }
    let ns = pairing::close(tables.vcpu(entry), now_ns);
    match tables.noted_slot(noted) {
        Some((slot, epoch)) => slot::record_in(slot, epoch, ns),
        None => {
            cold_path();
            tables.plain_sample(entry, ns);
        }
    }
    if tables.has_causes(ns) {
        let cause = tables.vcpu(entry).open_subkey;
        if cause != 0 {
            tables.vcpu(entry).open_subkey = 0;
            let key = tables::key_below(tables, entry, cause);
            tables.sample(key, ns);
        }
    }
}

/// A vCPU entered its guest, and the exit before that has parts or an isa of its own.
#[inline(always)]
pub fn close_in_parts<T: Tables>(tables: &mut T, entry: T::Entry, now_ns: u64) {
    kvm_run_confirmed(tables, entry, now_ns);
    let vcpu = tables.vcpu(entry);
    if !pairing::closes(vcpu, now_ns) {
        return pairing::on_odd_entry(vcpu, now_ns);
    }
    let ns = pairing::close(vcpu, now_ns);
    let (isa, code, cause) = (vcpu.open_isa, vcpu.open_code, vcpu.open_subkey);
    vcpu.open_subkey = 0;
    let direct = if vcpu.touched & touched::ISA == 0 { slot::find_direct(vcpu, code) } else { SlotRef::NONE };
    let key = SlotKey { vcpu: T::index(entry), isa, code, pad: 0, subkey: 0 };
    // Taken off at once: a reader that copies the entry sees the exit's parts with the exit or with the sums.
    let parts = vcpu.breakdown.parts;
    breakdown::close(vcpu);
    let idle_ns = parts[Part::Halt as usize] + parts[Part::Stopped as usize];
    let handled_ns = ns.saturating_sub(idle_ns);
    let slot = if idle_ns == 0 {
        if direct == SlotRef::NONE { tables.plain(entry) } else { direct }
    } else {
        tables.sample(SlotKey { subkey: subkey::new(kind::WHOLE, 0), ..key }, ns);
        tables::keyed(tables, &SlotKey { subkey: subkey::new(kind::HALTED, 0), ..key })
    };
    pairing::own_isa(tables.vcpu(entry));
    if let Some(slot) = tables.slot(slot) {
        slot::record_parts(slot, handled_ns, &parts);
    }
    if tables.has_causes(now_ns) && cause != 0 {
        tables.sample(SlotKey { subkey: cause, ..key }, handled_ns);
    }
}

/// The cause, below its reason, of the exit that is open. The last one wins.
#[inline(always)]
pub fn cause<T: Tables>(tables: &mut T, entry: T::Entry, subkey: u64) {
    let vcpu = tables.vcpu(entry);
    if vcpu.open_ns != 0 {
        vcpu.open_subkey = subkey;
    }
}

/// KVM_RUN returns to the VMM, for a KVM_EXIT_* reason (see [`breakdown::user_reason`]). If no exit was
/// reported since the last entry, that entry failed: an exit of its own kind, or the VMM's time would be the
/// guest's.
#[inline(always)]
pub fn kvm_run_return<T: Tables>(tables: &mut T, entry: T::Entry, now_ns: u64, reason: u32) {
    if pairing::is_in_guest(tables.vcpu(entry)) {
        exit(tables, entry, now_ns, Some(Isa::NONE), pseudo::ENTRY_FAILED);
    }
    let trip = breakdown::left_kvm(tables.vcpu(entry), now_ns, reason);
    end_trip(tables, entry, trip);
}

/// The VMM called KVM_RUN, or another call that looks the same.
#[inline(always)]
pub fn kvm_run_entry<T: Tables>(tables: &mut T, entry: T::Entry, now_ns: u64) {
    let slept = breakdown::called_kvm(tables.vcpu(entry), now_ns);
    after_sleep(tables, entry, slept);
}

/// An event that happens within KVM_RUN only: the VMM's stay is over, where nothing else has told.
#[inline(always)]
fn kvm_run_confirmed<T: Tables>(tables: &mut T, entry: T::Entry, now_ns: u64) {
    let trip = breakdown::entered_kvm(tables.vcpu(entry), now_ns);
    end_trip(tables, entry, trip);
}

/// KVM let the vCPU halt for `ns` up to now; see [`breakdown::halted`].
#[inline(always)]
pub fn halted<T: Tables>(tables: &mut T, entry: T::Entry, now_ns: u64, ns: u64, waited: bool, sched: bool) {
    kvm_run_confirmed(tables, entry, now_ns);
    breakdown::halted(tables.vcpu(entry), now_ns, ns, waited, sched);
}

/// The thread got a CPU.
#[inline(always)]
pub fn switched_in<T: Tables>(tables: &mut T, entry: T::Entry, now_ns: u64) {
    let slept = breakdown::switched_in(tables.vcpu(entry), now_ns);
    after_sleep(tables, entry, slept);
}

#[inline(always)]
fn after_sleep<T: Tables>(tables: &mut T, entry: T::Entry, slept: Option<Sleep>) {
    if let Some(sleep) = slept {
        let paused_ns = tables.paused_ns(entry, sleep);
        breakdown::was_paused(tables.vcpu(entry), paused_ns);
    }
}

#[inline(always)]
fn end_trip<T: Tables>(tables: &mut T, entry: T::Entry, trip: Option<Trip>) {
    if let Some(Trip { reason, ns }) = trip {
        let key = tables::key_below(tables, entry, subkey::user_exit(reason));
        tables.sample(key, ns);
    }
}
