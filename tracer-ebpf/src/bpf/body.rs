//! What happens at an event, in plain values: thread, time, isa, code. Knows maps, but no kernel layout.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_comm, bpf_ktime_get_ns},
};
use aya_log_ebpf::debug;
use tracer_ebpf::{
    abi::{Slot, Vcpu, state},
    lost::{Global, PerVcpu},
    pairing::{self, Entry},
    slot,
};

use crate::maps::{self, FREE_SLOTS, FREE_VCPUS, LOST, SLOTS, VCPU_OF, VCPUS, bump};

/// CLOCK_MONOTONIC: it does not run while the host is suspended, and user space has it too.
#[inline(always)]
pub fn clock_ns() -> u64 {
    // SAFETY: the helper has no requirements.
    unsafe { bpf_ktime_get_ns() }
}

/// A vCPU left its guest. `vcpu_id` is asked for at the thread's first exit only.
#[inline(always)]
pub fn exit<C: EbpfContext>(
    ctx: &C,
    pid_tgid: u64,
    now_ns: u64,
    isa: u32,
    code: u32,
    vcpu_id: impl FnOnce(&C) -> u32,
) {
    let vcpu = match find(pid_tgid) {
        Some((_, vcpu)) => vcpu,
        None => match enrol(pid_tgid, now_ns, isa, vcpu_id(ctx)) {
            Some(vcpu) => {
                debug!(ctx, "thread {} is a vCPU: first exit, isa {} code {}", pid_tgid as u32, isa, code);
                vcpu
            }
            None => {
                bump(&LOST, Global::VcpuTableFull as u32);
                debug!(ctx, "thread {}: the vCPU table is full", pid_tgid as u32);
                return;
            }
        },
    };
    pairing::on_exit(vcpu, now_ns, isa, code);
}

/// A vCPU entered its guest.
#[inline(always)]
pub fn entry<C: EbpfContext>(ctx: &C, pid_tgid: u64, now_ns: u64) {
    let Some((index, vcpu)) = find(pid_tgid) else {
        bump(&LOST, Global::EarlyEntries as u32);
        return;
    };
    let Entry::Closed(ns) = pairing::on_entry(vcpu, now_ns) else { return };
    let (isa, code) = (vcpu.open_isa, vcpu.open_code);
    let mut number = slot::find(vcpu, isa, code);
    if number == 0 {
        number = match assign(index, vcpu, isa, code) {
            Ok(number) => number,
            Err(cause) => {
                vcpu.lost[cause as usize] += 1;
                debug!(ctx, "thread {}: no slot for isa {} code {}", pid_tgid as u32, isa, code);
                return;
            }
        };
    }
    if let Some(slot) = slot_at(number - 1) {
        slot::record(slot, ns);
    }
}

/// A thread is gone. Its entry stays for user space to read, open exit included.
#[inline(always)]
pub fn death(pid_tgid: u64) {
    // The hint is of no use here: most threads that die are no vCPUs.
    // SAFETY: the value is copied at once.
    let Some(&index) = (unsafe { VCPU_OF.get(pid_tgid) }) else { return };
    if let Some(vcpu) = vcpu_at(index) {
        vcpu.pid_tgid = 0;
        let _ = VCPU_OF.remove(pid_tgid);
        // Last: from here on the entry is user space's.
        slot::set(&mut vcpu.state, state::DEAD);
    }
}

/// The entry of a thread and its index.
#[inline(always)]
fn find(pid_tgid: u64) -> Option<(u32, &'static mut Vcpu)> {
    let hint = maps::hint(pid_tgid as u32);
    // SAFETY: in bounds; a torn or stale value only costs the check below.
    let index = unsafe { hint.read_volatile() };
    if let Some(vcpu) = vcpu_at(index)
        && vcpu.pid_tgid == pid_tgid
    {
        return Some((index, vcpu));
    }
    // SAFETY: the value is copied at once.
    let index = unsafe { VCPU_OF.get(pid_tgid).copied() }?;
    // SAFETY: in bounds.
    unsafe { hint.write_volatile(index) };
    let vcpu = vcpu_at(index)?;
    if vcpu.pid_tgid == pid_tgid { Some((index, vcpu)) } else { None }
}

/// Gives a thread an entry. User space has zeroed it, but for the generation.
#[inline(never)]
fn enrol(pid_tgid: u64, now_ns: u64, isa: u32, vcpu_id: u32) -> Option<&'static mut Vcpu> {
    let index = FREE_VCPUS.pop().ok()??;
    let vcpu = vcpu_at(index)?;
    if VCPU_OF.insert(pid_tgid, index, 0).is_err() {
        let _ = FREE_VCPUS.push(index, 0);
        return None;
    }
    vcpu.pid = (pid_tgid >> 32) as u32;
    vcpu.tid = pid_tgid as u32;
    vcpu.first_ns = now_ns;
    vcpu.isa = isa;
    vcpu.comm = bpf_get_current_comm().unwrap_or_default();
    vcpu.vcpu_id = vcpu_id;
    vcpu.pid_tgid = pid_tgid;
    // Last, and in this order: user space takes the entry as it is once it sees them.
    let generation = vcpu.generation + 1;
    slot::set(&mut vcpu.generation, generation);
    slot::set(&mut vcpu.state, state::LIVE);
    Some(vcpu)
}

/// Finds a slot for a code that this vCPU has not seen, and notes it: its number plus one.
#[inline(always)]
fn assign(index: u32, vcpu: &mut Vcpu, isa: u32, code: u32) -> Result<u32, PerVcpu> {
    if !slot::has_place(vcpu, isa, code) {
        return Err(PerVcpu::RareCodesFull);
    }
    let Ok(Some(free)) = FREE_SLOTS.pop() else { return Err(PerVcpu::SlotTableFull) };
    let Some(slot) = slot_at(free) else { return Err(PerVcpu::SlotTableFull) };
    slot::set(&mut slot.vcpu, index);
    slot::set(&mut slot.isa, isa);
    slot::set(&mut slot.code, code);
    // Last: user space takes the slot as it is once it sees an epoch.
    slot::set(&mut slot.epoch, 1);
    slot::note(vcpu, isa, code, free + 1);
    Ok(free + 1)
}

#[inline(always)]
fn vcpu_at(index: u32) -> Option<&'static mut Vcpu> {
    // SAFETY: array elements live as long as the program; one vCPU is one thread, so one event at a time
    // holds this reference. User space only reads while the thread lives.
    VCPUS.get_ptr_mut(index).map(|vcpu| unsafe { &mut *vcpu })
}

#[inline(always)]
fn slot_at(index: u32) -> Option<&'static mut Slot> {
    // SAFETY: as in `vcpu_at`: a slot belongs to one vCPU.
    SLOTS.get_ptr_mut(index).map(|slot| unsafe { &mut *slot })
}
