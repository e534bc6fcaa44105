//! VMX exit reasons (Intel and compatible).
//!
//! Mirrors `EXIT_REASON_*` and the label table `VMX_EXIT_REASONS` of Linux 7.3
//! `arch/x86/include/uapi/asm/vmx.h`. Codes 6 and 76 are defined there but have no label; they
//! carry the macro's name without its prefix. Reasons which that header does not define stay unknown
//! on purpose, so that a kernel which starts to use one is noticed.
//!
//! The flag bits of the upper half are `union vmx_exit_reason` of `arch/x86/kvm/vmx/`; see
//! [`Tags`](super::Tags).

use super::ReasonInfo;

/// The part of the 32-bit reason which names it; the rest are flags.
pub const BASIC_MASK: u32 = 0xffff;

/// The whole 32-bit value which stands for "no exit reason".
///
/// KVM stores it for a TDX guest when the module's answer holds no valid reason
/// (`tdx_to_vmx_exit_reason()` returns `-1u`). The kernel's own printing masks it to 0xffff and shows
/// a number.
pub static NO_REASON: ReasonInfo = ReasonInfo {
    code: u32::MAX,
    name: "INVALID(0xffffffff)",
    gloss: "no valid exit reason: TDX guest could not run",
    idle: false,
};

/// The reasons, by code.
///
/// Only `HLT` is idle: it alone makes the vCPU sleep (or poll) inside KVM until there is work.
/// `MWAIT_INSTRUCTION` is emulated as a no-op, KVM does not wait on `UMWAIT` or `TPAUSE` either, and
/// `PAUSE_INSTRUCTION` is a busy guest's spinning.
pub static REASONS: &[ReasonInfo] = reasons![
    (0, "EXCEPTION_NMI", "guest exception, or NMI for the host"),
    (1, "EXTERNAL_INTERRUPT", "interrupt for the host"),
    (2, "TRIPLE_FAULT", "guest crashed: triple fault"),
    (3, "INIT_SIGNAL", "INIT signal arrived"),
    (4, "SIPI_SIGNAL", "start-up IPI arrived"),
    (6, "OTHER_SMI", "system management interrupt"),
    (7, "INTERRUPT_WINDOW", "guest can now take an interrupt"),
    (8, "NMI_WINDOW", "guest can now take an NMI"),
    (9, "TASK_SWITCH", "hardware task switch"),
    (10, "CPUID", "CPUID instruction"),
    (12, "HLT", "guest halted", idle),
    (13, "INVD", "INVD: drop caches without write-back"),
    (14, "INVLPG", "INVLPG: flush one page's translation"),
    (15, "RDPMC", "read of a performance counter"),
    (16, "RDTSC", "read of the time-stamp counter"),
    (18, "VMCALL", "hypercall"),
    (19, "VMCLEAR", "nested: VMCLEAR"),
    (20, "VMLAUNCH", "nested: guest starts a guest"),
    (21, "VMPTRLD", "nested: VMPTRLD"),
    (22, "VMPTRST", "nested: VMPTRST"),
    (23, "VMREAD", "nested: VMREAD"),
    (24, "VMRESUME", "nested: guest resumes a guest"),
    (25, "VMWRITE", "nested: VMWRITE"),
    (26, "VMOFF", "nested: VMXOFF"),
    (27, "VMON", "nested: VMXON"),
    (28, "CR_ACCESS", "control register access"),
    (29, "DR_ACCESS", "debug register access"),
    (30, "IO_INSTRUCTION", "port I/O"),
    (31, "MSR_READ", "read of a model-specific register"),
    (32, "MSR_WRITE", "write of a model-specific register"),
    (33, "INVALID_STATE", "entry failed: invalid guest state"),
    (34, "MSR_LOAD_FAIL", "entry failed: loading the MSRs"),
    (36, "MWAIT_INSTRUCTION", "MWAIT, emulated as a no-op"),
    (37, "MONITOR_TRAP_FLAG", "single step by the host"),
    (39, "MONITOR_INSTRUCTION", "MONITOR, emulated as a no-op"),
    (40, "PAUSE_INSTRUCTION", "guest spins in a PAUSE loop"),
    (41, "MCE_DURING_VMENTRY", "entry failed: machine check"),
    (43, "TPR_BELOW_THRESHOLD", "guest lowered its task priority"),
    (44, "APIC_ACCESS", "access to the local APIC page"),
    (45, "EOI_INDUCED", "end of interrupt the host must see"),
    (46, "GDTR_IDTR", "access to GDTR or IDTR"),
    (47, "LDTR_TR", "access to LDTR or TR"),
    (48, "EPT_VIOLATION", "guest page not mapped by the host"),
    (49, "EPT_MISCONFIG", "EPT misconfiguration: MMIO"),
    (50, "INVEPT", "nested: INVEPT"),
    (51, "RDTSCP", "read of the time-stamp counter (RDTSCP)"),
    (52, "PREEMPTION_TIMER", "host's timer for this vCPU fired"),
    (53, "INVVPID", "nested: INVVPID"),
    (54, "WBINVD", "WBINVD: write back and drop caches"),
    (55, "XSETBV", "XSETBV: change of the extended state mask"),
    (56, "APIC_WRITE", "write to a virtualised APIC register"),
    (57, "RDRAND", "RDRAND instruction"),
    (58, "INVPCID", "INVPCID: flush translations"),
    (59, "VMFUNC", "nested: VMFUNC"),
    (60, "ENCLS", "SGX supervisor instruction"),
    (61, "RDSEED", "RDSEED instruction"),
    (62, "PML_FULL", "dirty-page log full"),
    (63, "XSAVES", "XSAVES instruction"),
    (64, "XRSTORS", "XRSTORS instruction"),
    (67, "UMWAIT", "UMWAIT instruction"),
    (68, "TPAUSE", "TPAUSE instruction"),
    (74, "BUS_LOCK", "guest locked the memory bus"),
    (75, "NOTIFY", "no event window for too long"),
    (76, "SEAMCALL", "SEAMCALL instruction"),
    (77, "TDCALL", "TDX guest's call to the host"),
    (84, "MSR_READ_IMM", "read of an MSR given as immediate"),
    (85, "MSR_WRITE_IMM", "write of an MSR given as immediate"),
];

