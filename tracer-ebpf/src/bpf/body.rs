//! What happens at an event, in plain values: thread, time, isa, code. Knows maps, but no kernel layout.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_comm, bpf_get_current_task, bpf_ktime_get_ns},
};
use aya_log_ebpf::debug;
use tracer_ebpf::{
    abi::{Slot, Vcpu, state, table},
    breakdown as pure,
    config::{CAUSES, GUEST, PREEMPTIBLE},
    loss::{Global, PerVcpu},
    pairing::{self, Entry, Exit},
    slot, subkey,
};

use crate::{
    config::is,
    maps::{self, FREE_SLOTS, FREE_VCPUS, LOST, SLOTS, VCPU_OF, VCPUS, bump},
    split,
};

/// CLOCK_MONOTONIC: it does not run while the host is suspended, and user space has it too.
#[inline(always)]
pub fn clock_ns() -> u64 {
    // SAFETY: the helper has no requirements.
    unsafe { bpf_ktime_get_ns() }
}

/// A vCPU left its guest. `vcpu_id` is asked for at the thread's first exit only. The thread's entry, if it had one.
#[inline(always)]
pub fn exit<C: EbpfContext>(
    ctx: &C,
    pid_tgid: u64,
    now_ns: u64,
    isa: u32,
    code: u32,
    vcpu_id: impl FnOnce(&C) -> u32,
) -> Option<u32> {
    if let Some((index, vcpu)) = find(pid_tgid) {
        vcpu.open_subkey = 0;
        open(index, vcpu, now_ns, isa, code);
        return Some(index);
    }
    match enrol(pid_tgid, now_ns, isa, vcpu_id(ctx)) {
        Some(vcpu) => {
            debug!(ctx, "thread {} is a vCPU: first exit, isa {} code {}", pid_tgid as u32, isa, code);
            pairing::on_exit(vcpu, now_ns, isa, code);
            // Last, and in this order: user space takes the entry as it is once it sees them.
            let generation = vcpu.generation + 1;
            slot::set(&mut vcpu.generation, generation);
            slot::set(&mut vcpu.state, state::LIVE);
        }
        None => {
            bump(&LOST, Global::VcpuTableFull as u32);
            debug!(ctx, "thread {}: the vCPU table is full", pid_tgid as u32);
        }
    }
    None
}

/// The thread of this entry left its guest.
#[inline(always)]
pub fn open(index: u32, vcpu: &mut Vcpu, now_ns: u64, isa: u32, code: u32) {
    if let Exit::Opened(guest_ns) = pairing::on_exit(vcpu, now_ns, isa, code)
        && is::<GUEST>()
    {
        guest(index, vcpu, guest_ns);
    }
}

/// The cause, below its reason, of the exit that is open. The last one wins.
#[inline(always)]
pub fn cause(pid_tgid: u64, subkey: u64) {
    if let Some((_, vcpu)) = find(pid_tgid)
        && vcpu.open_ns != 0
    {
        vcpu.open_subkey = subkey;
    }
}

/// A vCPU entered its guest. The thread's entry, if it has one.
#[inline(always)]
pub fn entry(pid_tgid: u64, now_ns: u64) -> Option<u32> {
    let Some((index, vcpu)) = find(pid_tgid) else {
        // A thread that found no place has had its exit counted.
        if !maps::is_full(table::VCPUS) {
            bump(&LOST, Global::EarlyEntries as u32);
        }
        return None;
    };
    close_with_cause(index, vcpu, now_ns);
    Some(index)
}

/// As [`close`], and records the exit's cause if there is one.
#[inline(always)]
pub fn close_with_cause(index: u32, vcpu: *mut Vcpu, now_ns: u64) {
    if let Some(ns) = close(index, vcpu, now_ns)
        && is::<CAUSES>()
    {
        // SAFETY: as in `close`.
        let (isa, code, subkey) = unsafe { ((*vcpu).open_isa, (*vcpu).open_code, (*vcpu).open_subkey) };
        if subkey != 0 {
            split::sample(index, isa, code, subkey, ns);
        }
    }
}

