//! Reasons with which KVM returns to the VMM: `kvm_run.exit_reason`, seen in `kvm_userspace_exit`.
//!
//! Mirrors `KVM_EXIT_*` of Linux 7.3 `include/uapi/linux/kvm.h`. The tracepoint's own label table
//! (`include/trace/events/kvm.h`) stops at 30 even in kernels that define more, so the kernel prints
//! the newer ones as numbers; here all of them have their name.

use std::borrow::Cow;

use super::{Decoded, ReasonInfo, Tags, find};

/// The reasons, by number. They are the same on every architecture.
///
/// Two are idle: with them KVM asks the VMM to let the vCPU wait.
pub static REASONS: &[ReasonInfo] = reasons![
    (0, "KVM_EXIT_UNKNOWN", "hardware gave a reason KVM does not know"),
    (1, "KVM_EXIT_EXCEPTION", "exception KVM does not handle"),
    (2, "KVM_EXIT_IO", "port I/O for the VMM"),
    (3, "KVM_EXIT_HYPERCALL", "hypercall for the VMM"),
    (4, "KVM_EXIT_DEBUG", "breakpoint or single step"),
    (5, "KVM_EXIT_HLT", "guest halted", idle),
    (6, "KVM_EXIT_MMIO", "memory-mapped I/O for the VMM"),
    (7, "KVM_EXIT_IRQ_WINDOW_OPEN", "guest can now take an interrupt"),
    (8, "KVM_EXIT_SHUTDOWN", "guest crashed or shut down"),
    (9, "KVM_EXIT_FAIL_ENTRY", "hardware refused to enter the guest"),
    (10, "KVM_EXIT_INTR", "signal for the vCPU thread"),
    (11, "KVM_EXIT_SET_TPR", "guest changed its task priority"),
    (12, "KVM_EXIT_TPR_ACCESS", "guest accessed its task priority"),
    (13, "KVM_EXIT_S390_SIEIC", "s390: interception for the VMM"),
    (14, "KVM_EXIT_S390_RESET", "s390: guest reset"),
    (15, "KVM_EXIT_DCR", "PowerPC: device control register (deprecated)"),
    (16, "KVM_EXIT_NMI", "NMI"),
    (17, "KVM_EXIT_INTERNAL_ERROR", "KVM failed, often to emulate an instruction"),
    (18, "KVM_EXIT_OSI", "PowerPC: Mac-on-Linux call"),
    (19, "KVM_EXIT_PAPR_HCALL", "PowerPC: hypercall for the VMM"),
    (20, "KVM_EXIT_S390_UCONTROL", "s390: page fault of a user-controlled guest"),
    (21, "KVM_EXIT_WATCHDOG", "guest's watchdog fired"),
    (22, "KVM_EXIT_S390_TSCH", "s390: TEST SUBCHANNEL for the VMM"),
    (23, "KVM_EXIT_EPR", "PowerPC: external interrupt acknowledge"),
    (24, "KVM_EXIT_SYSTEM_EVENT", "guest asks for shutdown, reset or suspend"),
    (25, "KVM_EXIT_S390_STSI", "s390: STORE SYSTEM INFORMATION"),
    (26, "KVM_EXIT_IOAPIC_EOI", "end of interrupt for the VMM's I/O APIC"),
    (27, "KVM_EXIT_HYPERV", "Hyper-V request for the VMM"),
    (28, "KVM_EXIT_ARM_NISV", "arm64: access without instruction syndrome"),
    (29, "KVM_EXIT_X86_RDMSR", "read of an MSR for the VMM"),
    (30, "KVM_EXIT_X86_WRMSR", "write of an MSR for the VMM"),
    (31, "KVM_EXIT_DIRTY_RING_FULL", "dirty-page ring full"),
    (32, "KVM_EXIT_AP_RESET_HOLD", "processor waits to be started", idle),
    (33, "KVM_EXIT_X86_BUS_LOCK", "guest locked the memory bus"),
    (34, "KVM_EXIT_XEN", "Xen hypercall for the VMM"),
    (35, "KVM_EXIT_RISCV_SBI", "RISC-V: SBI call for the VMM"),
    (36, "KVM_EXIT_RISCV_CSR", "RISC-V: control register for the VMM"),
    (37, "KVM_EXIT_NOTIFY", "no event window for too long"),
    (38, "KVM_EXIT_LOONGARCH_IOCSR", "LoongArch: I/O register for the VMM"),
    (39, "KVM_EXIT_MEMORY_FAULT", "guest memory access KVM could not resolve"),
    (40, "KVM_EXIT_TDX", "TDX guest's request for the VMM"),
    (41, "KVM_EXIT_ARM_SEA", "arm64: synchronous external abort"),
    (42, "KVM_EXIT_ARM_LDST64B", "arm64: 64-byte load or store"),
    (43, "KVM_EXIT_SNP_REQ_CERTS", "SEV-SNP: certificates from the VMM"),
];

/// Decodes `kvm_run.exit_reason`.
pub fn decode(reason: u32) -> Decoded {
    let tags = Tags::default();
    match find(REASONS, reason) {
        Some(info) => Decoded::known(info, tags),
        None => Decoded::unknown(reason, Cow::Owned(format!("UNKNOWN(KVM_EXIT {reason})")), tags),
    }
}

#[cfg(test)]
mod tests {
    use super::super::assert_table;
    use super::*;

    #[test]
    fn table_is_sound_and_dense() {
        assert_table(REASONS);
        assert!(REASONS.iter().enumerate().all(|(at, r)| r.code as usize == at));
        assert!(REASONS.iter().all(|r| r.name.starts_with("KVM_EXIT_")));
    }

    #[test]
    fn known_points() {
        assert_eq!(decode(2).to_string(), "KVM_EXIT_IO");
        assert_eq!(decode(6).to_string(), "KVM_EXIT_MMIO");
        assert_eq!(decode(39).to_string(), "KVM_EXIT_MEMORY_FAULT");
        assert!(decode(5).idle && decode(32).idle && !decode(10).idle);
    }

    #[test]
    fn unknown() {
        let d = decode(99);
        assert_eq!(d.to_string(), "UNKNOWN(KVM_EXIT 99)");
        assert!(!d.known);
    }
}