#[cfg(test)]
mod tests {
    use super::super::{Isa, Tags, assert_table, decode};
    use super::*;

    #[test]
    fn table_is_sound() {
        assert_table(REASONS);
        assert!(REASONS.iter().all(|r| r.code <= BASIC_MASK));
    }

    #[test]
    fn known_points() {
        for (code, name) in [
            (0, "EXCEPTION_NMI"),
            (7, "INTERRUPT_WINDOW"),
            (12, "HLT"),
            (30, "IO_INSTRUCTION"),
            (49, "EPT_MISCONFIG"),
            (77, "TDCALL"),
            (85, "MSR_WRITE_IMM"),
        ] {
            let d = decode(Isa::VMX, code);
            assert_eq!((d.name.as_ref(), d.base, d.known), (name, code, true));
            assert!(d.tags.is_empty());
            assert!(!d.gloss.is_empty());
        }
    }

    #[test]
    fn only_hlt_is_idle() {
        let idle: Vec<_> = REASONS.iter().filter(|r| r.idle).map(|r| r.code).collect();
        assert_eq!(idle, [12]);
        assert!(decode(Isa::VMX, 12).idle);
        assert!(decode(Isa::VMX, 12 | Tags::BUS_LOCK.0).idle);
        assert!(!decode(Isa::VMX, 36).idle);
        // A failed entry ran nothing and waits for nothing, whatever the low bits say.
        assert!(!decode(Isa::VMX, 12 | Tags::FAILED_ENTRY.0).idle);
    }

    #[test]
    fn flags_become_tags() {
        let d = decode(Isa::VMX, 0x8000_0021);
        assert_eq!(d.to_string(), "INVALID_STATE [failed-entry]");
        assert_eq!(d.base, 33);
        assert!(d.tags.contains(Tags::FAILED_ENTRY));
        assert_eq!(decode(Isa::VMX, 0x0400_0030).to_string(), "EPT_VIOLATION [bus-lock]");
        assert_eq!(decode(Isa::VMX, 0x0800_000a).to_string(), "CPUID [enclave]");
        assert_eq!(decode(Isa::VMX, 0x1000_0006).to_string(), "OTHER_SMI [pending-mtf]");
        assert_eq!(decode(Isa::VMX, 0x2000_0006).to_string(), "OTHER_SMI [smi-from-root]");
        assert_eq!(
            decode(Isa::VMX, 0x8c00_0030).to_string(),
            "EPT_VIOLATION [failed-entry, bus-lock, enclave]"
        );
        assert_eq!(decode(Isa::VMX, 0x0201_000c).to_string(), "HLT [flags 0x02010000]");
    }

    #[test]
    fn unknown_is_decimal_and_keeps_its_flags() {
        let d = decode(Isa::VMX, 11);
        assert_eq!(d.to_string(), "UNKNOWN(VMX 11)");
        assert!(!d.known && d.gloss.is_empty());
        assert_eq!(decode(Isa::VMX, 0x8000_ffff).to_string(), "UNKNOWN(VMX 65535) [failed-entry]");
    }

    #[test]
    fn all_ones_is_named() {
        let d = decode(Isa::VMX, u32::MAX);
        assert_eq!(d.to_string(), "INVALID(0xffffffff)");
        assert!(d.known && !d.idle && d.tags.is_empty());
        assert_eq!(d.base, u32::MAX);
    }
}
