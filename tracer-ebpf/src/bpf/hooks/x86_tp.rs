//! Tracepoints: the record's fields, at the offsets that the kernel's `format` files gave the loader.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext};
use tracer_ebpf::{
    abi::{ABSENT, Isa},
    config::{
        ISA_DEFAULT, OFF_ENTRY_VCPU, OFF_EXIT_ISA, OFF_EXIT_REASON, OFF_EXIT_VCPU, USUAL_RECORDS, usual,
    },
};

use crate::{
    config::{self, ABSENT_IMM, expects, value},
    event::{self, Reason, Who, by_number, clock_ns},
    record::{field, fixed},
};

/// `kvm:kvm_exit`.
#[tracepoint]
pub fn tp_exit(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        // The stamp comes first: what the program does after it is part of the exit, as it is in the kernel.
        let now_ns = clock_ns();
        let (reason, vcpu_id) = fields(&ctx, now_ns);
        event::exit(&ctx, pid_tgid, now_ns, reason, by_number(vcpu_id), |_| Who::numbered(vcpu_id));
    }
    1
}

/// `kvm:kvm_entry`.
#[tracepoint]
pub fn tp_entry(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        let identity = if expects::<USUAL_RECORDS>(pid_tgid) {
            by_number(fixed::<u32, { usual::ENTRY_VCPU }>(&ctx))
        } else {
            match (value::<OFF_EXIT_VCPU>(), value::<OFF_ENTRY_VCPU>()) {
                // Without the vCPU's number in exits too, there is nothing to compare with.
                (ABSENT_IMM, _) | (_, ABSENT_IMM) => 0,
                (_, offset) => by_number(field::<u32, { usual::ENTRY_VCPU }>(&ctx, offset).unwrap_or(ABSENT)),
            }
        };
        event::entry(pid_tgid, clock_ns(), identity);
    }
    1
}

/// Why the vCPU left its guest, and its number. `any` is a number to ask with.
#[inline(always)]
fn fields(ctx: &TracePointContext, any: u64) -> (Reason, u32) {
    if expects::<USUAL_RECORDS>(any) {
        let isa = fixed::<u32, { usual::EXIT_ISA }>(ctx);
        let reason = Reason::new(Isa(isa), fixed::<u32, { usual::EXIT_REASON }>(ctx));
        return (reason, fixed::<u32, { usual::EXIT_VCPU }>(ctx));
    }
    let code = field::<u32, { usual::EXIT_REASON }>(ctx, value::<OFF_EXIT_REASON>());
    let isa = match value::<OFF_EXIT_ISA>() {
        ABSENT_IMM => Some(value::<ISA_DEFAULT>() as u32),
        offset => field::<u32, { usual::EXIT_ISA }>(ctx, offset),
    };
    let reason = match (isa, code) {
        (Some(isa), Some(code)) => Reason::new(Isa(isa), code),
        _ => Reason::unreadable(Isa(value::<ISA_DEFAULT>() as u32)),
    };
    let vcpu_id = match value::<OFF_EXIT_VCPU>() {
        ABSENT_IMM => ABSENT,
        offset => field::<u32, { usual::EXIT_VCPU }>(ctx, offset).unwrap_or(ABSENT),
    };
    (reason, vcpu_id)
}
