//! The end of threads: without it a reused tid would inherit a dead vCPU's open exit.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};

use crate::{entries, event::clock_ns};

/// `sched_process_exit`; runs in the dying thread.
#[raw_tracepoint]
pub fn thread_exit(_ctx: RawTracePointContext) -> i32 {
    entries::retire(bpf_get_current_pid_tgid() as u32, clock_ns);
    0
}

/// `sched:sched_process_exit`, where raw tracepoints let the thread lose its CPU meanwhile.
#[tracepoint]
pub fn tp_thread_exit(_ctx: TracePointContext) -> u32 {
    entries::retire(bpf_get_current_pid_tgid() as u32, clock_ns);
    1
}
