//! Instruction sets of exit codes.

use core::fmt;

/// Instruction set of an exit code: the `isa` of KVM's tracepoint, or a number of our own where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Isa(pub u32);

impl Isa {
    /// No instruction set: for slots without an exit code, and for [`crate::abi::pseudo`] codes.
    pub const NONE: Self = Self(0);
    /// Intel VMX.
    pub const VMX: Self = Self(1);
    /// AMD SVM, also Hygon.
    pub const SVM: Self = Self(2);
    /// PVM, which is out of tree.
    pub const PVM: Self = Self(3);
    /// IBM Z, whose events carry no isa. No x86 vendor will ever have that many.
    pub const S390: Self = Self(390);
}

impl fmt::Display for Isa {
    /// `VMX`, `SVM`, `PVM`, `S390`, or `isa 7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::VMX => f.write_str("VMX"),
            Self::SVM => f.write_str("SVM"),
            Self::PVM => f.write_str("PVM"),
            Self::S390 => f.write_str("S390"),
            Self(other) => write!(f, "isa {other}"),
        }
    }
}
