//! Null programs: they do nothing, or nothing but read the clock. They show the cost below which no tracer on
//! the same events can go. An object of its own, for the bench; exitlat does not contain it.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "the macros make functions without docs of the documented ones")]

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};

/// Does nothing.
#[raw_tracepoint]
pub fn null_raw(_ctx: RawTracePointContext) -> i32 {
    0
}

/// Reads the clock: no tracer that measures time on these events can go below this.
#[raw_tracepoint]
pub fn null_clock(_ctx: RawTracePointContext) -> i32 {
    // SAFETY: the helper has no requirements. The result is used, or the call would not be there.
    (unsafe { bpf_ktime_get_ns() } == 0).into()
}

/// Does nothing. Returns 1, as 0 would keep the event from other users of the tracepoint.
#[tracepoint]
pub fn null_tp(_ctx: TracePointContext) -> u32 {
    1
}

tracer_ebpf::object!();