/// The thread of this entry entered its guest. The time of the exit that was open, if it has no parts.
///
/// By pointer, as the functions that are given the index make references of their own.
#[inline(always)]
pub fn close(index: u32, vcpu: *mut Vcpu, now_ns: u64) -> Option<u64> {
    // SAFETY: comes from `vcpu_at`; no reference is alive while another one is made.
    let ns = unsafe {
        if (*vcpu).breakdown.touched != 0 {
            split::entry(index, now_ns);
            return None;
        }
        let Entry::Closed(ns) = pairing::on_entry(&mut *vcpu, now_ns) else { return None };
        ns
    };
    if let Some(slot) = plain_slot(index, vcpu) {
        slot::record(slot, ns);
    }
    Some(ns)
}

/// The entry of the thread that runs this `struct kvm_vcpu`, if that is known.
#[inline(always)]
pub fn running(kvm_vcpu: u64) -> Option<(u32, &'static mut Vcpu)> {
    // SAFETY: in bounds; a torn or stale value only costs the check below.
    let index = unsafe { maps::run_hint(kvm_vcpu).read_volatile() }.wrapping_sub(1);
    let vcpu = vcpu_at(index)?;
    if vcpu.kvm_vcpu != kvm_vcpu || (is::<PREEMPTIBLE>() && vcpu.task != current_task()) {
        return None;
    }
    Some((index, vcpu))
}

/// A load where it is used: the verifier makes it one since Linux 7.0 (commit eaedea154eb9).
#[inline(always)]
fn current_task() -> u64 {
    // SAFETY: the helper has no requirements.
    unsafe { bpf_get_current_task() }
}

/// From here on, and until KVM_RUN returns, the thread of this entry runs this `struct kvm_vcpu`.
#[inline(always)]
pub fn runs(index: u32, kvm_vcpu: u64) {
    let Some(vcpu) = vcpu_at(index) else { return };
    vcpu.kvm_vcpu = kvm_vcpu;
    vcpu.vmcb = 0;
    if is::<PREEMPTIBLE>() {
        vcpu.task = current_task();
    }
    let hint = maps::run_hint(kvm_vcpu);
    // SAFETY: in bounds. Written when it changes only: other CPUs read what lies beside it at every event.
    unsafe {
        if hint.read_volatile() != index + 1 {
            hint.write_volatile(index + 1);
        }
    }
}

/// A thread is gone. Its entry stays for user space to read, open exit included.
#[inline(always)]
pub fn death(tid: u32, now_ns: impl FnOnce() -> u64) {
    let Some((_, vcpu)) = find_tid(tid) else { return };
    pure::ended(vcpu, now_ns());
    vcpu.pid_tgid = 0;
    vcpu.kvm_vcpu = 0;
    let _ = VCPU_OF.remove(tid);
    maps::hint(tid).left();
    // Last: from here on the entry is user space's.
    slot::set(&mut vcpu.state, state::DEAD);
}

/// The entry of a thread and its index.
#[inline(always)]
fn find(pid_tgid: u64) -> Option<(u32, &'static mut Vcpu)> {
    let index = maps::hint(pid_tgid as u32).index();
    if let Some(vcpu) = vcpu_at(index)
        && vcpu.pid_tgid == pid_tgid
    {
        return Some((index, vcpu));
    }
    // A tid that was used before, by a thread whose end was missed, is not this one.
    match find_slowly(pid_tgid as u32) {
        Some((index, vcpu)) if vcpu.pid_tgid == pid_tgid => Some((index, vcpu)),
        _ => None,
    }
}

/// The entry of any thread of the host, which is most often no vCPU: then no map is touched.
#[inline(always)]
pub fn find_tid(tid: u32) -> Option<(u32, &'static mut Vcpu)> {
    let hint = maps::hint(tid);
    if hint.nobody() {
        return None;
    }
    let is_its = |vcpu: &Vcpu| vcpu.tid == tid && vcpu.state == state::LIVE;
    let index = hint.index();
    if let Some(vcpu) = vcpu_at(index)
        && is_its(vcpu)
    {
        return Some((index, vcpu));
    }
    // As in `find`.
    find_slowly(tid).filter(|(_, vcpu)| is_its(vcpu))
}

#[inline(always)]
fn find_slowly(tid: u32) -> Option<(u32, &'static mut Vcpu)> {
    // SAFETY: the value is copied at once.
    let index = unsafe { VCPU_OF.get(tid).copied() }?;
    maps::hint(tid).point_to(index);
    Some((index, vcpu_at(index)?))
}

