//! s390: the events of SIE, and those that tell the cause of an intercept. Tracepoints only, as every
//! kernel has them: neither BTF nor a JIT is needed.
//!
//! Where an exit has no cause of its own, none of the `cause_` events fires; where two fire, the later one
//! tells more (`kvm_s390_intercept_instruction`, then `kvm_s390_handle_sigp`).

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext};
use tracer_ebpf::{
    abi::{ABSENT, Isa},
    config::*,
    subkey::{self, kind},
};

use crate::{
    config::{self, value},
    event::{self, Reason, Who, by_number, clock_ns},
    record::field,
};

/// `kvm:kvm_s390_sie_exit`.
#[tracepoint]
pub fn sie_exit(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        let now_ns = clock_ns();
        let reason = match field::<u8, OWN>(&ctx, value::<OFF_SIE_ICPTCODE>()) {
            Some(code) => Reason::new(Isa::S390, u32::from(code)),
            None => Reason::unreadable(Isa::S390),
        };
        let vcpu_id = field::<u32, VCPU>(&ctx, value::<OFF_SIE_VCPU>()).unwrap_or(ABSENT);
        event::exit(&ctx, pid_tgid, now_ns, reason, by_number(vcpu_id), |_| Who::numbered(vcpu_id));
    }
    1
}

/// `kvm:kvm_s390_sie_enter`.
#[tracepoint]
pub fn sie_enter(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        let vcpu_id = field::<u32, VCPU>(&ctx, value::<OFF_SIE_ENTER_VCPU>()).unwrap_or(ABSENT);
        event::entry(pid_tgid, clock_ns(), by_number(vcpu_id));
    }
    1
}

/// `$name`: the program on `kvm:kvm_s390_*`; the cause is `$cause` of the field at `$offset`.
macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident($offset:ident: $type:ty) = $cause:expr;)+) => {$(
        $(#[$doc])*
        #[tracepoint]
        pub fn $name(ctx: TracePointContext) -> u32 {
            let pid_tgid = bpf_get_current_pid_tgid();
            if config::is_traced((pid_tgid >> 32) as u32)
                && let Some(value) = field::<$type, OWN>(&ctx, value::<$offset>())
            {
                event::cause(pid_tgid, $cause(value));
            }
            1
        }
    )+};
}

causes! {
    /// `kvm:kvm_s390_intercept_instruction`.
    cause_instruction(OFF_INSTRUCTION: u64) = subkey::instruction;
    /// `kvm:kvm_s390_handle_diag`.
    cause_diag(OFF_DIAG: u16) = subkey::diag;
    /// `kvm:kvm_s390_handle_sigp`.
    cause_sigp(OFF_SIGP: u8) = subkey::sigp;
    /// `kvm:kvm_s390_handle_sigp_pei`: a SIGP that the hardware did in part.
    cause_sigp_pei(OFF_SIGP_PEI: u8) = subkey::sigp;
    /// `kvm:kvm_s390_intercept_prog`.
    cause_program(OFF_PROGRAM: u16) = subkey::program;
    /// `kvm:kvm_s390_intercept_validity`.
    cause_validity(OFF_VALIDITY: u16) = subkey::validity;
    /// `kvm:kvm_s390_handle_operexc`.
    cause_operation(OFF_OPERATION: u64) = subkey::operation;
}

/// `kvm:kvm_s390_sie_fault`: a fault of the host inside SIE.
#[tracepoint]
pub fn cause_sie_fault(_ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if config::is_traced((pid_tgid >> 32) as u32) {
        event::cause(pid_tgid, subkey::new(kind::SIE_FAULT, 0));
    }
    1
}

/// Offset of the vCPU's number in all of these records, and of the first field of their own. The two fields
/// with the PSW are between them (`VCPU_FIELD_COMMON`, arch/s390/kvm/trace.h).
const VCPU: usize = 8;
const OWN: usize = 32;
