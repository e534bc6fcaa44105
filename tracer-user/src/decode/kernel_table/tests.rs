//! The parser on real and on made-up format files.

use super::super::{ReasonInfo, svm, vmx};
use super::*;

const KVM_EXIT: &str = include_str!("../testdata/kvm_exit-6.18.format");
const USERSPACE_EXIT: &str = include_str!("../testdata/kvm_userspace_exit-6.18.format");

fn one(entry: &str) -> Result<u32, FormatError> {
    let text = format!("print fmt: \"%s\", __print_symbolic(REC->reason, {{ {entry}, \"X\" }})");
    parse_format_symbols(&text).map(|tables| tables[0].entries[0].0)
}

#[test]
fn small_sample() {
    let text = "name: kvm_exit\nformat:\n\tfield:u32 isa;\toffset:24;\n\nprint fmt: \"reason %s, \\\"%s\\\"\", \
        (REC->isa == 1) ? __print_symbolic(REC->exit_reason & 0xffff, { 0, \"A\" }, { 12, \"HLT\" }) : \
        __print_symbolic(REC->exit_reason, { 0x040 + 14, \"PF excp\" }, { -1, \"err\" }), REC->isa\n";
    let tables = parse_format_symbols(text).unwrap();
    assert_eq!(tables.len(), 2);
    assert_eq!(tables[0].isa, Some(Isa::VMX));
    assert_eq!(tables[0].field, "exit_reason");
    assert_eq!(tables[0].entries, [(0, "A".to_owned()), (12, "HLT".to_owned())]);
    assert_eq!(tables[1].isa, Some(Isa::SVM));
    assert_eq!(tables[1].entries, [(0x4e, "PF excp".to_owned()), (u32::MAX, "err".to_owned())]);
    assert_eq!(tables[1].name(0x4e), Some("PF excp"));
    assert_eq!(tables[1].name(0x4f), None);
    assert_eq!(
        disagreements(text).unwrap(),
        [
            "VMX 0 (0x0): the kernel says \"A\", our table \"EXCEPTION_NMI\"",
            "SVM 4294967295 (0xffffffff): the kernel says \"err\", our table \"invalid_guest_state\"",
        ]
    );
}

#[test]
fn a_third_isa_in_the_last_branch() {
    let text = "print fmt: \"%s\", (REC->isa == 1) ? __print_symbolic(REC->exit_reason & 0xffff, { 2, \
        \"TRIPLE_FAULT\" }) : ((REC->isa == 2) ? __print_symbolic(REC->exit_reason, { 0x078ull, \"hlt\" }) : \
        __print_symbolic(REC->exit_reason, { (1UL << 16), \"SYSCALL\" }, { ((2UL << 16) + 1), \"HC_IRQ_WIN\" }, \
        { (4UL << 16), \"ERETS\" }))";
    let tables = parse_format_symbols(text).unwrap();
    let isas: Vec<_> = tables.iter().map(|table| table.isa).collect();
    assert_eq!(isas, [Some(Isa::VMX), Some(Isa::SVM), Some(Isa::PVM)]);
    assert_eq!(tables[2].entries[1], (0x2_0001, "HC_IRQ_WIN".to_owned()));
    let found = disagreements(text).unwrap();
    assert_eq!(found, ["PVM 262144 (0x40000): the kernel says \"ERETS\", our table \"INTERRUPT\""]);
}

#[test]
fn unknown_isa_is_reported_or_refused() {
    let text = "print fmt: \"%s\", (REC->isa == 7) ? __print_symbolic(REC->exit_reason, { 1, \"A\" }) : \"\"";
    assert_eq!(disagreements(text).unwrap(), ["isa 7 1 (0x1): the kernel says \"A\", our table has nothing"]);
    let text = "print fmt: \"%s\", __print_symbolic(REC->exit_reason, { 1, \"A\" })";
    assert!(matches!(parse_format_symbols(text), Err(FormatError::UnknownIsa(_))));
    let text = "print fmt: \"%s\", (REC->isa == 7) ? __print_symbolic(REC->exit_reason, { 1, \"A\" }) : \
        __print_symbolic(REC->exit_reason, { 1, \"A\" })";
    assert!(matches!(parse_format_symbols(text), Err(FormatError::UnknownIsa(_))));
}

