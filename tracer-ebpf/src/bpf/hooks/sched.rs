//! When vCPU threads lose and get their CPU, and when they are woken. These events fire for every thread of
//! the host, so each program first asks whether the thread can be a vCPU at all, and touches no map if not.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
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
    kmem::read,
    record::field,
    slots::Maps,
};

/// `sched_switch(preempt, prev, next[, prev_state])`; the state is an argument since 5.18 (commit
/// 9c2136be0878).
#[raw_tracepoint]
pub fn raw_switch(ctx: RawTracePointContext) -> i32 {
    // `prev` is still the current task here.
    let prev = bpf_get_current_pid_tgid() as u32;
    switched_out(prev, || {
        let state = match value::<OFF_TASK_STATE>() {
            ABSENT_IMM => ctx.arg(3),
            offset => read(ctx.arg::<u64>(1), offset).unwrap_or(ABSENT),
        };
        off_by_state(ctx.arg::<u8>(0) != 0, state)
    });
    switched_in(read(ctx.arg::<u64>(2), value::<OFF_TASK_PID>()).unwrap_or(0));
    0
}

/// `sched_wakeup(task)`.
#[raw_tracepoint]
pub fn raw_wakeup(ctx: RawTracePointContext) -> i32 {
    if let Some(tid) = read(ctx.arg::<u64>(0), value::<OFF_TASK_PID>()) {
        woken(tid);
    }
    0
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
