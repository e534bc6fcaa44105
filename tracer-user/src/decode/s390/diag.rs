//! Function codes of DIAGNOSE, seen in `kvm_s390_handle_diag`.
//!
//! Mirrors `diagnose_codes` of `arch/s390/include/uapi/asm/sie.h`.

use super::Label;

/// The codes that have a name.
pub static CODES: &[Label] = &[
    (0x10, "DIAG (0x10) release pages"),
    (0x44, "DIAG (0x44) time slice end"),
    (0x9c, "DIAG (0x9c) time slice end directed"),
    (0x204, "DIAG (0x204) logical-cpu utilization"),
    (0x258, "DIAG (0x258) page-reference services"),
    (0x288, "DIAG (0x288) watchdog functions"),
    (0x308, "DIAG (0x308) ipl functions"),
    (0x500, "DIAG (0x500) KVM virtio functions"),
    (0x501, "DIAG (0x501) KVM breakpoint"),
];
