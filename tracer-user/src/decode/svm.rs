//! SVM exit codes (AMD and Hygon).
//!
//! Mirrors `SVM_EXIT_*`, `SVM_VMGEXIT_*` and the label table `SVM_EXIT_REASONS` of Linux 7.3
//! `arch/x86/include/uapi/asm/svm.h`. The labels are the kernel's own, `read_rt` and `XF excp`
//! included. Codes which the header defines without a label (`mwait_cond`, `rdpru`, most write traps,
//! some VMGEXIT events, `sw`) carry the macro's name in the table's style; so do the exceptions above
//! 19, whose vectors are in `asm/kvm.h`.
//!
//! The code space is sparse: hardware intercepts up to 0x0a6, nested paging and AVIC from 0x400,
//! software-defined VMGEXIT events from 0x8000_0000, and -1. There are no flag bits.

use super::ReasonInfo;

/// Exit by which a SEV-ES guest asks for something.
pub(super) const VMGEXIT: u32 = 0x403;

/// The codes, sorted.
///
/// Idle are the codes on which KVM puts the vCPU to sleep until there is work: `hlt`, `idle-halt`
/// and the reset hold of a SEV-ES processor which waits to be started. `mwait` is emulated as a no-op
/// and `pause` is a busy guest's spinning. A SEV-ES guest's halt arrives as plain `vmgexit`, which is
/// not told apart here; see [`super::may_be_halt`].
pub static REASONS: &[ReasonInfo] = reasons![
    (0x000, "read_cr0", "read of control register 0"),
    (0x002, "read_cr2", "read of control register 2"),
    (0x003, "read_cr3", "read of control register 3"),
    (0x004, "read_cr4", "read of control register 4"),
    (0x008, "read_cr8", "read of the task priority (CR8)"),
    (0x010, "write_cr0", "write of control register 0"),
    (0x012, "write_cr2", "write of control register 2"),
    (0x013, "write_cr3", "write of control register 3"),
    (0x014, "write_cr4", "write of control register 4"),
    (0x018, "write_cr8", "write of the task priority (CR8)"),
    (0x020, "read_dr0", "read of debug register 0"),
    (0x021, "read_dr1", "read of debug register 1"),
    (0x022, "read_dr2", "read of debug register 2"),
    (0x023, "read_dr3", "read of debug register 3"),
    (0x024, "read_dr4", "read of debug register 4"),
    (0x025, "read_dr5", "read of debug register 5"),
    (0x026, "read_dr6", "read of debug register 6"),
    (0x027, "read_dr7", "read of debug register 7"),
    (0x030, "write_dr0", "write of debug register 0"),
    (0x031, "write_dr1", "write of debug register 1"),
    (0x032, "write_dr2", "write of debug register 2"),
    (0x033, "write_dr3", "write of debug register 3"),
    (0x034, "write_dr4", "write of debug register 4"),
    (0x035, "write_dr5", "write of debug register 5"),
    (0x036, "write_dr6", "write of debug register 6"),
    (0x037, "write_dr7", "write of debug register 7"),
    (0x040, "DE excp", "divide error"),
    (0x041, "DB excp", "debug exception"),
    (0x043, "BP excp", "breakpoint"),
    (0x044, "OF excp", "overflow"),
    (0x045, "BR excp", "bound range exceeded"),
    (0x046, "UD excp", "invalid opcode"),
    (0x047, "NM excp", "FPU not available"),
    (0x048, "DF excp", "double fault"),
    (0x04a, "TS excp", "invalid task state segment"),
    (0x04b, "NP excp", "segment not present"),
    (0x04c, "SS excp", "stack fault"),
    (0x04d, "GP excp", "general protection fault"),
    (0x04e, "PF excp", "page fault"),
    (0x050, "MF excp", "x87 floating-point error"),
    (0x051, "AC excp", "alignment check"),
    (0x052, "MC excp", "machine check"),
    (0x053, "XF excp", "SIMD floating-point error"),
    (0x054, "VE excp", "virtualisation exception"),
    (0x055, "CP excp", "control-flow protection fault"),
    (0x05c, "HV excp", "hypervisor injection exception"),
    (0x05d, "VC excp", "VMM communication exception"),
    (0x05e, "SX excp", "security exception"),
    (0x060, "interrupt", "interrupt for the host"),
    (0x061, "nmi", "NMI for the host"),
    (0x062, "smi", "system management interrupt"),
    (0x063, "init", "INIT signal arrived"),
    (0x064, "vintr", "guest can now take an interrupt"),
    (0x065, "cr0_sel_write", "write of CR0 beyond TS and MP"),
    (0x066, "read_idtr", "read of IDTR"),
    (0x067, "read_gdtr", "read of GDTR"),
    (0x068, "read_ldtr", "read of LDTR"),
    (0x069, "read_rt", "read of TR"),
    (0x06a, "write_idtr", "write of IDTR"),
    (0x06b, "write_gdtr", "write of GDTR"),
    (0x06c, "write_ldtr", "write of LDTR"),
    (0x06d, "write_rt", "write of TR"),
    (0x06e, "rdtsc", "read of the time-stamp counter"),
    (0x06f, "rdpmc", "read of a performance counter"),
    (0x070, "pushf", "PUSHF instruction"),
    (0x071, "popf", "POPF instruction"),
    (0x072, "cpuid", "CPUID instruction"),
    (0x073, "rsm", "return from system management mode"),
    (0x074, "iret", "IRET: guest can now take an NMI"),
    (0x075, "swint", "software interrupt"),
    (0x076, "invd", "INVD: drop caches without write-back"),
    (0x077, "pause", "guest spins in a PAUSE loop"),
    (0x078, "hlt", "guest halted", idle),
    (0x079, "invlpg", "INVLPG: flush one page's translation"),
    (0x07a, "invlpga", "nested: INVLPGA"),
    (0x07b, "io", "port I/O"),
    (0x07c, "msr", "access to a model-specific register"),
    (0x07d, "task_switch", "hardware task switch"),
    (0x07e, "ferr_freeze", "frozen on an x87 error"),
    (0x07f, "shutdown", "guest crashed: triple fault"),
    (0x080, "vmrun", "nested: guest runs a guest"),
    (0x081, "hypercall", "hypercall"),
    (0x082, "vmload", "nested: VMLOAD"),
    (0x083, "vmsave", "nested: VMSAVE"),
    (0x084, "stgi", "nested: STGI"),
    (0x085, "clgi", "nested: CLGI"),
    (0x086, "skinit", "nested: SKINIT"),
    (0x087, "rdtscp", "read of the time-stamp counter (RDTSCP)"),
    (0x088, "icebp", "ICEBP instruction"),
    (0x089, "wbinvd", "WBINVD: write back and drop caches"),
    (0x08a, "monitor", "MONITOR, emulated as a no-op"),
    (0x08b, "mwait", "MWAIT, emulated as a no-op"),
    (0x08c, "mwait_cond", "MWAIT with the monitor armed"),
    (0x08d, "xsetbv", "XSETBV: change of the extended state mask"),
    (0x08e, "rdpru", "RDPRU instruction"),
    (0x08f, "write_efer_trap", "EFER was written"),
    (0x090, "write_cr0_trap", "CR0 was written"),
    (0x091, "write_cr1_trap", "CR1 was written"),
    (0x092, "write_cr2_trap", "CR2 was written"),
    (0x093, "write_cr3_trap", "CR3 was written"),
    (0x094, "write_cr4_trap", "CR4 was written"),
    (0x095, "write_cr5_trap", "CR5 was written"),
    (0x096, "write_cr6_trap", "CR6 was written"),
    (0x097, "write_cr7_trap", "CR7 was written"),
    (0x098, "write_cr8_trap", "task priority (CR8) was written"),
    (0x099, "write_cr9_trap", "CR9 was written"),
    (0x09a, "write_cr10_trap", "CR10 was written"),
    (0x09b, "write_cr11_trap", "CR11 was written"),
    (0x09c, "write_cr12_trap", "CR12 was written"),
    (0x09d, "write_cr13_trap", "CR13 was written"),
    (0x09e, "write_cr14_trap", "CR14 was written"),
    (0x09f, "write_cr15_trap", "CR15 was written"),
    (0x0a2, "invpcid", "INVPCID: flush translations"),
    (0x0a5, "buslock", "guest locked the memory bus"),
    (0x0a6, "idle-halt", "guest halted with nothing pending", idle),
    (0x400, "npf", "nested page fault: unmapped page or MMIO"),
    (0x401, "avic_incomplete_ipi", "AVIC could not deliver an IPI"),
    (0x402, "avic_unaccelerated_access", "APIC access AVIC leaves to the host"),
    (0x403, "vmgexit", "SEV-ES guest's call to the host"),
    (0x8000_0001, "vmgexit_mmio_read", "SEV-ES: MMIO read"),
    (0x8000_0002, "vmgexit_mmio_write", "SEV-ES: MMIO write"),
    (0x8000_0003, "vmgexit_nmi_complete", "SEV-ES: guest finished an NMI"),
    (0x8000_0004, "vmgexit_ap_hlt_loop", "SEV-ES: processor waits to be started", idle),
    (0x8000_0005, "vmgexit_ap_jump_table", "SEV-ES: processor start table"),
    (0x8000_0010, "vmgexit_page_state_change", "SEV-SNP: page made private or shared"),
    (0x8000_0011, "vmgexit_guest_request", "SEV-SNP: message to the secure processor"),
    (0x8000_0012, "vmgexit_ext_guest_request", "SEV-SNP: message with certificates"),
    (0x8000_0013, "vmgexit_ap_creation", "SEV-SNP: start or stop a processor"),
    (0x8000_0018, "vmgexit_snp_run_vmpl", "SEV-SNP: run another privilege level"),
    (0x8000_001a, "vmgexit_savic", "SEV-SNP: secure AVIC page"),
    (0x8000_fffd, "vmgexit_hypervisor_feature", "SEV-SNP: ask for the host's features"),
    (0x8000_fffe, "vmgexit_term_request", "SEV-ES: guest asks to be ended"),
    (0x8000_ffff, "vmgexit_unsupported_event", "SEV-ES: event the guest cannot handle"),
    (0xf000_0000, "sw", "reserved for hypervisor software"),
    (0xffff_ffff, "invalid_guest_state", "entry failed: invalid guest state"),
];

