//! What a slot holds beside its exit code: which of the exit's samples, or which cause below the reason.
//!
//! One number, so that it can be part of a key: the kind in the topmost byte, the kind's own value below it.
//!
//! Guests and VMMs choose most of the values. A value that the kernel has no name for is [`kind::OTHER`]
//! before any table is asked, and each vCPU has a quota of causes (see [`crate::tables`]).

use crate::breakdown::KVM_EXIT_ERROR;

const KIND_SHIFT: u32 = 56;
const VALUE_MASK: u64 = (1 << KIND_SHIFT) - 1;

/// In the value of an access: it is a write, else a read.
pub const WRITE: u64 = 1 << (KIND_SHIFT - 1);

/// Kinds of subkeys.
///
/// `HALTED` and `WHOLE` exist for exits in which the vCPU halted, or its process was stopped; both describe
/// the same exits. The exits of a reason are `PLAIN` and `HALTED` together: their handled time. With idle
/// time counted in, as perf does it, they are `PLAIN` and `WHOLE`.
pub mod kind {
    /// Time of the exits that did not halt, all of it handled.
    pub const PLAIN: u8 = 0;
    /// Handled time of the exits that halted: without [`crate::part::Part::Halt`] and
    /// [`crate::part::Part::Stopped`].
    pub const HALTED: u8 = 1;
    /// All time of the exits that [`HALTED`] has.
    pub const WHOLE: u8 = 2;
    /// Time in the guest, from entry to exit; it has no reason.
    pub const GUEST: u8 = 3;
    /// Time in the VMM for one return from KVM_RUN; the value is the KVM_EXIT_* reason.
    pub const USER_EXIT: u8 = 4;
    /// An s390 instruction; the value is its key, as the kernel tells instructions apart.
    pub const INSTRUCTION: u8 = 5;
    /// An s390 DIAGNOSE; the value is its function code.
    pub const DIAG: u8 = 6;
    /// An s390 SIGP; the value is its order.
    pub const SIGP: u8 = 7;
    /// An s390 program interruption; the value is its code.
    pub const PROGRAM: u8 = 8;
    /// An s390 validity intercept; the value is the reason why.
    pub const VALIDITY: u8 = 9;
    /// An s390 operation exception; the value is the instruction's key.
    pub const OPERATION: u8 = 10;
    /// A fault of the host inside SIE.
    pub const SIE_FAULT: u8 = 11;
    /// An access of x86's control registers; the value is the register's number, with [`super::WRITE`].
    pub const CR: u8 = 12;
    /// An access of an x86 MSR that KVM emulates; the value is the MSR's number, with [`super::WRITE`].
    pub const MSR: u8 = 13;
    /// Causes that have no record of their own: their value is unknown, or the vCPU's quota is used up. The
    /// value is their kind.
    pub const OTHER: u8 = 14;
    /// Exits without a cause, in a row that has causes. Never recorded: the display works it out.
    pub const NONE: u8 = 15;
}

/// The subkey of this kind and value. Bits of `value` that have no place are dropped.
#[inline(always)]
pub const fn new(kind: u8, value: u64) -> u64 {
    (kind as u64) << KIND_SHIFT | (value & VALUE_MASK)
}

/// The kind of a subkey.
#[inline(always)]
pub const fn kind_of(subkey: u64) -> u8 {
    (subkey >> KIND_SHIFT) as u8
}

/// The value of a subkey, without its kind.
#[inline(always)]
pub const fn value_of(subkey: u64) -> u64 {
    subkey & VALUE_MASK
}

/// Whether it is a cause, of which there may be many: a quota holds for it.
#[inline(always)]
pub const fn is_cause(subkey: u64) -> bool {
    kind_of(subkey) > kind::GUEST
}

/// Whether its samples are in a thin record: count, sum, minimum and maximum, without a histogram.
#[inline(always)]
pub const fn is_thin(subkey: u64) -> bool {
    kind_of(subkey) >= kind::CR
}

/// Whether it is a return to the VMM, by its reason or among the others.
#[inline(always)]
pub const fn is_user_exit(subkey: u64) -> bool {
    kind_of(subkey) == kind::USER_EXIT || subkey == new(kind::OTHER, kind::USER_EXIT as u64)
}

/// The subkey for samples of a cause that has no record of its own.
#[inline(always)]
pub const fn other(subkey: u64) -> u64 {
    match kind_of(subkey) {
        kind::OTHER => subkey,
        kind => new(kind::OTHER, kind as u64),
    }
}

