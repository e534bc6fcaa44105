//! Names for the causes below a reason: what [`tracer_ebpf::subkey`] numbers.

use std::borrow::Cow;

use tracer_ebpf::{
    breakdown::KVM_EXIT_ERROR,
    subkey::{WRITE, kind, kind_of, value_of},
};

use super::{
    Isa, kvm_exit,
    s390::{Label, diag, instruction, label as find, program, sigp},
};

/// The name of a cause; [`None`] for details that are no cause but tell samples apart.
///
/// The labels are the kernel's own. A number without a label is shown as a number.
///
/// ```
/// # use tracer_ebpf::subkey::{self, kind};
/// # use tracer_user::decode::{Isa, subkey::label};
/// let name = |kind, value| label(Isa::S390, subkey::new(kind, value)).unwrap();
/// assert_eq!(name(kind::DIAG, 0x44), "DIAG (0x44) time slice end");
/// assert_eq!(name(kind::INSTRUCTION, 0xb233), "0xB2 SSCH");
/// assert_eq!(name(kind::SIGP, 0x7f), "UNKNOWN(SIGP 0x7f)");
/// assert_eq!(label(Isa::S390, 0), None);
/// ```
pub fn label(isa: Isa, subkey: u64) -> Option<Cow<'static, str>> {
    let cause = CAUSES.iter().find(|cause| cause.kind == kind_of(subkey) && cause.isas.has(isa))?;
    Some((cause.label)(value_of(subkey)))
}

/// One kind of cause: on which machines it exists, and the names of its values.
struct Cause {
    kind: u8,
    isas: Isas,
    label: fn(u64) -> Cow<'static, str>,
}

/// The machines of a cause.
enum Isas {
    All,
    X86,
    S390,
}

impl Isas {
    fn has(&self, isa: Isa) -> bool {
        match self {
            Self::All => true,
            Self::X86 => isa != Isa::S390,
            Self::S390 => isa == Isa::S390,
        }
    }
}

const fn cause(kind: u8, isas: Isas, label: fn(u64) -> Cow<'static, str>) -> Cause {
    Cause { kind, isas, label }
}

/// All kinds of causes.
static CAUSES: [Cause; 12] = [
    cause(kind::USER_EXIT, Isas::All, user_exit),
    cause(kind::INSTRUCTION, Isas::S390, |value| named("instruction", instruction::KEYS, value)),
    cause(kind::DIAG, Isas::S390, |value| named("DIAG", diag::CODES, value)),
    cause(kind::SIGP, Isas::S390, |value| named("SIGP", sigp::ORDERS, value)),
    cause(kind::PROGRAM, Isas::S390, program_label),
    cause(kind::VALIDITY, Isas::S390, |value| Cow::Owned(format!("Validity {value:#06x}"))),
    cause(kind::OPERATION, Isas::S390, operation),
    cause(kind::SIE_FAULT, Isas::S390, |_| Cow::Borrowed("Fault of the host inside SIE")),
    cause(kind::CR, Isas::X86, |value| access(value, |number| format!("CR{number}"))),
    cause(kind::MSR, Isas::X86, |value| access(value, |number| format!("MSR {number:#x}"))),
    cause(kind::OTHER, Isas::All, |value| {
        Cow::Borrowed(if value == u64::from(kind::USER_EXIT) { "other returns to the VMM" } else { "other" })
    }),
    cause(kind::NONE, Isas::All, |_| Cow::Borrowed("none")),
];

fn named(what: &str, table: &'static [Label], value: u64) -> Cow<'static, str> {
    match find(table, value) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("UNKNOWN({what} {value:#04x})")),
    }
}

fn user_exit(value: u64) -> Cow<'static, str> {
    let reason = u32::try_from(value).unwrap_or(u32::MAX);
    match reason.checked_sub(KVM_EXIT_ERROR) {
        Some(error @ 1..) => Cow::Owned(format!("KVM_RUN failed, error {error}")),
        _ => kvm_exit::decode(reason).name,
    }
}

fn operation(value: u64) -> Cow<'static, str> {
    match find(instruction::KEYS, value) {
        Some(name) => Cow::Owned(format!("Operation exception on {name}")),
        None => Cow::Owned(format!("Operation exception on {value:#04x}")),
    }
}

fn access(value: u64, name: fn(u64) -> String) -> Cow<'static, str> {
    let access = if value & WRITE == 0 { "read" } else { "write" };
    Cow::Owned(format!("{} {access}", name(value & !WRITE)))
}

/// A code's name, also when a PER event came with it.
fn program_label(value: u64) -> Cow<'static, str> {
    let per = u64::from(program::PER);
    match (find(program::CODES, value), find(program::CODES, value & !per)) {
        (Some(name), _) => Cow::Borrowed(name),
        (None, Some(name)) => Cow::Owned(format!("{name} + PER event")),
        (None, None) => Cow::Owned(format!("UNKNOWN(Prog {value:#06x})")),
    }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::subkey::new;

    use super::*;

    #[test]
    fn every_kind_of_cause_has_names() {
        let expected = [
            (kind::USER_EXIT, 13, "KVM_EXIT_S390_SIEIC"),
            (kind::USER_EXIT, 65_550, "KVM_RUN failed, error 14"),
            (kind::INSTRUCTION, 0xae, "SIGP"),
            (kind::INSTRUCTION, 0x99, "UNKNOWN(instruction 0x99)"),
            (kind::INSTRUCTION, 0xb2ff, "UNKNOWN(instruction 0xb2ff)"),
            (kind::DIAG, 0x9c, "DIAG (0x9c) time slice end directed"),
            (kind::DIAG, 0x318, "UNKNOWN(DIAG 0x318)"),
            (kind::SIGP, 0x15, "SIGP sense running"),
            (kind::PROGRAM, 6, "Prog Specification"),
            (kind::PROGRAM, 0x80, "Prog PER event"),
            (kind::PROGRAM, 0x86, "Prog Specification + PER event"),
            (kind::PROGRAM, 0x7e, "UNKNOWN(Prog 0x007e)"),
            (kind::VALIDITY, 0x37, "Validity 0x0037"),
            (kind::OPERATION, 0, "Operation exception on 0x00"),
            (kind::OPERATION, 0xb9ab, "Operation exception on 0xB9 ESSA"),
            (kind::SIE_FAULT, 0, "Fault of the host inside SIE"),
        ];
        for (kind, value, name) in expected {
            assert_eq!(label(Isa::S390, new(kind, value)).as_deref(), Some(name));
        }
        for kind in [kind::PLAIN, kind::HALTED, kind::WHOLE, kind::GUEST] {
            assert_eq!(label(Isa::S390, new(kind, 1)), None);
        }
        assert_eq!(label(Isa::SVM, new(kind::USER_EXIT, 2)).as_deref(), Some("KVM_EXIT_IO"));
        assert_eq!(label(Isa::SVM, new(kind::DIAG, 0x44)), None, "of another architecture");
        let cr = |value| label(Isa::VMX, new(kind::CR, value));
        assert_eq!([cr(4 | WRITE).as_deref(), cr(8).as_deref()], [Some("CR4 write"), Some("CR8 read")]);
        assert_eq!(label(Isa::S390, new(kind::CR, 4)), None);
    }
}
