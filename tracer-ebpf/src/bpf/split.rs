//! The way of the exits that are not simply handled by KVM: those in which the thread returned to the VMM, slept,
//! or lost its CPU. Slower than the other, and taken by few.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{kprobe, raw_tracepoint},
    programs::{ProbeContext, RawTracePointContext},
};
use tracer_ebpf::{
    abi::{DetailKey, Slot, Vcpu},
    detail::{self, kind},
    lost::PerVcpu,
    pairing::{self, Entry},
    part::Part,
    slot,
    split::{self, Trip},
};

use crate::{
    body::{self, clock_ns, find_tid, plain_slot, slot_at, take_slot},
    config,
    maps::DETAIL_OF,
};

/// `kvm_userspace_exit(reason, errno)`: KVM_RUN returns to the VMM.
#[raw_tracepoint]
pub fn left_kvm(ctx: RawTracePointContext) -> i32 {
    if let Some((index, vcpu)) = find_tid(current_tid()) {
        left(index, vcpu, clock_ns(), split::user_reason(ctx.arg(0), ctx.arg(1)));
    }
    0
}

#[inline(always)]
pub fn left(index: u32, vcpu: &mut Vcpu, now_ns: u64, reason: u32) {
    let trip = split::left_kvm(vcpu, now_ns, reason);
    end_trip(index, vcpu, trip);
}

/// `kvm_fpu(load)`: x86 loads the guest's registers when KVM_RUN is called (`kvm_load_guest_fpu`,
/// `arch/x86/kvm/x86.c`), and puts them back (0) before it returns.
#[raw_tracepoint]
pub fn entered_kvm(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<u32>(0) != 0 {
        call();
    }
    0
}

/// `kvm_arch_vcpu_ioctl_run`: KVM_RUN is called.
#[kprobe]
pub fn entered_kvm_probe(_ctx: ProbeContext) -> u32 {
    call();
    0
}

#[inline(always)]
fn call() {
    if let Some((index, vcpu)) = find_tid(current_tid()) {
        called(index, vcpu, clock_ns());
    }
}

#[inline(always)]
pub fn called(index: u32, vcpu: &mut Vcpu, now_ns: u64) {
    let trip = split::entered_kvm(vcpu, now_ns);
    end_trip(index, vcpu, trip);
}

/// `kvm_vcpu_wakeup(ns, waited, valid)`: the end of a halt.
#[raw_tracepoint]
pub fn halted(ctx: RawTracePointContext) -> i32 {
    if let Some((_, vcpu)) = find_tid(current_tid()) {
        let waited = ctx.arg::<u8>(1) != 0;
        split::halted(vcpu, clock_ns(), ctx.arg(0), waited, config::SCHED.load() != 0);
    }
    0
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
    let (isa, code, cause) = (vcpu.open_isa, vcpu.open_code, vcpu.open_detail);
    let parts = &vcpu.split.parts;
    let idle_ns = parts[Part::Halt as usize] + parts[Part::Stopped as usize];
    let handled_ns = ns.saturating_sub(idle_ns);
    let slot = if idle_ns == 0 {
        plain_slot(index, vcpu, isa, code)
    } else {
        sample(index, isa, code, detail::new(kind::WHOLE, 0), ns);
        detail_slot(index, isa, code, detail::new(kind::HALTED, 0))
    };
    if let Some(slot) = slot {
        slot::record_parts(slot, handled_ns, &vcpu.split.parts);
    }
    if config::DETAILS.load() != 0 && cause != 0 {
        sample(index, isa, code, cause, handled_ns);
    }
    split::close(vcpu);
}

#[inline(always)]
fn end_trip(index: u32, vcpu: &Vcpu, trip: Option<Trip>) {
    if let Some(Trip { reason, ns }) = trip {
        let detail = detail::new(kind::USER_EXIT, u64::from(reason));
        sample(index, vcpu.open_isa, vcpu.open_code, detail, ns);
    }
}

/// Adds one sample to a slot with a detail.
#[inline(never)]
pub fn sample(index: u32, isa: u32, code: u32, detail: u64, ns: u64) {
    if let Some(slot) = detail_slot(index, isa, code, detail) {
        slot::record(slot, ns);
    }
}

/// The slot of a detail, a new one at its first sample. [`None`] has been counted.
#[inline(always)]
fn detail_slot(vcpu: u32, isa: u32, code: u32, detail: u64) -> Option<&'static mut Slot> {
    let key = DetailKey { vcpu, isa, code, pad: 0, detail };
    // SAFETY: the value is copied at once.
    let mut number = unsafe { DETAIL_OF.get(&key).copied() }.unwrap_or(0);
    if number == 0 {
        number = take_slot(vcpu, isa, code, detail);
        if number == 0 || DETAIL_OF.insert(&key, number, 0).is_err() {
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
