//! x86: events between exit and entry that tell the cause of the open exit.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext};
use tracer_ebpf::{
    config::{OFF_CR_NUMBER, OFF_CR_RW, OFF_MSR_NUMBER, OFF_MSR_WRITE},
    subkey::{self, WRITE, kind},
};

use crate::{
    config::{self, value},
    event,
    record::field,
};

/// `kvm:kvm_cr`: an access of a control register. kvm_intel fires it for every such exit; kvm_amd only on
/// processors with decode assists (`cr_interception`, arch/x86/kvm/svm/svm.c), else it emulates the
/// instruction.
#[tracepoint]
pub fn cause_cr(ctx: TracePointContext) -> u32 {
    access(kind::CR, &ctx, value::<OFF_CR_RW>(), value::<OFF_CR_NUMBER>());
    1
}

/// `kvm:kvm_msr`: KVM emulated RDMSR or WRMSR, with or without a fault of the guest
/// (`kvm_emulate_rdmsr`, `kvm_emulate_wrmsr`, arch/x86/kvm/x86.c). An access that goes to the VMM has no
/// cause of this kind.
#[tracepoint]
pub fn cause_msr(ctx: TracePointContext) -> u32 {
    access(kind::MSR, &ctx, value::<OFF_MSR_WRITE>(), value::<OFF_MSR_NUMBER>());
    1
}

/// The cause of an access: direction and number are the first two fields of the record.
#[inline(always)]
fn access(kind: u8, ctx: &TracePointContext, direction: u64, number: u64) {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        let (written, number) = (field::<u32, 8>(ctx, direction), field::<u32, 12>(ctx, number));
        if let (Some(written), Some(number)) = (written, number) {
            let direction = if written == 0 { 0 } else { WRITE };
            event::cause(pid_tgid, subkey::new(kind, u64::from(number) | direction));
        }
    }
}
