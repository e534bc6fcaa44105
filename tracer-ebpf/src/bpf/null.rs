//! Programs that do nothing, or nothing but read the clock, on the same hooks: what no tracer on these hooks can go below. For the bench only.

use aya_ebpf::{
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};

use crate::event::clock_ns;

/// On `kvm_exit` and `kvm_entry`.
#[raw_tracepoint]
pub fn floor_raw(_ctx: RawTracePointContext) -> i32 {
    0
}

/// On the same, reading the clock: what no tracer can go below that measures time on these hooks.
#[raw_tracepoint]
pub fn floor_clock(_ctx: RawTracePointContext) -> i32 {
    // The result is used, or the call would not be.
    (clock_ns() == 0).into()
}

/// On `kvm:kvm_exit` and `kvm:kvm_entry`.
#[tracepoint]
pub fn floor_classic(_ctx: TracePointContext) -> u32 {
    1
}