/// A return to the VMM, by [`crate::breakdown::user_reason`]. The reason is in memory that the VMM can write
/// to at any time.
#[inline(always)]
pub const fn user_exit(reason: u32) -> u64 {
    /// Room for the reasons of kernels to come.
    const KNOWN: u32 = 64;
    let cause = new(kind::USER_EXIT, reason as u64);
    if reason < KNOWN || reason >= KVM_EXIT_ERROR { cause } else { other(cause) }
}

/// An s390 DIAGNOSE. The guest chooses the code.
#[inline(always)]
pub const fn diag(code: u16) -> u64 {
    let cause = new(kind::DIAG, code as u64);
    match code {
        0x10 | 0x44 | 0x9c | 0x204 | 0x258 | 0x288 | 0x308 | 0x500 | 0x501 => cause,
        _ => other(cause),
    }
}

/// An s390 SIGP. The guest chooses the order.
#[inline(always)]
pub const fn sigp(order: u8) -> u64 {
    /// One bit for each order that has a name.
    const KNOWN: u32 = 0x00ec_7a7e;
    let cause = new(kind::SIGP, order as u64);
    if order < 32 && KNOWN >> order & 1 != 0 { cause } else { other(cause) }
}

/// An s390 instruction that was intercepted, from the `instruction` field of KVM's events.
#[inline(always)]
pub const fn instruction(text: u64) -> u64 {
    new(kind::INSTRUCTION, instruction_key(text))
}

/// An s390 operation exception, from the `instruction` field of KVM's events.
#[inline(always)]
pub const fn operation(text: u64) -> u64 {
    new(kind::OPERATION, instruction_key(text))
}

/// An s390 program interruption.
#[inline(always)]
pub const fn program(code: u16) -> u64 {
    new(kind::PROGRAM, code as u64)
}

/// An s390 validity intercept.
#[inline(always)]
pub const fn validity(why: u16) -> u64 {
    new(kind::VALIDITY, why as u64)
}

/// The key by which the kernel names an s390 instruction, from the `instruction` field of its events: the
/// first byte alone or, in some groups of instructions, a byte that tells more behind it.
///
/// Mirrors `icpt_insn_decoder` (`arch/s390/include/uapi/asm/sie.h`).
///
/// ```
/// # use tracer_ebpf::subkey::instruction_key;
/// assert_eq!(instruction_key(0x8300_0044_0000_0000), 0x83);
/// assert_eq!(instruction_key(0xb233_0800_0000_0000), 0xb233);
/// ```
#[inline(always)]
pub const fn instruction_key(instruction: u64) -> u64 {
    let first = instruction >> 56;
    let (shift, mask) = match first {
        0x01 | 0xb2 | 0xb9 | 0xe3 | 0xe5 => (48, 0xff),
        0xaa | 0xc8 => (48, 0x0f),
        0xeb => (16, 0xff),
        _ => return first,
    };
    first << 8 | (instruction >> shift & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_value_come_back() {
        let subkey = new(kind::DIAG, 0x44);
        assert_eq!((kind_of(subkey), value_of(subkey)), (kind::DIAG, 0x44));
        assert_eq!(kind_of(new(kind::SIGP, u64::MAX)), kind::SIGP);
        assert_eq!(new(kind::PLAIN, 0), 0);
    }

    #[test]
    fn instructions_are_told_apart_as_by_the_kernel() {
        // ipa, ipb: operation code and what follows it, in the order of the bytes in storage.
        let key = |ipa: u64, ipb: u64| instruction_key(ipa << 48 | ipb << 16);
        assert_eq!(key(0x0104, 0), 0x0104);
        assert_eq!(key(0xaa35, 0), 0xaa05, "the second half of the byte is a register");
        assert_eq!(key(0xb27d, 0x0800_0000), 0xb27d);
        assert_eq!(key(0xb9ab, 0x0012_0000), 0xb9ab);
        assert_eq!(key(0xc811, 0x1234_5678), 0xc801);
        assert_eq!(key(0xe313, 0x1234_5678), 0xe313);
        assert_eq!(key(0xe501, 0x1234_5678), 0xe501);
        assert_eq!(key(0xeb03, 0x1000_0025), 0xeb25, "the last byte");
        assert_eq!(key(0xae13, 0x0002_0000), 0xae);
        assert_eq!(key(0, 0), 0);
    }
}