#[cfg(test)]
mod tests {
    use super::super::{Isa, assert_table, decode};
    use super::*;

    #[test]
    fn table_is_sound() {
        assert_table(REASONS);
    }

    #[test]
    fn known_points() {
        for (code, name) in [
            (0x000, "read_cr0"),
            (0x04e, "PF excp"),
            (0x053, "XF excp"),
            (0x060, "interrupt"),
            (0x069, "read_rt"),
            (0x072, "cpuid"),
            (0x07b, "io"),
            (0x081, "hypercall"),
            (0x0a5, "buslock"),
        ] {
            let d = decode(Isa::SVM, code);
            assert_eq!((d.to_string().as_str(), d.base, d.known), (name, code, true));
        }
    }

    #[test]
    fn sparse_codes_keep_all_their_bits() {
        assert_eq!(decode(Isa::SVM, 0x400).name, "npf");
        assert_eq!(decode(Isa::SVM, 0x403).name, "vmgexit");
        assert_eq!(decode(Isa::SVM, 0x8000_0001).name, "vmgexit_mmio_read");
        assert_eq!(decode(Isa::SVM, 0x8000_fffd).name, "vmgexit_hypervisor_feature");
        // SVM has no flags: a code that VMX would split into flag and reason is one unknown code.
        let d = decode(Isa::SVM, 0x8000_0078);
        assert_eq!(d.to_string(), "UNKNOWN(SVM 0x80000078)");
        assert!(d.tags.is_empty() && !d.known && !d.idle);
    }

    #[test]
    fn minus_one_is_a_failed_entry() {
        let d = decode(Isa::SVM, u32::MAX);
        assert_eq!(d.to_string(), "invalid_guest_state");
        assert!(d.known);
    }

    #[test]
    fn unknown_is_hexadecimal() {
        assert_eq!(decode(Isa::SVM, 0x123).to_string(), "UNKNOWN(SVM 0x123)");
        assert_eq!(decode(Isa::SVM, 0xffff_fffe).to_string(), "UNKNOWN(SVM 0xfffffffe)");
    }

    #[test]
    fn idle_codes() {
        let idle: Vec<_> = REASONS.iter().filter(|r| r.idle).map(|r| r.code).collect();
        assert_eq!(idle, [0x078, 0x0a6, 0x8000_0004]);
        // 12 means HLT on Intel only.
        assert!(!decode(Isa::SVM, 12).idle);
    }
}
