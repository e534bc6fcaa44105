//! The way of the exits that are not simply handled by KVM: those in which the thread returned to the VMM, slept,
//! or lost its CPU. Slower than the other, and taken by few.

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_get_current_pid_tgid,
    macros::{kprobe, raw_tracepoint, tracepoint},
    programs::{ProbeContext, RawTracePointContext, TracePointContext},
};
use tracer_ebpf::{
    abi::{Slot, SlotKey, Vcpu},
    breakdown::{self, Trip},
    config::{CAUSES, SCHED, record},
    loss::PerVcpu,
    pairing::{self, Entry},
    part::Part,
    slot,
    subkey::{self, kind},
};

use crate::{
    body::{self, clock_ns, find_tid, give_back, plain_slot, slot_at, take_slot},
    config::is,
    maps::SLOT_OF,
};

/// `kvm_userspace_exit(reason, errno)`: KVM_RUN returns to the VMM.
#[raw_tracepoint]
pub fn left_kvm(ctx: RawTracePointContext) -> i32 {
    on_left(ctx.arg(0), ctx.arg(1));
    0
}

/// `kvm:kvm_userspace_exit`; the loader has checked where its fields are, as for those below.
#[tracepoint]
pub fn tp_left_kvm(ctx: TracePointContext) -> u32 {
    on_left(at(&ctx, record::LEFT_REASON), at(&ctx, record::LEFT_ERRNO));
    1
}

/// `kvm_fpu(load)`: x86 loads the guest's registers when KVM_RUN is called (`kvm_load_guest_fpu`,
/// `arch/x86/kvm/x86.c`), and puts them back (0) before it returns.
#[raw_tracepoint]
pub fn entered_kvm(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<u32>(0) != 0 {
        on_call();
    }
    0
}

/// `kvm:kvm_fpu`.
#[tracepoint]
pub fn tp_entered_kvm(ctx: TracePointContext) -> u32 {
    if at::<u32>(&ctx, record::FPU_LOAD) != 0 {
        on_call();
    }
    1
}

/// `kvm_arch_vcpu_ioctl_run`: KVM_RUN is called.
#[kprobe]
pub fn entered_kvm_probe(_ctx: ProbeContext) -> u32 {
    on_call();
    0
}

/// `kvm_vcpu_wakeup(ns, waited, valid)`: the end of a halt.
#[raw_tracepoint]
pub fn halted(ctx: RawTracePointContext) -> i32 {
    on_halted(ctx.arg(0), ctx.arg::<u8>(1) != 0);
    0
}

/// `kvm:kvm_vcpu_wakeup`.
#[tracepoint]
pub fn tp_halted(ctx: TracePointContext) -> u32 {
    on_halted(at(&ctx, record::HALT_NS), at::<u8>(&ctx, record::HALT_WAITED) != 0);
    1
}

#[inline(always)]
fn on_left(reason: u32, errno: i32) {
    if let Some((index, vcpu)) = find_tid(current_tid()) {
        slot::set(&mut vcpu.busy, 1);
        // The vCPU's mutex is about to be given up: another thread may run it next, or it may be freed.
        vcpu.kvm_vcpu = 0;
        left(index, vcpu, clock_ns(), breakdown::user_reason(reason, errno));
        slot::set(&mut vcpu.busy, 0);
    }
}

#[inline(always)]
fn on_call() {
    if let Some((index, vcpu)) = find_tid(current_tid()) {
        slot::set(&mut vcpu.busy, 1);
        called(index, vcpu, clock_ns());
        slot::set(&mut vcpu.busy, 0);
    }
}

#[inline(always)]
fn on_halted(ns: u64, waited: bool) {
    if let Some((_, vcpu)) = find_tid(current_tid()) {
        slot::set(&mut vcpu.busy, 1);
        breakdown::halted(vcpu, clock_ns(), ns, waited, is::<SCHED>());
        slot::set(&mut vcpu.busy, 0);
    }
}

