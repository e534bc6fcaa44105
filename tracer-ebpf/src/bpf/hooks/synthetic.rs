//! The event functions behind raw tracepoints that take plain numbers, for BPF_PROG_TEST_RUN. Only tests load
//! them: tracepoint programs cannot be test-run, raw ones can from 5.10 on.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use tracer_ebpf::{
    abi::Isa,
    breakdown::{self, Off},
    event,
    symbols::synthetic,
};

use crate::{
    config, entries,
    event::{self as by_thread, Reason, Who},
    slots::Maps,
};

/// Arguments: `pid_tgid`, time, isa, code, vCPU number and, from bit 32 on,
/// [`tracer_ebpf::abi::Vcpu::identity`].
#[raw_tracepoint]
pub fn synthetic_exit(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = ctx.arg(0);
    if config::is_traced((pid_tgid >> 32) as u32) {
        let reason = Reason::new(Isa(ctx.arg(2)), ctx.arg(3));
        let identity = ctx.arg::<u64>(4) >> 32;
        by_thread::exit(&ctx, pid_tgid, ctx.arg(1), reason, identity, |ctx| Who::numbered(ctx.arg(4)));
    }
    0
}

/// Arguments: `pid_tgid`, time, [`tracer_ebpf::abi::Vcpu::identity`].
#[raw_tracepoint]
pub fn synthetic_entry(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = ctx.arg(0);
    if config::is_traced((pid_tgid >> 32) as u32) {
        by_thread::entry(pid_tgid, ctx.arg(1), ctx.arg(2));
    }
    0
}

/// Arguments: tid, time.
#[raw_tracepoint]
pub fn synthetic_death(ctx: RawTracePointContext) -> i32 {
    entries::retire(ctx.arg(0), || ctx.arg(1));
    0
}

/// Arguments: tid, time, what ([`synthetic`]), and two numbers that depend on it.
#[raw_tracepoint]
pub fn synthetic_part(ctx: RawTracePointContext) -> i32 {
    let (tid, now_ns, what) = (ctx.arg::<u32>(0), ctx.arg::<u64>(1), ctx.arg::<u32>(2));
    if what == synthetic::CAUSE {
        // By `pid_tgid`, as all events of KVM's own.
        by_thread::cause(ctx.arg(0), ctx.arg(3));
        return 0;
    }
    let Some(entry) = entries::find_tid(tid) else { return 0 };
    match what {
        synthetic::LEFT => {
            let reason = breakdown::user_reason(ctx.arg(3), ctx.arg(4));
            event::kvm_run_return(&mut Maps, entry, now_ns, reason);
        }
        synthetic::CALL => event::kvm_run_entry(&mut Maps, entry, now_ns),
        synthetic::HALTED => {
            event::halted(&mut Maps, entry, now_ns, ctx.arg(3), ctx.arg::<u32>(4) != 0, true);
        }
        synthetic::OUT => breakdown::switched_out(entry.vcpu(), now_ns, Off(ctx.arg(3))),
        synthetic::IN => event::switched_in(&mut Maps, entry, now_ns),
        synthetic::STAMP => event::stamp(&mut Maps, entry, now_ns),
        synthetic::WOKEN => breakdown::woken(entry.vcpu(), now_ns),
        _ => {}
    }
    0
}
