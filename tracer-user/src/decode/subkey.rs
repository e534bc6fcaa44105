//! Names for the causes below a reason: what [`tracer_ebpf::subkey`] numbers.

use std::borrow::Cow;

use tracer_ebpf::{
    breakdown::KVM_EXIT_ERROR,
    subkey::{kind, kind_of, value_of},
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
    let value = value_of(subkey);
    let named = |what: &str, table: &'static [Label]| match find(table, value) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("UNKNOWN({what} {value:#04x})")),
    };
    let kind = kind_of(subkey);
    if isa != Isa::S390 && kind != kind::USER_EXIT {
        return None;
    }
    Some(match kind {
        kind::USER_EXIT => {
            let reason = u32::try_from(value).unwrap_or(u32::MAX);
            if reason > KVM_EXIT_ERROR {
                return Some(Cow::Owned(format!("KVM_RUN failed, error {}", reason - KVM_EXIT_ERROR)));
            }
            kvm_exit::decode(reason).name
        }
        kind::INSTRUCTION => named("instruction", instruction::KEYS),
        kind::DIAG => named("DIAG", diag::CODES),
        kind::SIGP => named("SIGP", sigp::ORDERS),
        kind::PROGRAM => program_label(value),
        kind::VALIDITY => Cow::Owned(format!("Validity {value:#06x}")),
        kind::OPERATION => match find(instruction::KEYS, value) {
            Some(name) => Cow::Owned(format!("Operation exception on {name}")),
            None => Cow::Owned(format!("Operation exception on {value:#04x}")),
        },
        kind::SIE_FAULT => Cow::Borrowed("Fault of the host inside SIE"),
        _ => return None,
    })
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
    }
}
