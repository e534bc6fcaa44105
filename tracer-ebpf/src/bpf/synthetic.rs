//! The same bodies behind numbers-only raw tracepoints, for BPF_PROG_TEST_RUN. Loaded by tests only: classic
//! tracepoint programs cannot be test-run, raw ones can from 5.10 on.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use tracer_ebpf::{breakdown as pure, symbols::synthetic};

use crate::{body, config, split};

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
        body::entry(pid_tgid, ctx.arg(1));
    }
    0
}

/// Arguments: tid, time.
#[raw_tracepoint]
pub fn synthetic_death(ctx: RawTracePointContext) -> i32 {
    body::death(ctx.arg(0), || ctx.arg(1));
    0
}

/// Arguments: tid, time, what ([`synthetic`]), and two numbers that depend on it.
#[raw_tracepoint]
pub fn synthetic_part(ctx: RawTracePointContext) -> i32 {
    let (tid, now_ns, what) = (ctx.arg::<u32>(0), ctx.arg::<u64>(1), ctx.arg::<u32>(2));
    if what == synthetic::CAUSE {
        // By the whole number, as all events of KVM's own.
        body::cause(ctx.arg(0), ctx.arg(3));
        return 0;
    }
    let Some((index, vcpu)) = body::find_tid(tid) else { return 0 };
    match what {
        synthetic::LEFT => split::left(index, vcpu, now_ns, pure::user_reason(ctx.arg(3), ctx.arg(4))),
        synthetic::CALL => split::called(index, vcpu, now_ns),
        synthetic::HALTED => pure::halted(vcpu, now_ns, ctx.arg(3), ctx.arg::<u32>(4) != 0, true),
        synthetic::OUT => pure::switched_out(vcpu, now_ns, ctx.arg(3)),
        synthetic::IN => pure::switched_in(vcpu, now_ns),
        synthetic::WOKEN => pure::woken(vcpu, now_ns),
        _ => {}
    }
    0
}
