//! SIE intercept codes: why an s390 guest was left, seen in `kvm_s390_sie_exit`.
//!
//! Up to 0x48 this mirrors `sie_intercept_code` of `arch/s390/include/uapi/asm/sie.h`, whose labels the
//! kernel prints. The codes above it, most of them of protected guests, have no label there; they have the
//! names of the constants in `arch/s390/include/asm/kvm_host.h`.

use crate::decode::ReasonInfo;

/// The codes.
///
/// Only the wait state is idle: the vCPU sleeps, or polls, inside KVM until there is work
/// (`kvm_s390_handle_wait`, `arch/s390/kvm/interrupt.c`).
pub static REASONS: &[ReasonInfo] = reasons![
    (0x00, "Host interruption", "interrupt or fault of the host, not the guest's"),
    (0x04, "Instruction", "instruction that KVM emulates"),
    (0x08, "Program interruption", "exception in the guest that KVM handles"),
    (0x0c, "Instruction and program interruption", "both at once"),
    (0x10, "External request", "guest can now take an external interrupt"),
    (0x14, "External interruption", "external interrupt that KVM handles"),
    (0x18, "I/O request", "guest can now take an I/O interrupt"),
    (0x1c, "Wait state", "guest waits for work", idle),
    (0x20, "Validity", "hardware refused the guest's state"),
    (0x28, "Stop request", "vCPU is asked to stop"),
    (0x2c, "Operation exception", "instruction the hardware does not know"),
    (0x38, "Partial-execution", "SIGP or MVPG that hardware could not finish"),
    (0x3c, "I/O interruption", "I/O interrupt that KVM handles"),
    (0x40, "I/O instruction", "channel I/O instruction"),
    (0x48, "Timing subset", "change of the clock"),
    (0x5c, "ICPT_KSS", "first use of storage keys"),
    (0x60, "ICPT_MCHKREQ", "guest can now take a machine check"),
    (0x64, "ICPT_INT_ENABLE", "protected guest can now take an interrupt"),
    (0x68, "ICPT_PV_INSTR", "protected guest: instruction KVM emulates"),
    (0x6c, "ICPT_PV_NOTIFY", "protected guest: instruction that was done"),
    (0x70, "ICPT_PV_PREF", "protected guest: prefix page not mapped"),
];
