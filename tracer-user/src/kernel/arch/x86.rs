//! x86: exits by raw tracepoints where the kernel's types say where the vendor modules keep the reason, else
//! by tracepoints, whose record has it on every kernel.

use std::path::Path;

use tracer_ebpf::{config, subkey::kind, symbols};

use crate::{
    decode::isa_of_vendor,
    kernel::{
        Unsupported,
        arch::Arch,
        btf::Offsets,
        hook::{Hook, How, IfMissing, Role, Unless, Way, at, flag, low32, optional, raw, record, tp, types},
    },
};

pub(crate) static ARCH: Arch = Arch {
    name: "x86_64",
    hooks: &HOOKS,
    backends: &["kvm_intel", "kvm_amd", "kvm_pvm"],
    load_hint: "modprobe kvm_intel, or modprobe kvm_amd",
    activity: ["kvm_userspace_exit", "kvm_pio", "kvm_mmio", "kvm_msr", "kvm_emulate_insn"],
    offsets: Some(|types, backends| from_offsets(&types.kvm().map_err(|error| error.to_string())?, backends)),
    isa: isa_of_vendor,
    clock_sources: &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page"],
    backend_optional: false,
    no_kvm,
};

static NESTED: [Way; 1] =
    [raw(symbols::NESTED, &[types(config::KEEP_VMCB, "vcpu_svm.vmcb01.ptr behind vcpu_svm.vmcb")])];

/// SVM keeps a pointer to the VMCB in use. KVM changes it within KVM_RUN at one place only, which fires this
/// event first (`enter_svm_guest_mode`, arch/x86/kvm/svm/nested.c).
const fn nested(event: &'static str) -> Hook {
    Hook {
        event,
        role: Role::NestedEntry,
        tells: "a nested guest is about to run",
        ways: &NESTED,
        unless: Unless::Skippable,
        if_missing: IfMissing::Cost("the address of the VMCB is read at every exit"),
    }
}

static HOOKS: [Hook; 8] = [
    Hook {
        event: "kvm:kvm_fpu",
        role: Role::KvmRunEntry,
        tells: "the VMM calls KVM_RUN, exact to its first few hundred instructions",
        ways: &[
            raw(symbols::ENTERED_KVM, &[]),
            tp(symbols::TP_ENTERED_KVM, &[at("load", config::record::FPU_LOAD)]),
        ],
        // With MPX, KVM_GET_MP_STATE loads the guest's registers too (`kvm_arch_vcpu_ioctl_get_mpstate`).
        unless: Unless::CpuFlag("mpx"),
        if_missing: IfMissing::Lose("the return into KVM counts as VMM time"),
    },
    nested("kvm:kvm_nested_vmrun"),
    nested("kvm:kvm_nested_vmenter"),
    Hook {
        event: "kvm:kvm_entry",
        role: Role::Entry,
        tells: "a vCPU enters its guest",
        ways: &[
            raw(symbols::RAW_ENTRY, &[]),
            tp(
                symbols::TP_ENTRY,
                &[optional(config::OFF_ENTRY_VCPU, "vcpu_id", "one vCPU of each thread is known")],
            ),
        ],
        unless: Unless::Never,
        if_missing: IfMissing::Refuse,
    },
    Hook {
        event: symbols::EXIT_STAMP_FUNCTION,
        role: Role::ExitStamp,
        tells: "a vCPU leaves its guest, before the host's interrupts run",
        ways: &[Way { how: How::Kprobe, program: symbols::EXIT_STAMP, fields: &[] }],
        unless: Unless::Never,
        if_missing: IfMissing::Refuse,
    },
    Hook {
        event: "kvm:kvm_cr",
        role: Role::Cause { kind: kind::CR, by_default: false },
        tells: "the control register that was accessed",
        ways: &[tp(
            symbols::CAUSE_CR,
            &[
                flag(config::CAUSES),
                record(config::OFF_CR_RW, "rw", 4),
                record(config::OFF_CR_NUMBER, "cr", 4),
            ],
        )],
        unless: Unless::Never,
        if_missing: IfMissing::Lose("exits of control registers are not broken down"),
    },
    Hook {
        event: "kvm:kvm_msr",
        role: Role::Cause { kind: kind::MSR, by_default: false },
        tells: "the MSR that was accessed",
        ways: &[tp(
            symbols::CAUSE_MSR,
            &[
                flag(config::CAUSES),
                record(config::OFF_MSR_WRITE, "write", 4),
                record(config::OFF_MSR_NUMBER, "ecx", 4),
            ],
        )],
        unless: Unless::Never,
        if_missing: IfMissing::Lose("exits of MSRs are not broken down"),
    },
    Hook {
        event: "kvm:kvm_exit",
        role: Role::Exit,
        tells: "a vCPU leaves its guest, and why",
        ways: &[
            raw(
                symbols::RAW_EXIT,
                &[
                    types(config::RAW_SVM, "isa"),
                    types(config::OFF_VMX_REASON, "vcpu_vmx.exit_reason"),
                    types(config::OFF_SVM_VMCB, "vcpu_svm.vmcb"),
                    types(config::OFF_SVM_CODE, "vmcb.control.exit_code"),
                    types(config::OFF_VCPU_ID, "kvm_vcpu.vcpu_id"),
                    types(config::OFF_VCPU_KVM, "kvm_vcpu.kvm"),
                ],
            ),
            tp(
                symbols::TP_EXIT,
                &[
                    low32(config::OFF_EXIT_REASON, "exit_reason"),
                    optional(config::OFF_EXIT_ISA, "isa", "the isa is that of the processor's vendor"),
                    optional(
                        config::OFF_EXIT_VCPU,
                        "vcpu_id",
                        "vCPUs are shown by thread, and one vCPU of each",
                    ),
                ],
            ),
        ],
        unless: Unless::Never,
        if_missing: IfMissing::Refuse,
    },
];

