//! s390x: exits and their causes by tracepoints. Raw tracepoints would need the structures of KVM, for little
//! gain where programs are interpreted, as on Debian's kernels.

use std::path::Path;

use tracer_ebpf::{config, subkey::kind, symbols};

use crate::{
    decode::Isa,
    kernel::{
        Unsupported,
        arch::Arch,
        cpuinfo,
        hook::{Hook, IfMissing, Role, Unless, flag, record, tp},
    },
};

pub(crate) static ARCH: Arch = Arch {
    name: "s390x",
    hooks: &HOOKS,
    backends: &["kvm"],
    load_hint: "modprobe kvm",
    activity: [
        "kvm_userspace_exit",
        "kvm_s390_intercept_instruction",
        "kvm_s390_intercept_prog",
        "kvm_s390_handle_diag",
        "kvm_s390_handle_sigp",
    ],
    offsets: None,
    isa: |_| Some(Isa::S390),
    clock_sources: &["tod"],
    backend_optional: true,
    no_kvm,
};

/// A line of the table: an event, the kind of cause that it tells, what that is, its program and field.
macro_rules! cause {
    ($event:literal, $kind:ident, $tells:literal, $program:ident $(, $field:expr)?) => {
        Hook {
            event: $event,
            role: Role::Cause { kind: kind::$kind, by_default: true },
            tells: $tells,
            ways: &[tp(symbols::$program, &[flag(config::CAUSES) $(, $field)?])],
            unless: Unless::Never,
            if_missing: IfMissing::Lose("exits of this cause are not broken down"),
        }
    };
}

static HOOKS: [Hook; 10] = [
    Hook {
        event: "kvm:kvm_s390_sie_enter",
        role: Role::Entry,
        tells: "a vCPU enters its guest",
        ways: &[tp(symbols::SIE_ENTER, &[record(config::OFF_SIE_ENTER_VCPU, "id", 4)])],
        unless: Unless::Never,
        if_missing: IfMissing::Refuse,
    },
    Hook {
        event: "kvm:kvm_s390_sie_exit",
        role: Role::Exit,
        tells: "a vCPU leaves its guest, and why",
        ways: &[tp(
            symbols::SIE_EXIT,
            &[record(config::OFF_SIE_ICPTCODE, "icptcode", 1), record(config::OFF_SIE_VCPU, "id", 4)],
        )],
        unless: Unless::Never,
        if_missing: IfMissing::Refuse,
    },
    cause!(
        "kvm:kvm_s390_intercept_instruction",
        INSTRUCTION,
        "the instruction that was intercepted",
        CAUSE_INSTRUCTION,
        record(config::OFF_INSTRUCTION, "instruction", 8)
    ),
    cause!(
        "kvm:kvm_s390_handle_diag",
        DIAG,
        "the DIAGNOSE function",
        CAUSE_DIAG,
        record(config::OFF_DIAG, "code", 2)
    ),
    cause!(
        "kvm:kvm_s390_handle_sigp",
        SIGP,
        "the SIGP order",
        CAUSE_SIGP,
        record(config::OFF_SIGP, "order_code", 1)
    ),
    cause!(
        "kvm:kvm_s390_handle_sigp_pei",
        SIGP,
        "the SIGP order, of one that the hardware did in part",
        CAUSE_SIGP_PEI,
        record(config::OFF_SIGP_PEI, "order_code", 1)
    ),
    cause!(
        "kvm:kvm_s390_intercept_prog",
        PROGRAM,
        "the program interruption",
        CAUSE_PROGRAM,
        record(config::OFF_PROGRAM, "code", 2)
    ),
    cause!(
        "kvm:kvm_s390_intercept_validity",
        VALIDITY,
        "the reason of a validity intercept",
        CAUSE_VALIDITY,
        record(config::OFF_VALIDITY, "viwhy", 2)
    ),
    cause!(
        "kvm:kvm_s390_handle_operexc",
        OPERATION,
        "the instruction of an operation exception",
        CAUSE_OPERATION,
        record(config::OFF_OPERATION, "instruction", 8)
    ),
    cause!("kvm:kvm_s390_sie_fault", SIE_FAULT, "a fault of the host inside SIE", CAUSE_SIE_FAULT),
];

/// Without SIE, the instruction that runs guests, kvm.ko does not load (`show_cpuinfo`,
/// arch/s390/kernel/processor.c, lists it among the features).
fn no_kvm() -> Unsupported {
    if Path::new("/sys/module/kvm").exists() || lists_sie(cpuinfo::read()) {
        return Unsupported::new("KVM is not loaded", ARCH.load_hint);
    }
    Unsupported::new(
        "this machine has no SIE, the instruction that runs guests (no `sie` among the features in /proc/cpuinfo)",
        "use an LPAR or bare machine, or have the hypervisor below offer it: KVM with nested=1, or z/VM",
    )
}

fn lists_sie(cpuinfo: &str) -> bool {
    cpuinfo::field(cpuinfo, "features").is_some_and(|list| list.split_whitespace().any(|name| name == "sie"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHOUT_SIE: &str = "vendor_id       : IBM/S390\n# processors    : 2\n\
        features\t: esan3 zarch stfle msa ldisp eimm etf3eh highgprs vx vxe vxe2 \n\
        cpu number      : 0\nmachine         : 8561\n";

    #[test]
    fn a_machine_without_sie_is_told() {
        assert!(!lists_sie(WITHOUT_SIE));
        assert!(lists_sie(&WITHOUT_SIE.replace("vxe2 ", "vxe2 sie ")));
        assert!(!lists_sie("flags\t\t: fpu sie\n"));
    }
}
