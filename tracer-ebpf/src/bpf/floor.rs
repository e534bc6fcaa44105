//! Programs that do nothing, on the same hooks: what no tracer on these hooks can go below. For the bench only.

use aya_ebpf::{
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};

/// On `kvm_exit` and `kvm_entry`.
#[raw_tracepoint]
pub fn floor_raw(_ctx: RawTracePointContext) -> i32 {
    0
}

/// On `kvm:kvm_exit` and `kvm:kvm_entry`.
#[tracepoint]
pub fn floor_classic(_ctx: TracePointContext) -> u32 {
    1
}
