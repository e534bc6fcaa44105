//! Raw tracepoints: no record is made for them, so the exit reason is read from the vendor's own vCPU structure,
//! at the offsets that the kernel's BTF gave the loader.
//!
//! Only the prototypes `kvm_exit(struct kvm_vcpu *vcpu, u32 isa)` and `kvm_entry(struct kvm_vcpu *vcpu, ...)`
//! (since the reason moved into the exit-info callback, commit 0a62a0319abb) are supported; the loader checks
//! that, and takes the classic tracepoints otherwise.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_ebpf::{
    abi::{ABSENT, ISA_SVM, ISA_VMX},
    lost::Global,
};

use crate::{
    body::{self, clock_ns},
    config,
    maps::{LOST, bump},
};

/// `kvm_exit`.
#[raw_tracepoint]
pub fn fast_exit(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::wanted((pid_tgid >> 32) as u32) {
        let now_ns = clock_ns();
        let (vcpu, isa) = (ctx.arg::<u64>(0), ctx.arg::<u32>(1));
        let code = reason(vcpu, isa);
        body::exit(&ctx, pid_tgid, now_ns, isa, code, |ctx| {
            read(ctx.arg::<u64>(0), config::OFF_VCPU_ID.load())
        });
    }
    0
}

/// `kvm_entry`.
#[raw_tracepoint]
pub fn fast_entry(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::wanted((pid_tgid >> 32) as u32) {
        body::entry(&ctx, pid_tgid, clock_ns());
    }
    0
}

/// The exit reason as the classic record has it: `vmx_get_exit_info` and `svm_get_exit_info` give the record
/// these same fields.
#[inline(always)]
fn reason(vcpu: u64, isa: u32) -> u32 {
    match isa {
        ISA_VMX => read(vcpu, config::OFF_VMX_REASON.load()),
        ISA_SVM => match read::<u64>(vcpu, config::OFF_SVM_VMCB.load()) {
            u64::ONES => ABSENT,
            vmcb => read(vmcb, config::OFF_SVM_CODE.load()),
        },
        _ => {
            bump(&LOST, Global::ReadFailed as u32);
            ABSENT
        }
    }
}

/// Reads a value at an offset from a kernel pointer. All bits set if it cannot be read, or if the kernel's types
/// did not say where it is.
#[inline(always)]
pub fn read<T: Ones>(base: u64, offset: u32) -> T {
    if offset != ABSENT {
        let address = base.wrapping_add(u64::from(offset)) as *const T;
        // SAFETY: the helper checks the address.
        if let Ok(value) = unsafe { bpf_probe_read_kernel(address) } {
            return value;
        }
    }
    bump(&LOST, Global::ReadFailed as u32);
    T::ONES
}

/// Integers, and their value for "not known".
pub trait Ones {
    /// The value for "not known".
    const ONES: Self;
}

impl Ones for u32 {
    const ONES: Self = ABSENT;
}

impl Ones for u64 {
    const ONES: Self = u64::MAX;
}
