//! Raw tracepoints: no record is made for them, so the exit reason is read from the vendor's own vCPU
//! structure, at the offsets that the kernel's BTF gave the loader.
//!
//! Only the prototypes `kvm_exit(struct kvm_vcpu *vcpu, u32 isa)` and `kvm_entry(struct kvm_vcpu *vcpu, ...)`
//! (since the reason moved into the exit-info callback, commit 0a62a0319abb) are supported; the loader checks
//! that, and takes the tracepoints otherwise.

use core::hint::cold_path;

use aya_ebpf::{
    EbpfContext as _, helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_ebpf::{
    abi::{ABSENT, Isa, pseudo},
    config::{KEEP_VMCB, OFF_SVM_CODE, OFF_SVM_VMCB, OFF_VCPU_ID, OFF_VCPU_KVM, OFF_VMX_REASON, RAW_SVM},
    event, ring,
};

use crate::{
    config::{self, ABSENT_IMM, expects, flag, value},
    entries::{self, EntryRef},
    event::{self as by_thread, Reason, Who, clock_ns},
    kmem::{failed, read},
    slots::Maps,
};

/// `kvm_exit`.
#[raw_tracepoint]
pub fn raw_exit(ctx: RawTracePointContext) -> i32 {
    let Some(entry) = entries::running(|| vcpu_again(&ctx)) else {
        cold_path();
        return first_exit(&ctx);
    };
    let now_ns = clock_ns();
    match code(|| entry.vcpu().kvm_vcpu, Some(entry), now_ns) {
        Some(code) => event::exit(&mut Maps, entry, now_ns, None, code),
        None => {
            cold_path();
            unreadable(entry.index(), now_ns);
        }
    }
    0
}

/// The `struct kvm_vcpu`, read at each call.
#[inline(always)]
fn vcpu_again(ctx: &RawTracePointContext) -> u64 {
    // SAFETY: it is the first argument.
    unsafe { ctx.as_ptr().cast::<u64>().read_volatile() }
}

#[cold]
#[inline(never)]
fn unreadable(index: u32, now_ns: u64) {
    if let Some(entry) = EntryRef::at(index) {
        event::exit(&mut Maps, entry, now_ns, Some(Isa::NONE), pseudo::UNREADABLE);
    }
}

/// `kvm_entry`.
#[raw_tracepoint]
pub fn raw_entry(ctx: RawTracePointContext) -> i32 {
    let kvm_vcpu = ctx.arg(0);
    match entries::running(|| kvm_vcpu) {
        Some(entry) => event::entry(&mut Maps, entry, clock_ns()),
        None => first_entry(kvm_vcpu),
    }
    0
}

/// An exit that tells which thread runs the vCPU. A function of its own, so that the usual exit has the
/// registers for itself.
#[cold]
#[inline(never)]
fn first_exit(ctx: &RawTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        let now_ns = clock_ns();
        let kvm_vcpu = ctx.arg::<u64>(0);
        let own = if flag::<RAW_SVM>() { Isa::SVM } else { Isa::VMX };
        // One module of KVM runs at a time; one that is loaded after exitlat is the same vendor's.
        let code = if ctx.arg::<u32>(1) == own.0 {
            code(|| kvm_vcpu, None, now_ns)
        } else {
            failed();
            None
        };
        let reason = code.map_or(Reason::unreadable(own), |code| Reason::new(own, code));
        let who = |_: &_| Who {
            vcpu_id: read(kvm_vcpu, value::<OFF_VCPU_ID>()).unwrap_or(ABSENT),
            kvm: match value::<OFF_VCPU_KVM>() {
                ABSENT_IMM => 0,
                offset => read(kvm_vcpu, offset).unwrap_or(0),
            },
        };
        if let Some(entry) = lost_track(pid_tgid, kvm_vcpu, now_ns) {
            entry.vcpu().entered_ns = 0;
        }
        if let Some(entry) = by_thread::exit(ctx, pid_tgid, now_ns, reason, kvm_vcpu, who) {
            entries::runs(entry, kvm_vcpu);
        }
    }
    0
}

/// An entry that tells which thread runs the vCPU. A function of its own, so that the usual entry has the
/// registers for itself.
#[cold]
#[inline(never)]
fn first_entry(kvm_vcpu: u64) {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        let now_ns = clock_ns();
        let entry = match lost_track(pid_tgid, kvm_vcpu, now_ns) {
            Some(entry) => Some(entry),
            None => by_thread::entry(pid_tgid, now_ns, kvm_vcpu),
        };
        if let Some(entry) = entry {
            entries::runs(entry, kvm_vcpu);
        }
    }
}

/// The thread's entry, if another thread has run its vCPU meanwhile: what this one had open has ended there.
#[inline(always)]
fn lost_track(pid_tgid: u64, kvm_vcpu: u64, now_ns: u64) -> Option<EntryRef> {
    let entry = entries::find(pid_tgid)?;
    if entry.vcpu().identity != kvm_vcpu || !entries::has_moved(entry, kvm_vcpu) {
        return None;
    }
    ring::park(entry.vcpu(), now_ns);
    ring::resume(entry.vcpu(), now_ns);
    Some(entry)
}

/// `kvm_nested_vmrun`, `kvm_nested_vmenter`: a nested guest (L2) is about to run, with a VMCB of its own.
#[raw_tracepoint]
pub fn nested(_ctx: RawTracePointContext) -> i32 {
    if let Some(entry) = entries::find_tid(bpf_get_current_pid_tgid() as u32) {
        entry.vcpu().vmcb = 0;
    }
    0
}

/// The exit reason as the tracepoint's record has it: `vmx_get_exit_info` and `svm_get_exit_info` give the
/// record these same fields. `any` is a number to ask with.
#[inline(always)]
fn code(kvm_vcpu: impl Fn() -> u64, entry: Option<EntryRef>, any: u64) -> Option<u32> {
    if expects::<RAW_SVM>(any) {
        read(vmcb(kvm_vcpu, entry, any)?, value::<OFF_SVM_CODE>())
    } else {
        read(kvm_vcpu(), value::<OFF_VMX_REASON>())
    }
}

/// The VMCB of an SVM vCPU. It is another one only while a nested guest runs: the guest's own is kept
/// until [`nested`] or the next call of KVM_RUN.
#[inline(always)]
fn vmcb(kvm_vcpu: impl Fn() -> u64, entry: Option<EntryRef>, any: u64) -> Option<u64> {
    let Some(entry) = entry.filter(|_| expects::<KEEP_VMCB>(any)) else {
        return read(kvm_vcpu(), value::<OFF_SVM_VMCB>());
    };
    let mut vmcb = entry.vcpu().vmcb;
    if vmcb == 0 {
        cold_path();
        vmcb = vmcb_in_use(entry.index());
    }
    (vmcb != 0).then_some(vmcb)
}

/// Reads which VMCB is in use, or 0, and keeps it if it is the guest's own.
#[cold]
#[inline(never)]
fn vmcb_in_use(index: u32) -> u64 {
    let Some(entry) = EntryRef::at(index) else { return 0 };
    let (kvm_vcpu, offset) = (entry.vcpu().kvm_vcpu, value::<OFF_SVM_VMCB>());
    // The one in use and, right behind, `vmcb01.ptr`: the guest's own.
    let (Some(used), Some(own)) =
        (read::<u64>(kvm_vcpu, offset), read::<u64>(kvm_vcpu, offset.wrapping_add(8)))
    else {
        return 0;
    };
    if used == own {
        entry.vcpu().vmcb = own;
    }
    used
}