/// The VMM got control.
#[inline(always)]
pub fn left(index: u32, vcpu: &mut Vcpu, now_ns: u64, reason: u32) {
    let trip = breakdown::left_kvm(vcpu, now_ns, reason);
    end_trip(index, vcpu, trip);
}

/// The VMM gave it back.
#[inline(always)]
pub fn called(index: u32, vcpu: &mut Vcpu, now_ns: u64) {
    let trip = breakdown::entered_kvm(vcpu, now_ns);
    end_trip(index, vcpu, trip);
}

/// A field of a record.
#[inline(always)]
fn at<T: Copy>(ctx: &TracePointContext, (offset, _): (u32, u32)) -> T {
    // SAFETY: the loader has checked against the `format` file that such a field is here.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().byte_add(offset as usize).cast()) }
}

/// A vCPU entered its guest, and the exit before that has parts.
///
/// By index and not by reference: the verifier loses sight of pointers that are handed to a function.
#[inline(never)]
pub fn entry(index: u32, now_ns: u64) {
    let Some(vcpu) = body::vcpu_at(index) else { return };
    // Where nothing marks the call of KVM_RUN, the stay in the VMM ends here.
    called(index, vcpu, now_ns);
    let Entry::Closed(ns) = pairing::on_entry(vcpu, now_ns) else { return };
    let (isa, code, cause) = (vcpu.open_isa, vcpu.open_code, vcpu.open_subkey);
    // Taken off at once: a reader that copies the entry sees the exit's parts with the exit or with the sums.
    let parts = vcpu.breakdown.parts;
    breakdown::close(vcpu);
    let idle_ns = parts[Part::Halt as usize] + parts[Part::Stopped as usize];
    let handled_ns = ns.saturating_sub(idle_ns);
    let slot = if idle_ns == 0 {
        plain_slot(index, vcpu)
    } else {
        sample(index, isa, code, subkey::new(kind::WHOLE, 0), ns);
        subkey_slot(index, isa, code, subkey::new(kind::HALTED, 0))
    };
    if let Some(slot) = slot {
        slot::record_parts(slot, handled_ns, &parts);
    }
    if is::<CAUSES>() && cause != 0 {
        sample(index, isa, code, cause, handled_ns);
    }
}

#[inline(always)]
fn end_trip(index: u32, vcpu: &Vcpu, trip: Option<Trip>) {
    if let Some(Trip { reason, ns }) = trip {
        let subkey = subkey::new(kind::USER_EXIT, u64::from(reason));
        sample(index, vcpu.open_isa, vcpu.open_code, subkey, ns);
    }
}

/// Adds one sample to a slot with a detail.
#[inline(never)]
pub fn sample(index: u32, isa: u32, code: u32, subkey: u64, ns: u64) {
    if let Some(slot) = subkey_slot(index, isa, code, subkey) {
        slot::record(slot, ns);
    }
}

/// The slot of a detail, a new one at its first sample. [`None`] has been counted.
#[inline(always)]
fn subkey_slot(vcpu: u32, isa: u32, code: u32, subkey: u64) -> Option<&'static mut Slot> {
    let key = SlotKey { vcpu, isa, code, pad: 0, subkey };
    // SAFETY: the value is copied at once.
    let mut number = unsafe { SLOT_OF.get(key).copied() }.unwrap_or(0);
    if number == 0 {
        number = take_slot(vcpu, isa, code, subkey);
        if number != 0 && SLOT_OF.insert(key, number, 0).is_err() {
            give_back(number - 1);
            number = 0;
        }
        if number == 0 {
            if let Some(vcpu) = body::vcpu_at(vcpu) {
                vcpu.lost[PerVcpu::SlotTableFull as usize] += 1;
            }
            return None;
        }
    }
    slot_at(number - 1)
}

#[inline(always)]
fn current_tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}
