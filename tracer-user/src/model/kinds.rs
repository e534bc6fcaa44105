//! The kinds of [`Cell`](crate::model::Cell)s by name, and which of them are the exits of a reason.

use tracer_ebpf::detail::{kind, kind_of, value_of};

use crate::decode::kvm_exit;

/// One row of the table of kinds.
#[derive(Debug)]
pub struct KindInfo {
    /// Its number; see [`tracer_ebpf::detail::kind`].
    pub kind: u8,
    /// Name in machine-readable output.
    pub id: &'static str,
    /// The exits of a reason are the cells of these kinds, and of no others: all others describe the same time
    /// once more, or time in the guest.
    pub exits: bool,
    /// Whether it says which reason it belongs to.
    pub reason: bool,
    /// What its value is.
    pub value: Value,
}

/// What the value of a detail says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    None,
    /// A KVM_EXIT_* reason.
    KvmExit,
    /// A number that is written in hexadecimal.
    Hex,
}

/// All kinds, in the order of their numbers.
pub static KINDS: [KindInfo; 12] = [
    info(kind::PLAIN, "exit", Value::None),
    info(kind::HALTED, "exit", Value::None),
    info(kind::WHOLE, "whole", Value::None),
    info(kind::GUEST, "guest", Value::None),
    info(kind::USER_EXIT, "user_exit", Value::KvmExit),
    info(kind::INSTRUCTION, "instruction", Value::Hex),
    info(kind::DIAG, "diag", Value::Hex),
    info(kind::SIGP, "sigp", Value::Hex),
    info(kind::PROGRAM, "program", Value::Hex),
    info(kind::VALIDITY, "validity", Value::Hex),
    info(kind::OPERATION, "operation", Value::Hex),
    info(kind::SIE_FAULT, "sie_fault", Value::None),
];

const fn info(number: u8, id: &'static str, value: Value) -> KindInfo {
    let exits = matches!(number, kind::PLAIN | kind::HALTED);
    KindInfo { kind: number, id, exits, reason: number != kind::GUEST, value }
}

/// The table's row for a detail; [`None`] for a kind of a newer version.
pub fn of(detail: u64) -> Option<&'static KindInfo> {
    KINDS.get(usize::from(kind_of(detail)))
}

/// Whether a cell with this detail is among the exits of its reason.
pub fn is_exit(detail: u64) -> bool {
    of(detail).is_some_and(|info| info.exits)
}

/// Name of the kind in machine-readable output.
pub fn id(detail: u64) -> String {
    of(detail).map_or_else(|| format!("kind_{}", kind_of(detail)), |info| info.id.to_owned())
}

/// The value of a detail as people write it; "" if its kind has none.
///
/// ```
/// # use tracer_user::model::kinds::label;
/// # use tracer_ebpf::detail::{kind, new};
/// assert_eq!(label(new(kind::PLAIN, 0)), "");
/// assert_eq!(label(new(kind::DIAG, 0x44)), "0x44");
/// ```
pub fn label(detail: u64) -> String {
    let value = value_of(detail);
    match of(detail).map_or(Value::Hex, |info| info.value) {
        Value::None => String::new(),
        Value::KvmExit => {
            u32::try_from(value).map_or_else(|_| value.to_string(), |code| kvm_exit::decode(code).to_string())
        }
        Value::Hex => format!("{value:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::detail::new;

    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (index, info) in KINDS.iter().enumerate() {
            assert_eq!(usize::from(info.kind), index);
        }
        let exits: Vec<u8> = KINDS.iter().filter(|info| info.exits).map(|info| info.kind).collect();
        assert_eq!(exits, [kind::PLAIN, kind::HALTED]);
    }

    #[test]
    fn kinds_and_values_have_names() {
        assert_eq!(id(new(kind::USER_EXIT, 2)), "user_exit");
        assert_eq!(label(new(kind::USER_EXIT, 2)), "KVM_EXIT_IO");
        assert_eq!((id(new(99, 5)), label(new(99, 5))), ("kind_99".into(), "0x5".into()));
        assert!(!is_exit(new(99, 0)) && is_exit(new(kind::HALTED, 0)));
    }
}
