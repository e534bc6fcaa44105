//! What the cells are, and that no room takes nothing away from a row.

use proptest::prelude::*;

use super::*;
use crate::{
    decode::Isa,
    model::{Cell, Interval, MeasuredParts, Thread, Threads, columns::SortKey},
};

/// A table by VM of these exits, as (VM, code, count), within some nanoseconds.
fn table(cells: &[(usize, u32, u64)], elapsed_ns: u64) -> TableModel {
    let cell = |&(thread, code, count): &(usize, u32, u64)| Cell {
        thread,
        isa: Isa::SVM,
        code,
        count,
        sum_ns: count,
        min_ns: 1,
        max_ns: 1,
        ..Cell::default()
    };
    let cells = cells.iter().map(cell).collect();
    let known = MeasuredParts::of(&tracer_ebpf::part::Part::ALL);
    let interval = Interval { known, cells, end_ns: elapsed_ns, ..Interval::default() };
    let thread =
        |pid: u32| Thread { pid, tid: pid, vcpu: Some(0), vm: "\x1b[2Ja".into(), ..Thread::default() };
    let threads: Threads = (1..4).map(thread).collect();
    let mut rows = Rows::new("vm,reason".parse().unwrap());
    rows.of_interval(interval.with(&threads));
    let mut table = TableModel::default();
    table.rates(&rows, &Pivot::of(&rows, SortKey::Sample));
    table
}

fn rates(table: &TableModel) -> Vec<Vec<Option<f64>>> {
    let rate = |cell: &Option<Value>| match cell {
        Some(Value::Rate(rate)) => *rate,
        other => panic!("{other:?}"),
    };
    table.lines().map(|line| line.cells.iter().map(rate).collect()).collect()
}

fn titles(table: &TableModel) -> Vec<&str> {
    table.columns.iter().map(|heading| &*heading.title).collect()
}

#[test]
fn the_last_line_sums_the_others() {
    let table = table(&[(0, 0x72, 10), (1, 0x72, 4), (1, 0x7b, 1)], 2_000_000_000);
    assert_eq!(titles(&table), ["Exits", "cpuid", "io"]);
    let some = |line: [f64; 3]| line.map(Some).to_vec();
    assert_eq!(rates(&table), [some([5.0, 5.0, 0.0]), some([2.5, 2.0, 0.5]), some([7.5, 7.0, 0.5])]);
    let kinds: Vec<_> = table.lines().map(|line| line.kind).collect();
    assert_eq!(kinds, [Kind::Row, Kind::Row, Kind::Total]);
    // Tenants choose the names of VMs.
    assert!(table.lines().all(|line| line.labels().all(|label| !label.contains('\x1b'))));
}

/// Exits within no time have no rate; there is no rate of 0 in its place.
#[test]
fn without_a_length_rates_are_unknown() {
    let table = table(&[(0, 0x72, 10), (1, 0x7b, 1)], 0);
    let none = Some(0.0);
    assert_eq!(rates(&table), [vec![None, None, none], vec![None, none, None], vec![None; 3]]);
}

#[test]
fn an_empty_interval_has_no_lines() {
    let mut table = table(&[], 1);
    assert!(table.is_empty());
    assert_eq!(titles(&table), ["Exits"]);
    assert_eq!(table.fold(0).len(), 0);
    assert_eq!(titles(&table), ["Exits"]);
}

proptest! {
    /// However narrow the terminal is, the columns beside the first sum to it, and they fit.
    #[test]
    fn folding_takes_nothing_away(
        cells in proptest::collection::vec((0..3_usize, 0x60..0x90_u32, 1..1_000_000_u64), 1..60),
        room in 0..300_usize,
    ) {
        let mut table = table(&cells, 1_000_000_000);
        let (before, all) = (rates(&table), table.columns.len());
        let reasons: Vec<String> = titles(&table)[1..].iter().map(ToString::to_string).collect();
        let folded = table.fold(room);
        let kept = table.columns.len() - usize::from(!folded.is_empty());
        prop_assert_eq!(kept + folded.len(), all);
        prop_assert_eq!(titles(&table).contains(&"other"), !folded.is_empty());
        let mut names: Vec<_> = titles(&table)[1..kept].iter().map(ToString::to_string).collect();
        names.extend(folded.iter().map(|it| it.title.to_string()));
        prop_assert_eq!(names, reasons);
        for (line, before) in rates(&table).iter().zip(&before) {
            prop_assert_eq!(line[0], before[0]);
            let sum: f64 = line[1..].iter().map(|rate| rate.unwrap()).sum();
            prop_assert!((sum - before[0].unwrap()).abs() < 1e-3, "{} {:?}", sum, line);
        }
        let width: usize = table.columns.iter().map(|heading| heading.width + 1).sum();
        prop_assert!(width <= room || kept == 1, "{} in {}", width, room);
    }
}
