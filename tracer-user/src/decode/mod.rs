//! Names for exit reasons.
//!
//! A `kvm_exit` record holds an isa number and a 32-bit reason. [`decode`] turns the pair into a row
//! label; [`kvm_exit::decode`] does it for the reasons with which KVM returns to the VMM. Everything
//! here is a pure function over constant tables: names are the kernel's own labels, taken from its
//! uapi headers, and a code without a name is shown as a number and marked unknown, never dropped.
//!
//! [`kernel_table`] reads the label tables which the running kernel prints in its tracefs `format`
//! files, so that the tables here can be held against it.

use std::borrow::Cow;
use std::fmt;

/// Writes a reason table as compact `(code, name, gloss)` lines; a fourth word `idle` marks the
/// reasons on which a vCPU waits for work.
macro_rules! reasons {
    (@idle) => { false };
    (@idle idle) => { true };
    ($(($code:literal, $name:literal, $gloss:literal $(, $idle:ident)?)),* $(,)?) => {
        &[$(ReasonInfo { code: $code, name: $name, gloss: $gloss, idle: reasons!(@idle $($idle)?) }),*]
    };
}

pub mod counters;
pub mod kernel_table;
pub mod kvm_exit;
pub mod pseudo;
pub mod pvm;
pub mod s390;
pub mod subkey;
pub mod svm;
pub mod vmx;

pub use tracer_ebpf::abi::Isa;

/// One line of a reason table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasonInfo {
    /// The number in the record, without flag bits.
    pub code: u32,
    /// The kernel's label.
    pub name: &'static str,
    /// A few plain words for readers who do not know the label.
    pub gloss: &'static str,
    /// Whether the vCPU waits for work: such time is not a cost of the exit.
    pub idle: bool,
}

/// The isa of an x86 processor, by the vendor that CPUID and /proc/cpuinfo name; [`None`] if it is unknown.
///
/// ```
/// # use tracer_user::decode::{Isa, isa_of_vendor};
/// assert_eq!(isa_of_vendor("HygonGenuine"), Some(Isa::SVM));
/// assert_eq!(isa_of_vendor("  Shanghai  "), Some(Isa::VMX));
/// assert_eq!(isa_of_vendor("TransmetaCPU"), None);
/// ```
pub fn isa_of_vendor(vendor: &str) -> Option<Isa> {
    match vendor.trim() {
        "GenuineIntel" | "CentaurHauls" | "Shanghai" => Some(Isa::VMX),
        "AuthenticAMD" | "HygonGenuine" => Some(Isa::SVM),
        _ => None,
    }
}

/// The table of exit reasons of an instruction set, if there is one.
pub fn reasons(isa: Isa) -> Option<&'static [ReasonInfo]> {
    match isa {
        Isa::NONE => Some(pseudo::REASONS),
        Isa::VMX => Some(vmx::REASONS),
        Isa::SVM => Some(svm::REASONS),
        Isa::PVM => Some(pvm::REASONS),
        Isa::S390 => Some(s390::intercept::REASONS),
        _ => None,
    }
}

/// The flag bits which VMX adds to a reason, in their place in the 32-bit value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tags(pub u32);

impl Tags {
    /// Bit 31: the entry failed and no guest code ran.
    pub const FAILED_ENTRY: Tags = Tags(1 << 31);
    /// Bit 26: the guest also locked the memory bus.
    pub const BUS_LOCK: Tags = Tags(1 << 26);
    /// Bit 27: the guest was inside an SGX enclave.
    pub const ENCLAVE: Tags = Tags(1 << 27);
    /// Bit 28: a monitor-trap exit is still pending (SMI exits).
    pub const PENDING_MTF: Tags = Tags(1 << 28);
    /// Bit 29: an SMI exit out of VMX root operation.
    pub const SMI_FROM_ROOT: Tags = Tags(1 << 29);

    const NAMES: [(Tags, &'static str); 5] = [
        (Tags::FAILED_ENTRY, "failed-entry"),
        (Tags::BUS_LOCK, "bus-lock"),
        (Tags::ENCLAVE, "enclave"),
        (Tags::PENDING_MTF, "pending-mtf"),
        (Tags::SMI_FROM_ROOT, "smi-from-root"),
    ];

    /// Whether no bit is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Tags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The tags' names, separated by commas; bits without a name come last, as `flags 0x00010000`.
impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        for (tag, name) in Tags::NAMES {
            if self.contains(tag) {
                write!(f, "{separator}{name}")?;
                separator = ", ";
                rest &= !tag.0;
            }
        }
        if rest != 0 {
            write!(f, "{separator}flags {rest:#010x}")?;
        }
        Ok(())
    }
}

/// A decoded reason. Its `Display` is the row label: the name, and the tags in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The number without flag bits.
    pub base: u32,
    /// The kernel's label, or `UNKNOWN(...)` with the number.
    pub name: Cow<'static, str>,
    /// A few plain words; empty if we know none.
    pub gloss: &'static str,
    /// The flag bits.
    pub tags: Tags,
    /// Whether the vCPU waits for work.
    pub idle: bool,
    /// Whether the number has a name.
    pub known: bool,
}

