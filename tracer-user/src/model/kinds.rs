//! The kinds of [`Cell`](crate::model::Cell)s by name, and which of them are the exits of a reason.

use tracer_ebpf::subkey::{is_cause, is_user_exit, kind, kind_of, value_of};

use crate::decode::{self, Isa};

/// One row of the table of kinds.
#[derive(Debug)]
pub struct KindInfo {
    /// Its number; see [`tracer_ebpf::subkey::kind`].
    pub kind: u8,
    /// Name in machine-readable output.
    pub id: &'static str,
    /// The exits of a reason are the cells of these kinds, and of no others: all others describe the same
    /// time once more, or time in the guest.
    pub exits: bool,
    /// Whether it says which reason it belongs to.
    pub reason: bool,
    /// Whether its value says anything.
    pub value: bool,
    /// What its samples are.
    pub meaning: &'static str,
}

/// All kinds, in the order of their numbers.
pub static KINDS: [KindInfo; 16] = [
    info(kind::PLAIN, "exit", false, "exits that did not halt; all of their time is handled time"),
    info(kind::HALTED, "exit", false, "exits that halted or were stopped: their handled time"),
    info(kind::WHOLE, "whole", false, "the same exits with their idle and stopped time"),
    info(kind::GUEST, "guest", false, "time in the guest, from entry to exit; it has no reason"),
    info(
        kind::USER_EXIT,
        "user_exit",
        true,
        "time in the VMM for one return from KVM_RUN, by KVM_EXIT_* reason",
    ),
    info(kind::INSTRUCTION, "instruction", true, "s390x: an intercepted instruction"),
    info(kind::DIAG, "diag", true, "s390x: a DIAGNOSE function code"),
    info(kind::SIGP, "sigp", true, "s390x: a SIGP order"),
    info(kind::PROGRAM, "program", true, "s390x: a program interruption code"),
    info(kind::VALIDITY, "validity", true, "s390x: a validity intercept, with its reason code"),
    info(kind::OPERATION, "operation", true, "s390x: an operation exception, with the instruction"),
    info(kind::SIE_FAULT, "sie_fault", false, "s390x: a fault of the host inside SIE"),
    info(kind::CR, "cr", true, "x86: an access of a control register, on request"),
    info(kind::MSR, "msr", true, "x86: an access of an MSR that KVM emulates, on request"),
    info(
        kind::OTHER,
        "other",
        true,
        "causes without a record of their own: the kernel has no name for them, or the vCPU has used up its causes (64, `--max-causes`); the value is their kind",
    ),
    info(
        kind::NONE,
        "none",
        false,
        "exits of a row that have none of its causes, `user_exit` aside, if it has any; not recorded but worked out",
    ),
];

const fn info(number: u8, id: &'static str, value: bool, meaning: &'static str) -> KindInfo {
    let exits = matches!(number, kind::PLAIN | kind::HALTED);
    KindInfo { kind: number, id, exits, reason: number != kind::GUEST, value, meaning }
}

/// The table's row for a subkey; [`None`] for a kind of a newer version.
pub fn of(subkey: u64) -> Option<&'static KindInfo> {
    KINDS.get(usize::from(kind_of(subkey)))
}

/// Whether a cell with this subkey is among the exits of its reason.
pub fn is_exit(subkey: u64) -> bool {
    of(subkey).is_some_and(|info| info.exits)
}

/// Whether a subkey says why an exit happened: these causes and the exits without one add up to their row.
/// Returns to the VMM do not: one exit may have several.
pub fn is_cause_of_exit(subkey: u64) -> bool {
    of(subkey).is_some() && is_cause(subkey) && !is_user_exit(subkey)
}

/// Name of the kind in machine-readable output.
pub fn id(subkey: u64) -> String {
    of(subkey).map_or_else(|| format!("kind_{}", kind_of(subkey)), |info| info.id.to_owned())
}

/// The value of a subkey as people write it: its name, else its number; "" if its kind has none.
///
/// ```
/// # use tracer_user::{decode::Isa, model::kinds::label};
/// # use tracer_ebpf::subkey::{kind, new};
/// assert_eq!(label(Isa::SVM, new(kind::PLAIN, 0)), "");
/// assert_eq!(label(Isa::SVM, new(kind::USER_EXIT, 2)), "KVM_EXIT_IO");
/// ```
pub fn label(isa: Isa, subkey: u64) -> String {
    match decode::subkey::label(isa, subkey) {
        Some(name) => name.into_owned(),
        None if of(subkey).is_none_or(|info| info.value) => format!("{:#x}", value_of(subkey)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::subkey::new;

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
        assert_eq!((id(new(99, 5)), label(Isa(9), new(99, 5))), ("kind_99".into(), "0x5".into()));
        assert_eq!(label(Isa(9), new(kind::HALTED, 0)), "");
        assert!(!is_exit(new(99, 0)) && is_exit(new(kind::HALTED, 0)));
    }
}
