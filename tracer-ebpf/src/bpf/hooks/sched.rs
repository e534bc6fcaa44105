//! When vCPU threads lose and get their CPU, and when they are woken. These events fire for every thread of
//! the host, so each program first asks whether the thread can be a vCPU at all, and touches no map if not.

use core::{ffi::c_void, hint::cold_path};

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use tracer_ebpf::{
    abi::ABSENT,
    breakdown::{self, Off, off_by_state},
    config::{
        OFF_SWITCH_NEXT, OFF_SWITCH_PREV, OFF_SWITCH_STATE, OFF_TASK_PID, OFF_TASK_STATE, OFF_WAKEUP_PID,
    },
    event,
};

use crate::{
    config::{ABSENT_IMM, value},
    entries::find_tid,
    event::clock_ns,
    maps::may_be_vcpu,
    record::field,
    slots::Maps,
};

/// `sched_switch(preempt, prev, next[, prev_state])`; the state is an argument since 5.18 (commit
/// 9c2136be0878).
#[btf_tracepoint(function = "sched_switch")]
pub fn typed_switch(ctx: BtfTracePointContext) -> i32 {
    if may_be_vcpu(tid(task(&ctx, 1))) || may_be_vcpu(tid(task(&ctx, 2))) {
        cold_path();
        vcpu_switched(ctx.as_ptr());
    }
    0
}

/// One of the two threads can be a vCPU. A function of its own, so that the usual switch keeps no register.
#[cold]
#[inline(never)]
fn vcpu_switched(ctx: *mut c_void) {
    let ctx = &BtfTracePointContext::new(ctx);
    let (prev, next) = (task(ctx, 1), task(ctx, 2));
    switched_out(tid(prev), || {
        let state = match value::<OFF_TASK_STATE>() {
            ABSENT_IMM => argument(ctx, 3) as u32,
            offset => typed(prev, offset),
        };
        off_by_state(argument(ctx, 0) as u8 != 0, state)
    });
    switched_in(tid(next));
}

/// `sched_wakeup(task)`.
#[btf_tracepoint(function = "sched_wakeup")]
pub fn typed_wakeup(ctx: BtfTracePointContext) -> i32 {
    if may_be_vcpu(tid(task(&ctx, 0))) {
        cold_path();
        vcpu_woken(ctx.as_ptr());
    }
    0
}

#[cold]
#[inline(never)]
fn vcpu_woken(ctx: *mut c_void) {
    woken(tid(task(&BtfTracePointContext::new(ctx), 0)));
}

#[inline(always)]
fn argument(ctx: &BtfTracePointContext, number: usize) -> u64 {
    // SAFETY: the loader has checked the arguments. Volatile: reads of the context must stay apart.
    unsafe { ctx.as_ptr().cast::<u64>().add(number).read_volatile() }
}

/// A `struct task_struct` that the kernel gives, of a type that the verifier knows.
#[inline(always)]
fn task(ctx: &BtfTracePointContext, number: usize) -> *const u8 {
    argument(ctx, number) as *const u8
}

/// A field of a task, by a load: the verifier knows the type.
#[inline(always)]
fn typed(task: *const u8, offset: u64) -> u32 {
    // SAFETY: the verifier checks that the field is there.
    unsafe { task.wrapping_add(offset as usize).cast::<u32>().read_volatile() }
}

#[inline(always)]
fn tid(task: *const u8) -> u32 {
    typed(task, value::<OFF_TASK_PID>())
}

/// `sched:sched_switch`.
#[tracepoint]
pub fn tp_switch(ctx: TracePointContext) -> u32 {
    switched_out(field::<u32, 24>(&ctx, value::<OFF_SWITCH_PREV>()).unwrap_or(ABSENT), || {
        // Bit 8 of the record's state: preempted (`__trace_sched_switch_state`,
        // include/trace/events/sched.h).
        let state = field::<u32, 32>(&ctx, value::<OFF_SWITCH_STATE>()).unwrap_or(ABSENT);
        off_by_state(state & 0xff == 0, state)
    });
    switched_in(field::<u32, 56>(&ctx, value::<OFF_SWITCH_NEXT>()).unwrap_or(ABSENT));
    1
}

/// `sched:sched_wakeup`.
#[tracepoint]
pub fn tp_wakeup(ctx: TracePointContext) -> u32 {
    woken(field::<u32, 24>(&ctx, value::<OFF_WAKEUP_PID>()).unwrap_or(ABSENT));
    1
}

#[inline(always)]
fn switched_out(tid: u32, why: impl FnOnce() -> Off) {
    if tid != 0
        && let Some(entry) = find_tid(tid)
        && entry.vcpu().busy == 0
    {
        breakdown::switched_out(entry.vcpu(), clock_ns(), why());
    }
}

#[inline(always)]
fn switched_in(tid: u32) {
    if tid != 0
        && let Some(entry) = find_tid(tid)
        && entry.vcpu().busy == 0
    {
        event::switched_in(&mut Maps, entry, clock_ns());
    }
}

#[inline(always)]
fn woken(tid: u32) {
    if let Some(entry) = find_tid(tid) {
        breakdown::woken(entry.vcpu(), clock_ns());
    }
}
