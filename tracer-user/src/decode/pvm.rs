//! PVM exit reasons: pagetable-based virtualisation, an out-of-tree KVM vendor module.
//!
//! There is no stable ABI to mirror. The numbers are those of `PVM_EXIT_REASONS` in
//! `arch/x86/include/uapi/asm/pvm_trace.h` of the public fork `aledbf/linux`. They agree with the later
//! form of `arch/x86/kvm/pvm/pvm.h` of the PVM project (`virt-pvm/linux`), which does not tell single
//! hypercalls apart.
//!
//! The first posted series (2024) numbered three of them differently, with a reason `ERETS` that has
//! gone since: 0x40000 was `ERETS`, 0x50000 `INTERRUPT`, 0x60000 `INT80`. A record alone cannot tell
//! the two numberings apart.

use super::ReasonInfo;

/// The reasons, by code: exception vectors, then the rest.
pub static REASONS: &[ReasonInfo] = reasons![
    (0, "DE excp", "divide error"),
    (1, "DB excp", "debug exception"),
    (2, "NMI excp", "NMI for the host"),
    (3, "BP excp", "breakpoint"),
    (4, "OF excp", "overflow"),
    (5, "BR excp", "bound range exceeded"),
    (6, "UD excp", "invalid opcode"),
    (7, "NM excp", "FPU not available"),
    (8, "DF excp", "double fault"),
    (10, "TS excp", "invalid task state segment"),
    (12, "SS excp", "stack fault"),
    (13, "GP excp", "general protection fault"),
    (14, "PF excp", "page fault"),
    (16, "MF excp", "x87 floating-point error"),
    (17, "AC excp", "alignment check"),
    (18, "MC excp", "machine check"),
    (19, "XM excp", "SIMD floating-point error"),
    (20, "VE excp", "virtualisation exception"),
    (1025, "FAILED_VMENTRY", "host refused to enter the guest"),
    (0x1_0000, "SYSCALL", "system call in the guest's user mode"),
    (0x2_0000, "HYPERCALL", "hypercall"),
    (0x2_0001, "HC_IRQ_WIN", "hypercall: guest can take an interrupt"),
    (0x2_0002, "HC_IRQ_HALT", "hypercall: guest halted", idle),
    (0x2_0003, "HC_LOAD_PGTBL", "hypercall: load a page table"),
    (0x2_0004, "HC_TLB_FLUSH", "hypercall: flush all translations"),
    (0x2_0005, "HC_TLB_FLUSH_CURRENT", "hypercall: flush this page table's translations"),
    (0x2_0006, "HC_TLB_INVLPG", "hypercall: flush one page's translation"),
    (0x2_0007, "HC_LOAD_GS", "hypercall: load the GS segment"),
    (0x2_0008, "HC_RDMSR", "hypercall: read of a model-specific register"),
    (0x2_0009, "HC_WRMSR", "hypercall: write of a model-specific register"),
    (0x2_000a, "HC_LOAD_TLS", "hypercall: load the TLS segments"),
    (0x3_0000, "ERETU", "return to the guest's user mode"),
    (0x4_0000, "INTERRUPT", "interrupt for the host (early trees: ERETS)"),
    (0x5_0000, "INT80", "INT 0x80 system call (early trees: INTERRUPT)"),
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
        assert_eq!(decode(Isa::PVM, 14).to_string(), "PF excp");
        assert_eq!(decode(Isa::PVM, 2 << 16).to_string(), "HYPERCALL");
        assert_eq!(decode(Isa::PVM, (2 << 16) + 3).to_string(), "HC_LOAD_PGTBL");
        assert!(decode(Isa::PVM, (2 << 16) + 2).idle);
        assert_eq!(decode(Isa::PVM, 6 << 16).to_string(), "UNKNOWN(PVM 0x60000)");
    }
}
