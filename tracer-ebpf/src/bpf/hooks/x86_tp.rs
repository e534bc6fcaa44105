//! Tracepoints: the record's fields, at the offsets that the kernel's `format` files gave the loader.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext};
use tracer_ebpf::{
    abi::{ABSENT, Isa},
    config::{ISA_DEFAULT, OFF_EXIT_ISA, OFF_EXIT_REASON, OFF_EXIT_VCPU},
};

use crate::{
    config::{self, ABSENT_IMM, value},
    event::{self, clock_ns},
    record::field,
};

/// `kvm:kvm_exit`.
#[tracepoint]
pub fn tp_exit(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        // The stamp comes first: what the program does after it is part of the exit, as it is in the kernel.
        let now_ns = clock_ns();
        let code = field::<u32, 8>(&ctx, value::<OFF_EXIT_REASON>()).unwrap_or(ABSENT);
        let isa = match value::<OFF_EXIT_ISA>() {
            ABSENT_IMM => value::<ISA_DEFAULT>() as u32,
            offset => field::<u32, 24>(&ctx, offset).unwrap_or(ABSENT),
        };
        event::exit(&ctx, pid_tgid, now_ns, Isa(isa), code, |ctx| match value::<OFF_EXIT_VCPU>() {
            ABSENT_IMM => ABSENT,
            offset => field::<u32, 56>(ctx, offset).unwrap_or(ABSENT),
        });
    }
    1
}

/// `kvm:kvm_entry`.
#[tracepoint]
pub fn tp_entry(_ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        event::entry(pid_tgid, clock_ns());
    }
    1
}