/// Gives a thread an entry, still to be published. User space has zeroed it, but for the generation.
#[inline(never)]
fn enrol(pid_tgid: u64, now_ns: u64, isa: u32, vcpu_id: u32) -> Option<&'static mut Vcpu> {
    let tid = pid_tgid as u32;
    let index = maps::take(&FREE_VCPUS, table::VCPUS)?;
    let vcpu = vcpu_at(index)?;
    if VCPU_OF.insert(tid, index, 0).is_err() {
        let _ = FREE_VCPUS.push(index, 0);
        return None;
    }
    maps::hint(tid).point_to(index);
    maps::hint(tid).came();
    vcpu.pid = (pid_tgid >> 32) as u32;
    vcpu.tid = tid;
    vcpu.first_ns = now_ns;
    vcpu.isa = isa;
    vcpu.comm = bpf_get_current_comm().unwrap_or_default();
    vcpu.vcpu_id = vcpu_id;
    vcpu.pid_tgid = pid_tgid;
    Some(vcpu)
}

/// The slot of the exit that was open, a new one if this vCPU has not seen its code. [`None`] has been counted.
#[inline(always)]
pub fn plain_slot(index: u32, vcpu: *const Vcpu) -> Option<&'static mut Slot> {
    // SAFETY: as in `close`.
    let mut number = unsafe { slot::find_direct(&*vcpu, (*vcpu).open_isa, (*vcpu).open_code) };
    if number == 0 {
        number = rare_or_new(index);
    }
    slot_at(number.wrapping_sub(1))
}

/// A slot for a code without a direct place, or one that this vCPU has not seen: its number plus one, 0 if there is none.
///
/// A function of its own, so that the usual way has the registers for itself.
#[cold]
#[inline(never)]
fn rare_or_new(index: u32) -> u32 {
    let Some(vcpu) = vcpu_at(index) else { return 0 };
    let (isa, code) = (vcpu.open_isa, vcpu.open_code);
    let known = slot::find(vcpu, isa, code);
    if known != 0 {
        return known;
    }
    if !slot::has_place(vcpu, isa, code) {
        vcpu.lost[PerVcpu::RareCodesFull as usize] += 1;
        return 0;
    }
    let number = take_slot(index, isa, code, 0);
    if number == 0 {
        vcpu.lost[PerVcpu::SlotTableFull as usize] += 1;
    } else {
        slot::note(vcpu, isa, code, number);
    }
    number
}

/// Takes a free slot: its number plus one, 0 if there is none.
#[inline(always)]
pub fn take_slot(index: u32, isa: u32, code: u32, subkey: u64) -> u32 {
    let Some(free) = maps::take(&FREE_SLOTS, table::SLOTS) else { return 0 };
    let Some(slot) = slot_at(free) else { return 0 };
    slot::set(&mut slot.vcpu, index);
    slot::set(&mut slot.isa, isa);
    slot::set(&mut slot.code, code);
    slot::set(&mut slot.subkey, subkey);
    // Last: user space takes the slot as it is once it sees an epoch.
    slot::set(&mut slot.epoch, 1);
    free + 1
}

/// Gives a slot back that nobody has seen.
#[inline(always)]
pub fn give_back(number: u32) {
    if let Some(slot) = slot_at(number) {
        slot::set(&mut slot.epoch, 0);
        let _ = FREE_SLOTS.push(number, 0);
    }
}

/// A guest interval.
#[inline(always)]
fn guest(index: u32, vcpu: &mut Vcpu, ns: u64) {
    if vcpu.guest_slot == 0 {
        vcpu.guest_slot = take_slot(index, 0, 0, subkey::new(subkey::kind::GUEST, 0));
    }
    match slot_at(vcpu.guest_slot.wrapping_sub(1)) {
        Some(slot) => slot::record(slot, ns),
        None => vcpu.lost[PerVcpu::SlotTableFull as usize] += 1,
    }
}

#[inline(always)]
pub fn vcpu_at(index: u32) -> Option<&'static mut Vcpu> {
    // SAFETY: array elements live as long as the program; one vCPU is one thread, so one event at a time
    // holds this reference, but for the scheduler's, which keep off (`Vcpu::busy`). User space only reads while the
    // thread lives, but for a slot's epoch, which it alone writes once the slot is published.
    VCPUS.get_ptr_mut(index).map(|vcpu| unsafe { &mut *vcpu })
}

#[inline(always)]
pub fn slot_at(index: u32) -> Option<&'static mut Slot> {
    // SAFETY: as in `vcpu_at`: a slot belongs to one vCPU.
    SLOTS.get_ptr_mut(index).map(|slot| unsafe { &mut *slot })
}
