//! When vCPU threads lose and get their CPU, and when they are woken. These events fire for every thread of the
//! host, so each program first asks whether the thread can be a vCPU at all, and touches no map if not.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use tracer_ebpf::{
    abi::ABSENT,
    breakdown::{self, off_by_state},
    config::*,
};

use crate::{
    body::{clock_ns, find_tid},
    config::{NOWHERE, number},
    raw::read,
    tp::field,
};

/// `sched_switch(preempt, prev, next[, prev_state])`; the state is an argument since 5.18 (commit 9c2136be0878).
#[raw_tracepoint]
pub fn raw_switch(ctx: RawTracePointContext) -> i32 {
    // `prev` is still the current task here.
    let prev = bpf_get_current_pid_tgid() as u32;
    out(prev, || {
        let state = match number::<OFF_TASK_STATE>() {
            NOWHERE => ctx.arg(3),
            offset => read(ctx.arg::<u64>(1), offset).unwrap_or(ABSENT),
        };
        off_by_state(ctx.arg::<u8>(0) != 0, state)
    });
    r#in(read(ctx.arg::<u64>(2), number::<OFF_TASK_PID>()).unwrap_or(0));
    0
}

/// `sched_wakeup(task)`.
#[raw_tracepoint]
pub fn raw_wakeup(ctx: RawTracePointContext) -> i32 {
    woken(read(ctx.arg::<u64>(0), number::<OFF_TASK_PID>()).unwrap_or(0));
    0
}

/// `sched:sched_switch`.
#[tracepoint]
pub fn tp_switch(ctx: TracePointContext) -> u32 {
    out(field::<24>(&ctx, number::<OFF_SWITCH_PREV>()), || {
        // Bit 8 of the record's state: preempted (`__trace_sched_switch_state`, include/trace/events/sched.h).
        let state = field::<32>(&ctx, number::<OFF_SWITCH_STATE>());
        off_by_state(state & 0xff == 0, state)
    });
    r#in(field::<56>(&ctx, number::<OFF_SWITCH_NEXT>()));
    1
}

/// `sched:sched_wakeup`.
#[tracepoint]
pub fn tp_wakeup(ctx: TracePointContext) -> u32 {
    woken(field::<24>(&ctx, number::<OFF_WAKEUP_PID>()));
    1
}

#[inline(always)]
fn out(tid: u32, why: impl FnOnce() -> u32) {
    if tid != 0
        && let Some((_, vcpu)) = find_tid(tid)
        && vcpu.busy == 0
    {
        breakdown::switched_out(vcpu, clock_ns(), why());
    }
}

#[inline(always)]
fn r#in(tid: u32) {
    if tid != 0
        && let Some((_, vcpu)) = find_tid(tid)
        && vcpu.busy == 0
    {
        breakdown::switched_in(vcpu, clock_ns());
    }
}

#[inline(always)]
fn woken(tid: u32) {
    if let Some((_, vcpu)) = find_tid(tid) {
        breakdown::woken(vcpu, clock_ns());
    }
}
