//! Classic tracepoints: the record's fields, at the offsets that the kernel's `format` files gave the loader.

use aya_ebpf::{
    EbpfContext, helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext,
};
use tracer_ebpf::{
    abi::ABSENT,
    config::{ISA_DEFAULT, OFF_EXIT_ISA, OFF_EXIT_REASON, OFF_EXIT_VCPU},
    loss::Global,
};

use crate::{
    body::{self, clock_ns},
    config::{self, NOWHERE, number},
    maps::{LOST, bump},
};

/// `kvm:kvm_exit`.
#[tracepoint]
pub fn tp_exit(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::wanted((pid_tgid >> 32) as u32) {
        // The stamp comes first: what the program does after it is part of the exit, as it is in the kernel.
        let now_ns = clock_ns();
        let code = field::<8>(&ctx, number::<OFF_EXIT_REASON>());
        let isa = match number::<OFF_EXIT_ISA>() {
            NOWHERE => number::<ISA_DEFAULT>() as u32,
            offset => field::<24>(&ctx, offset),
        };
        body::exit(&ctx, pid_tgid, now_ns, isa, code, |ctx| match number::<OFF_EXIT_VCPU>() {
            NOWHERE => ABSENT,
            offset => field::<56>(ctx, offset),
        });
    }
    1
}

/// `kvm:kvm_entry`.
#[tracepoint]
pub fn tp_entry(_ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::wanted((pid_tgid >> 32) as u32) {
        body::entry(pid_tgid, clock_ns());
    }
    1
}

/// A 32-bit field of the record. The verifier takes a direct load only at a constant offset, so the offset
/// that every kernel of the last ten years has (`USUAL`) is a direct load, and any other goes through a
/// helper. The verifier knows the offset: only one of the two survives.
#[inline(always)]
pub fn field<const USUAL: usize>(ctx: &TracePointContext, offset: u64) -> u32 {
    if offset as usize == USUAL {
        // SAFETY: the loader has checked against the `format` file that a 4-byte field is here.
        return unsafe { core::ptr::read_volatile(ctx.as_ptr().byte_add(USUAL).cast()) };
    }
    // SAFETY: the helper checks the address.
    match unsafe { ctx.read_at(offset as usize) } {
        Ok(value) => value,
        Err(_) => {
            bump(&LOST, Global::ReadFailed as u32);
            ABSENT
        }
    }
}
