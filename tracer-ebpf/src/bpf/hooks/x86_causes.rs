//! x86: events between exit and entry that tell the cause of the open exit.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext};
use tracer_ebpf::{
    config::{OFF_CR_NUMBER, OFF_CR_RW},
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
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        let written = field::<u32, 8>(&ctx, value::<OFF_CR_RW>());
        let register = field::<u32, 12>(&ctx, value::<OFF_CR_NUMBER>());
        if let (Some(written), Some(register)) = (written, register) {
            let direction = if written == 0 { 0 } else { WRITE };
            event::cause(pid_tgid, subkey::new(kind::CR, u64::from(register) | direction));
        }
    }
    1
}