#[test]
fn numbers() {
    for (entry, value) in [
        ("12", 12),
        ("0x403", 0x403),
        ("0X80000001ULL", 0x8000_0001),
        ("010", 8),
        ("7u", 7),
        ("-1", u32::MAX),
        ("-1ull", u32::MAX),
        ("(-1)", u32::MAX),
        ("(0xffffffffffffffffull)", u32::MAX),
        ("~0UL", u32::MAX),
        ("- -5", 5),
        ("1 << 4 | 3", 19),
        ("0x40 + 16 - 2", 0x4e),
    ] {
        assert_eq!(one(entry), Ok(value), "{entry}");
    }
}

#[test]
fn what_is_no_number_is_an_error_with_its_text() {
    for entry in ["EXIT_REASON_HLT", "1 +", "", "0x1ffffffff", "-0x80000001", "1 2", "(1", "sizeof(int)"] {
        let found = one(entry).unwrap_err();
        assert_eq!(found, FormatError::Number { expression: entry.into(), name: "X".into() }, "{entry}");
    }
    let deep = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(matches!(one(&deep), Err(FormatError::Number { .. })));
    assert!(matches!(one("12z"), Err(FormatError::Lexical(text)) if text.starts_with("12z")));
    assert!(matches!(one("0x"), Err(FormatError::Lexical(_))));
    assert!(matches!(one("08"), Err(FormatError::Lexical(_))));
}

#[test]
fn what_is_no_table_is_an_error() {
    assert_eq!(parse_format_symbols("name: x\n"), Err(FormatError::NoPrintFmt));
    assert!(matches!(parse_format_symbols("print fmt: \"%u\", REC->a"), Err(FormatError::NoTable(_))));
    for table in [
        "",
        "(",
        "(REC->reason)",
        "(REC->reason, )",
        "(REC->reason, { 1 })",
        "(REC->reason, { 1, 2 })",
        "(REC->reason, { 1, \"A\" )",
        "(REC->reason, { 1, \"A\" } { 2, \"B\" })",
        "(REC->reason & mask, { 1, \"A\" })",
        "(reason, { 1, \"A\" })",
    ] {
        let found = parse_format_symbols(&format!("print fmt: \"%s\", __print_symbolic{table}"));
        assert!(matches!(found, Err(FormatError::Syntax { .. })), "{table}: {found:?}");
    }
    let open = parse_format_symbols("print fmt: \"%s");
    assert!(matches!(open, Err(FormatError::Lexical(_))));
}

#[test]
fn real_kernel_agrees() {
    assert_eq!(disagreements(KVM_EXIT).unwrap(), Vec::<String>::new());
    assert_eq!(disagreements(USERSPACE_EXIT).unwrap(), Vec::<String>::new());
}

/// The comparison above must not pass for want of entries, and what the kernel does not label must
/// be what the module documentation says.
#[test]
fn real_kernel_is_read_whole() {
    let tables = parse_format_symbols(KVM_EXIT).unwrap();
    let sizes: Vec<_> = tables.iter().map(|table| (table.isa, table.entries.len())).collect();
    assert_eq!(sizes, [(Some(Isa::VMX), 65), (Some(Isa::SVM), 110)]);
    let without = |table: &SymbolTable, ours: &[ReasonInfo]| -> Vec<u32> {
        ours.iter().map(|info| info.code).filter(|code| table.name(*code).is_none()).collect()
    };
    assert_eq!(without(&tables[0], vmx::REASONS), [6, 76]);
    let mut unlabelled = vec![0x54, 0x55, 0x5c, 0x5d, 0x5e, 0x8c, 0x8e];
    unlabelled.extend((0x91..=0x9f).filter(|code| ![0x94, 0x98].contains(code)));
    unlabelled.extend([0x8000_0018, 0x8000_001a, 0x8000_fffe, 0x8000_ffff, 0xf000_0000]);
    assert_eq!(without(&tables[1], svm::REASONS), unlabelled);

    let tables = parse_format_symbols(USERSPACE_EXIT).unwrap();
    assert_eq!((tables.len(), tables[0].isa, tables[0].entries.len()), (1, None, 31));
    assert_eq!(tables[0].field, "reason");
    assert_eq!(tables[0].name(2), Some("KVM_EXIT_IO"));
    assert_eq!(without(&tables[0], kvm_exit::REASONS), (31..=43).collect::<Vec<_>>());
}
