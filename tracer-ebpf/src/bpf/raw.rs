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
    abi::{ABSENT, ISA_SVM, ISA_VMX, Vcpu},
    config::{CAST, CAUSES, KEEP_VMCB, OFF_SVM_CODE, OFF_SVM_VMCB, OFF_VCPU_ID, OFF_VMX_REASON},
    loss::Global,
};

use crate::{
    body::{self, clock_ns},
    config::{self, NOWHERE, is, number},
    maps::{LOST, bump},
};

/// `kvm_exit`.
#[raw_tracepoint]
pub fn raw_exit(ctx: RawTracePointContext) -> i32 {
    let kvm_vcpu = ctx.arg::<u64>(0);
    let Some((index, vcpu)) = body::running(kvm_vcpu) else { return first_exit(&ctx) };
    let now_ns = clock_ns();
    // The kernel extends arguments of 32 bits with zeroes (`CAST_TO_U64`, include/trace/bpf_probe.h).
    let isa = ctx.arg::<u64>(1);
    let code = reason(kvm_vcpu, isa, Some(vcpu));
    if is::<CAUSES>() {
        vcpu.open_subkey = 0;
    }
    body::open(index, vcpu, now_ns, isa as u32, code);
    0
}

/// `kvm_entry`.
#[raw_tracepoint]
pub fn raw_entry(ctx: RawTracePointContext) -> i32 {
    match body::running(ctx.arg::<u64>(0)) {
        Some((index, vcpu)) => body::close_with_cause(index, vcpu, clock_ns()),
        None => first_entry(&ctx),
    }
    0
}

/// An exit by which it gets known which thread runs the vCPU. A function of its own, as that of the entry: the others
/// have the registers for themselves.
#[cold]
#[inline(never)]
fn first_exit(ctx: &RawTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::wanted((pid_tgid >> 32) as u32) {
        let now_ns = clock_ns();
        let (kvm_vcpu, isa) = (ctx.arg::<u64>(0), ctx.arg::<u32>(1));
        let code = reason(kvm_vcpu, isa.into(), None);
        let vcpu_id = |_: &_| read(kvm_vcpu, number::<OFF_VCPU_ID>()).unwrap_or(ABSENT);
        if let Some(index) = body::exit(ctx, pid_tgid, now_ns, isa, code, vcpu_id) {
            body::runs(index, kvm_vcpu);
        }
    }
    0
}

/// An entry by which it gets known which thread runs the vCPU.
#[cold]
#[inline(never)]
fn first_entry(ctx: &RawTracePointContext) {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::wanted((pid_tgid >> 32) as u32)
        && let Some(index) = body::entry(pid_tgid, clock_ns())
    {
        body::runs(index, ctx.arg(0));
    }
}

/// `kvm_nested_vmrun`, `kvm_nested_vmenter`: a guest in the guest is about to run, with a control block of its own.
#[raw_tracepoint]
pub fn nested(_ctx: RawTracePointContext) -> i32 {
    if let Some((_, vcpu)) = body::find_tid(bpf_get_current_pid_tgid() as u32) {
        vcpu.vmcb = 0;
    }
    0
}

/// The exit reason as the classic record has it: `vmx_get_exit_info` and `svm_get_exit_info` give the record
/// these same fields.
#[inline(always)]
fn reason(kvm_vcpu: u64, isa: u64, vcpu: Option<&mut Vcpu>) -> u32 {
    const VMX: u64 = ISA_VMX as u64;
    const SVM: u64 = ISA_SVM as u64;
    match isa {
        SVM => match vmcb(kvm_vcpu, vcpu) {
            Some(vmcb) => read(vmcb, number::<OFF_SVM_CODE>()).unwrap_or(ABSENT),
            None => ABSENT,
        },
        VMX => read(kvm_vcpu, number::<OFF_VMX_REASON>()).unwrap_or(ABSENT),
        _ => {
            failed();
            ABSENT
        }
    }
}

/// The control block of an SVM vCPU. It is another one only while a guest in the guest runs: the guest's own is kept
/// until [`nested`] or the next call of KVM_RUN.
#[inline(always)]
fn vmcb(kvm_vcpu: u64, vcpu: Option<&mut Vcpu>) -> Option<u64> {
    let offset = number::<OFF_SVM_VMCB>();
    let Some(vcpu) = vcpu.filter(|_| is::<KEEP_VMCB>()) else { return read(kvm_vcpu, offset) };
    if vcpu.vmcb == 0 {
        // The one in use and, right behind, `vmcb01.ptr`: the guest's own. A typed load takes eight bytes.
        let [used, own] = if is::<CAST>() {
            [read::<u64>(kvm_vcpu, offset)?, read(kvm_vcpu, offset.wrapping_add(8))?]
        } else {
            read(kvm_vcpu, offset)?
        };
        if used != own {
            return Some(used);
        }
        vcpu.vmcb = own;
    }
    Some(vcpu.vmcb)
}

/// Reads a value at an offset from a kernel pointer. [`None`], which has been counted, if it cannot be read, or if the
/// kernel's types did not say where it is.
///
/// Since 6.2 a pointer can be declared to be one of a type (commit a35b9af4ec2c), and what it points to loaded by an
/// instruction, which gives 0 where there is no memory; before, a helper has to do it, which takes ten times as long.
#[inline(always)]
pub fn read<T>(base: u64, offset: u64) -> Option<T> {
    if offset == NOWHERE {
        failed();
        return None;
    }
    let address = base.wrapping_add(offset) as *const T;
    if is::<CAST>() {
        // SAFETY: the verifier makes the load one that cannot fault.
        return Some(unsafe { core::ptr::read_volatile(cast(address)) });
    }
    // SAFETY: the helper checks the address.
    let value = unsafe { bpf_probe_read_kernel(address) };
    if value.is_err() {
        failed();
    }
    value.ok()
}

/// Something could not be read.
#[cold]
#[inline(never)]
fn failed() {
    bump(&LOST, Global::ReadFailed as u32);
}

/// Calls `bpf_rdonly_cast(pointer, type)`. The loader puts the numbers of both into the object, by the kernel's BTF.
/// The call is no call: the verifier replaces it by a move.
#[inline(always)]
fn cast<T>(pointer: *const T) -> *const T {
    let typed;
    #[cfg(target_arch = "bpf")]
    // SAFETY: clobbers what it names; never reached unless the loader has replaced the numbers.
    unsafe {
        core::arch::asm!(
            "r2 = {kind}",
            "call {call}",
            kind = const tracer_ebpf::config::CAST_TYPE,
            call = const tracer_ebpf::config::CAST_CALL,
            in("r1") pointer,
            lateout("r0") typed,
            lateout("r1") _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
            options(nostack),
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        typed = pointer;
    }
    typed
}
