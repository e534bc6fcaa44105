//! The same bodies behind numbers-only raw tracepoints, for BPF_PROG_TEST_RUN. Loaded by tests only: classic
//! tracepoint programs cannot be test-run, raw ones can from 5.10 on.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{body, config};

/// Arguments: `pid_tgid`, time, isa, code, vCPU number.
#[raw_tracepoint]
pub fn synthetic_exit(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = ctx.arg(0);
    if config::wanted((pid_tgid >> 32) as u32) {
        body::exit(&ctx, pid_tgid, ctx.arg(1), ctx.arg(2), ctx.arg(3), |ctx| ctx.arg(4));
    }
    0
}

/// Arguments: `pid_tgid`, time.
#[raw_tracepoint]
pub fn synthetic_entry(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = ctx.arg(0);
    if config::wanted((pid_tgid >> 32) as u32) {
        body::entry(&ctx, pid_tgid, ctx.arg(1));
    }
    0
}

/// Argument: tid.
#[raw_tracepoint]
pub fn synthetic_death(ctx: RawTracePointContext) -> i32 {
    body::death(ctx.arg(0));
    0
}