impl Decoded {
    fn known(info: &ReasonInfo, tags: Tags) -> Decoded {
        Decoded {
            base: info.code,
            name: Cow::Borrowed(info.name),
            gloss: info.gloss,
            tags,
            // A failed entry waits for nothing.
            idle: info.idle && !tags.contains(Tags::FAILED_ENTRY),
            known: true,
        }
    }

    fn unknown(base: u32, name: Cow<'static, str>, tags: Tags) -> Decoded {
        Decoded { base, name, gloss: "", tags, idle: false, known: false }
    }
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.tags.is_empty() {
            write!(f, " [{}]", self.tags)?;
        }
        Ok(())
    }
}

/// Decodes the reason of a `kvm_exit` record.
///
/// Under VMX the low 16 bits are the reason and the others become [`Tags`], except that all ones
/// mean "no reason" ([`vmx::NO_REASON`]). Elsewhere all 32 bits are the reason. Unknown numbers are
/// printed as the isa's header writes them: decimal for VMX, hexadecimal for the others.
pub fn decode(isa: Isa, code: u32) -> Decoded {
    let (base, tags) = match isa {
        Isa::VMX if code == vmx::NO_REASON.code => return Decoded::known(&vmx::NO_REASON, Tags::default()),
        Isa::VMX => (code & vmx::BASIC_MASK, Tags(code & !vmx::BASIC_MASK)),
        _ => (code, Tags::default()),
    };
    if let Some(info) = reasons(isa).and_then(|table| find(table, base)) {
        return Decoded::known(info, tags);
    }
    let name = match isa {
        Isa::VMX => format!("UNKNOWN(VMX {base})"),
        Isa::SVM | Isa::PVM | Isa::S390 => format!("UNKNOWN({isa} {base:#x})"),
        _ => format!("UNKNOWN({isa}, {base})"),
    };
    Decoded::unknown(base, Cow::Owned(name), tags)
}

/// Whether exits of this reason may be halts, although the reason is not idle: the guest's memory is
/// encrypted, and the code does not tell what it asked for. The exits include idle time unless that was
/// measured.
pub fn may_be_halt(isa: Isa, code: u32) -> bool {
    (isa, code) == (Isa::SVM, svm::VMGEXIT)
}

/// Looks a code up in a sorted table.
fn find(table: &'static [ReasonInfo], code: u32) -> Option<&'static ReasonInfo> {
    table.binary_search_by_key(&code, |info| info.code).ok().map(|at| &table[at])
}

/// Checks that a table is sorted, has no code twice and nothing empty, and that labels are printable.
#[cfg(test)]
fn assert_table(table: &[ReasonInfo]) {
    assert!(!table.is_empty());
    for pair in table.windows(2) {
        assert!(pair[0].code < pair[1].code, "{:?} before {:?}", pair[0], pair[1]);
    }
    let names: std::collections::BTreeSet<_> = table.iter().map(|info| info.name).collect();
    assert_eq!(names.len(), table.len(), "a name occurs twice");
    for info in table {
        assert!(!info.name.is_empty() && info.name.is_ascii(), "{info:?}");
        assert!(!info.gloss.is_empty() && info.gloss.is_ascii() && info.gloss.len() < 50, "{info:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isa_names() {
        assert_eq!(Isa::VMX.to_string(), "VMX");
        assert_eq!(Isa(2).to_string(), "SVM");
        assert_eq!(Isa(3).to_string(), "PVM");
        assert_eq!(Isa(390), Isa::S390);
        assert_eq!(Isa(7).to_string(), "isa 7");
    }

    #[test]
    fn the_vendor_of_the_processor_tells_the_isa() {
        for vendor in ["AuthenticAMD", "HygonGenuine"] {
            assert_eq!(isa_of_vendor(vendor), Some(Isa::SVM));
        }
        for vendor in ["GenuineIntel", "CentaurHauls", "  Shanghai  ", "Shanghai"] {
            assert_eq!(isa_of_vendor(vendor), Some(Isa::VMX));
        }
        assert_eq!(["", "IBM/S390", "AuthenticAMD,25"].map(isa_of_vendor), [None; 3]);
    }

    #[test]
    fn unknown_isa_keeps_the_whole_code() {
        let d = decode(Isa(7), 12);
        assert_eq!(d.to_string(), "UNKNOWN(isa 7, 12)");
        assert!(!d.known && !d.idle);
        let d = decode(Isa(0), 0x8000_000c);
        assert_eq!((d.base, d.tags), (0x8000_000c, Tags::default()));
        assert_eq!(decode(Isa(7), u32::MAX).to_string(), "UNKNOWN(isa 7, 4294967295)");
    }

    #[test]
    fn every_table_entry_decodes_to_itself() {
        for isa in [Isa::VMX, Isa::SVM, Isa::PVM, Isa::S390] {
            for info in reasons(isa).unwrap() {
                let d = decode(isa, info.code);
                assert_eq!((d.base, d.name.as_ref(), d.gloss), (info.code, info.name, info.gloss));
                assert_eq!((d.idle, d.known, d.tags), (info.idle, true, Tags::default()));
            }
        }
    }

    #[test]
    fn tags_display() {
        assert_eq!(Tags::default().to_string(), "");
        assert_eq!(Tags(0x8400_0000).to_string(), "failed-entry, bus-lock");
        assert_eq!(Tags(0x0001_0000).to_string(), "flags 0x00010000");
    }
}