fn no_kvm() -> Unsupported {
    let found = if Path::new("/sys/module/kvm").exists() {
        "kvm is there, but neither kvm_intel nor kvm_amd"
    } else {
        "KVM is not loaded"
    };
    Unsupported::new(found, ARCH.load_hint)
}

/// The programs read `kvm_exit(vcpu, isa)`, and need the structure of the vendor module that is loaded. There
/// is one: the processor has one vendor. Records of any other isa are unreadable, which is counted.
fn from_offsets(offsets: &Offsets, backends: &[&str]) -> Result<Vec<(i32, u32)>, String> {
    let exit = &offsets.exit;
    if (exit.vcpu, exit.isa, exit.reason) != (0, Some(1), None) {
        return Err("the arguments of this kernel's raw kvm_exit are others".to_owned());
    }
    if offsets.entry.vcpu != Some(0) {
        return Err("the arguments of this kernel's raw kvm_entry are others".to_owned());
    }
    let (is_svm, own) = match (backends, &offsets.vmx, &offsets.svm) {
        (["kvm_intel"], Some(vmx), _) => (0, vec![(config::OFF_VMX_REASON, vmx.exit_reason)]),
        (["kvm_amd"], _, Some(svm)) => {
            // Codes of 64 bits have their lower half first; the record keeps no more either.
            let mut own = vec![(config::OFF_SVM_VMCB, svm.vmcb), (config::OFF_SVM_CODE, svm.exit_code)];
            if svm.own_follows {
                own.push((config::KEEP_VMCB, 1));
            }
            (1, own)
        }
        ([], ..) => return Err("neither kvm_intel nor kvm_amd is loaded".to_owned()),
        ([backend], ..) => return Err(format!("the types of {backend} are not known")),
        (several, ..) => return Err(format!("several modules of KVM are loaded: {}", several.join(", "))),
    };
    let mut constants = vec![(config::OFF_VCPU_ID, offsets.vcpu_id), (config::RAW_SVM, is_svm)];
    constants.extend(offsets.kvm.map(|offset| (config::OFF_VCPU_KVM, offset)));
    constants.extend(own);
    Ok(constants)
}

#[cfg(test)]
mod tests {
    use crate::kernel::btf::{EntryArgs, ExitArgs, SvmPath};

    use super::*;

    fn amd() -> Offsets {
        Offsets {
            exit: ExitArgs { vcpu: 0, isa: Some(1), reason: None },
            entry: EntryArgs { vcpu: Some(0), vcpu_id: None, immediate_exit: None },
            vcpu_id: 36,
            kvm: Some(0),
            vmx: None,
            svm: Some(SvmPath { vmcb: 6552, exit_code: 112, exit_code_size: 4, own_follows: true }),
        }
    }

    #[test]
    fn the_loaded_vendor_has_to_be_known() {
        let constants = [
            (config::OFF_VCPU_ID, 36),
            (config::RAW_SVM, 1),
            (config::OFF_VCPU_KVM, 0),
            (config::OFF_SVM_VMCB, 6552),
            (config::OFF_SVM_CODE, 112),
            (config::KEEP_VMCB, 1),
        ];
        assert_eq!(from_offsets(&amd(), &["kvm_amd"]), Ok(constants.to_vec()));
        for backends in [&["kvm_intel"][..], &["kvm_pvm"], &["kvm_amd", "kvm_pvm"], &[]] {
            assert!(from_offsets(&amd(), backends).is_err(), "{backends:?}");
        }
    }

    #[test]
    fn older_arguments_are_refused() {
        let mut offsets = amd();
        offsets.exit = ExitArgs { vcpu: 1, isa: Some(2), reason: Some(0) };
        assert!(from_offsets(&offsets, &["kvm_amd"]).unwrap_err().contains("arguments"));
    }
}
