//! Where a thread is between exit and entry: KVM_RUN returns and entries, and the ends of halts.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{kprobe, raw_tracepoint, tracepoint},
    programs::{ProbeContext, RawTracePointContext, TracePointContext},
};
use tracer_ebpf::{
    breakdown,
    config::{HALTS_ONLY, SCHED, record},
    event, slot,
};

use crate::{
    config::flag,
    entries::{EntryRef, find_tid},
    event::clock_ns,
    record::fixed,
    slots::Maps,
};

const LEFT_REASON: usize = record::LEFT_REASON.0 as usize;
const LEFT_ERRNO: usize = record::LEFT_ERRNO.0 as usize;
const FPU_LOAD: usize = record::FPU_LOAD.0 as usize;
const HALT_NS: usize = record::HALT_NS.0 as usize;
const HALT_WAITED: usize = record::HALT_WAITED.0 as usize;

/// `kvm_userspace_exit(reason, errno)`: KVM_RUN returns to the VMM.
#[raw_tracepoint]
pub fn left_kvm(ctx: RawTracePointContext) -> i32 {
    on_return(ctx.arg(0), ctx.arg(1));
    0
}

/// `kvm:kvm_userspace_exit`; the loader has checked where its fields are.
#[tracepoint]
pub fn tp_left_kvm(ctx: TracePointContext) -> u32 {
    on_return(fixed::<_, LEFT_REASON>(&ctx), fixed::<_, LEFT_ERRNO>(&ctx));
    1
}

/// `kvm_fpu(load)`: x86 loads the guest's registers when KVM_RUN is called (`kvm_load_guest_fpu`,
/// `arch/x86/kvm/x86.c`), and puts them back (0) before it returns.
#[raw_tracepoint]
pub fn entered_kvm(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<u32>(0) != 0 {
        on_entry();
    }
    0
}

/// `kvm:kvm_fpu`.
#[tracepoint]
pub fn tp_entered_kvm(ctx: TracePointContext) -> u32 {
    if fixed::<u32, FPU_LOAD>(&ctx) != 0 {
        on_entry();
    }
    1
}

/// `kvm_arch_vcpu_ioctl_run`: KVM_RUN is called.
#[kprobe]
pub fn entered_kvm_probe(_ctx: ProbeContext) -> u32 {
    on_entry();
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
    on_halted(fixed::<_, HALT_NS>(&ctx), fixed::<u8, HALT_WAITED>(&ctx) != 0);
    1
}

#[inline(always)]
fn on_return(reason: u32, errno: i32) {
    let Some(entry) = begin() else { return };
    // The vCPU's mutex is about to be given up: another thread may run it next, or it may be freed.
    entry.vcpu().kvm_vcpu = 0;
    event::kvm_run_return(&mut Maps, entry, clock_ns(), breakdown::user_reason(reason, errno));
    end(entry);
}

#[inline(always)]
fn on_entry() {
    let Some(entry) = begin() else { return };
    event::kvm_run_entry(&mut Maps, entry, clock_ns());
    end(entry);
}

#[inline(always)]
fn on_halted(ns: u64, waited: bool) {
    let Some(entry) = begin() else { return };
    let vcpu = entry.vcpu();
    if flag::<HALTS_ONLY>() || breakdown::is_halt(vcpu.open_isa, vcpu.open_code) {
        event::halted(&mut Maps, entry, clock_ns(), ns, waited, flag::<SCHED>());
    }
    end(entry);
}

/// The current thread's entry; the scheduler's programs keep off it until [`end`].
#[inline(always)]
fn begin() -> Option<EntryRef> {
    let entry = find_tid(bpf_get_current_pid_tgid() as u32)?;
    slot::set(&mut entry.vcpu().busy, 1);
    Some(entry)
}

#[inline(always)]
fn end(entry: EntryRef) {
    slot::set(&mut entry.vcpu().busy, 0);
}
