//! Names of SIE intercepts, for which s390 guests are left, and of the causes below them.
//!
//! An exit has one of the codes in [`intercept`]. Events between exit and entry tell more: which instruction
//! was intercepted, which function of DIAGNOSE or order of SIGP it asked for, which program interruption it
//! was.

pub mod diag;
pub mod instruction;
pub mod intercept;
pub mod program;
pub mod sigp;

use super::{
    ReasonInfo, find,
    kernel_table::{FormatError, parse_format_symbols},
};

/// A number and the kernel's label for it.
pub type Label = (u32, &'static str);

/// The label of a number in a table sorted by number.
pub fn label(table: &'static [Label], number: u64) -> Option<&'static str> {
    let number = u32::try_from(number).ok()?;
    table.binary_search_by_key(&number, |(code, _)| *code).ok().map(|at| table[at].1)
}

/// One of our tables of codes and labels.
enum Table {
    Reasons(&'static [ReasonInfo]),
    Labels(&'static [Label]),
}

/// The events in whose formats a kernel prints its labels, each with our table of the same codes.
static EVENTS: [(&str, Table); 7] = [
    ("kvm_s390_sie_exit", Table::Reasons(intercept::REASONS)),
    ("kvm_s390_intercept_instruction", Table::Labels(instruction::KEYS)),
    ("kvm_s390_handle_operexc", Table::Labels(instruction::KEYS)),
    ("kvm_s390_handle_diag", Table::Labels(diag::CODES)),
    ("kvm_s390_handle_sigp", Table::Labels(sigp::ORDERS)),
    ("kvm_s390_handle_sigp_pei", Table::Labels(sigp::ORDERS)),
    ("kvm_s390_intercept_prog", Table::Labels(program::CODES)),
];

/// The events whose `format` files have labels.
pub fn events() -> impl Iterator<Item = &'static str> {
    EVENTS.iter().map(|(event, _)| *event)
}

/// Holds our table for an event against the kernel's: how many labels that has, and each of them which we
/// lack or spell otherwise.
///
/// # Errors
///
/// See [`parse_format_symbols`]; also if there is not exactly one table.
pub fn disagreements(event: &str, format_text: &str) -> Result<(usize, Vec<String>), FormatError> {
    let tables = parse_format_symbols(format_text)?;
    let ours = EVENTS.iter().find(|(name, _)| *name == event).map(|(_, table)| table);
    let (Some(ours), [theirs]) = (ours, tables.as_slice()) else {
        return Err(FormatError::NoTable(format!("{event} with {} tables", tables.len())));
    };
    let mut found = Vec::new();
    for (code, wanted) in &theirs.entries {
        let have = match ours {
            Table::Reasons(table) => find(table, *code).map(|info| info.name),
            Table::Labels(table) => label(table, u64::from(*code)),
        };
        if have != Some(wanted.as_str()) {
            found.push(format!("{event} {code:#x}: the kernel says {wanted:?}, our table {have:?}"));
        }
    }
    Ok((theirs.entries.len(), found))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [(&str, &str, usize); 5] = [
        ("kvm_s390_sie_exit", include_str!("../testdata/kvm_s390_sie_exit-6.12.format"), 15),
        (
            "kvm_s390_intercept_instruction",
            include_str!("../testdata/kvm_s390_intercept_instruction-6.12.format"),
            107,
        ),
        ("kvm_s390_handle_diag", include_str!("../testdata/kvm_s390_handle_diag-6.12.format"), 9),
        ("kvm_s390_handle_sigp", include_str!("../testdata/kvm_s390_handle_sigp-6.12.format"), 16),
        ("kvm_s390_intercept_prog", include_str!("../testdata/kvm_s390_intercept_prog-6.12.format"), 52),
    ];

    #[test]
    fn the_tables_are_those_of_a_real_kernel() {
        for (event, format, labels) in FORMATS {
            let (read, found) = disagreements(event, format).unwrap();
            assert!(found.is_empty(), "{found:#?}");
            assert_eq!(read, labels, "{event}: all of the kernel's labels are read");
        }
        let wrong = FORMATS[2].1.replace("time slice end directed", "nap");
        assert_eq!(disagreements("kvm_s390_handle_diag", &wrong).unwrap().1.len(), 1);
    }

    #[test]
    fn tables_are_sorted_and_without_doubles() {
        super::super::assert_table(intercept::REASONS);
        for (event, table) in &EVENTS {
            if let Table::Labels(table) = table {
                assert!(table.windows(2).all(|pair| pair[0].0 < pair[1].0), "{event}");
            }
        }
        assert_eq!(label(sigp::ORDERS, 3), Some("SIGP emergency signal"));
        assert_eq!(label(sigp::ORDERS, 1 << 32 | 3), None);
    }
}
