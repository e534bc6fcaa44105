//! Which rows there are, and which samples they have.

use tracer_ebpf::{
    histogram::bucket_of,
    subkey::{kind, new},
};

use super::*;
use crate::model::{Cell, Interval, Thread, Threads};

fn interval(cells: &[(u64, u64)]) -> (Interval, Threads) {
    let mut interval = Interval { known: MeasuredParts::of(&Part::ALL), ..Interval::default() };
    for &(subkey, ns) in cells {
        let mut parts = Parts::default();
        parts.add(Part::Kernel, ns);
        let buckets = interval.buckets.add_pairs(&[(bucket_of(ns) as u16, 1)]);
        let (sum_ns, min_ns, max_ns) = (ns, ns, ns);
        let cell =
            Cell { isa: Isa::SVM, code: 0x78, subkey, count: 1, sum_ns, min_ns, max_ns, ..Cell::default() };
        interval.cells.push(Cell { parts, buckets, ..cell });
    }
    let thread = Thread { pid: 1, tid: 2, vcpu: Some(0), vm: "a".into(), ..Thread::default() };
    (interval, vec![thread].into())
}

/// Cells that describe exits a second time are in rows of their own.
#[test]
fn no_time_is_counted_twice() {
    let (interval, threads) = interval(&[
        (new(kind::PLAIN, 0), 100),
        (new(kind::HALTED, 0), 200),
        (new(kind::WHOLE, 0), 5000),
        (new(kind::GUEST, 0), 7000),
        (new(kind::USER_EXIT, 2), 50),
    ]);
    let mut rows = Rows::new(GroupBy::REASON);
    rows.of_interval(interval.with(&threads));
    let exits: Vec<_> = rows.exits().map(|row| (row.stats.count, row.stats.sum_ns)).collect();
    assert_eq!(exits, [(2, 300)]);
    assert_eq!(rows.exits().next().unwrap().parts.get(Part::Kernel), 300);
    let causes = |rows: &Rows| -> Vec<_> {
        let cause = |row: &Row| Some((kinds::id(row.cause?), row.reason_label(), row.stats.sum_ns));
        rows.samples().filter_map(cause).collect()
    };
    let cause = |id: &str, reason: &str, ns| (id.to_owned(), reason.to_owned(), ns);
    assert_eq!(
        causes(&rows),
        [cause("guest", "", 7000), cause("whole", "hlt", 5000), cause("user_exit", "hlt", 50)]
    );
    let mut alone = Rows::new(GroupBy::REASON).of_exits_only().with_selection(Selection::default());
    alone.of_interval(interval.with(&threads));
    assert_eq!((alone.all().count(), alone.totals()), (1, rows.totals()));
    let exits: Vec<_> = alone.exits().map(|row| (row.stats.count, row.stats.sum_ns)).collect();
    assert_eq!(exits, [(2, 300)]);
    // A filter by reason excludes time in the guest, which has no reason.
    let fields = Some(regex::Regex::new("").unwrap());
    let mut rows = Rows::new(GroupBy::REASON).with_selection(Selection { fields, ..Selection::default() });
    rows.of_interval(interval.with(&threads));
    assert_eq!(rows.samples().count(), 3);
}

/// With idle time the whole of the exits that halted is in their row, and nothing is below it twice.
#[test]
fn idle_time_is_in_the_samples_if_asked_for() {
    let (interval, threads) =
        interval(&[(new(kind::PLAIN, 0), 100), (new(kind::HALTED, 0), 200), (new(kind::WHOLE, 0), 5000)]);
    let mut rows = Rows::new(GroupBy::REASON).with_idle(true);
    rows.of_interval(interval.with(&threads));
    let row = rows.exits().next().unwrap();
    assert_eq!((row.stats.count, row.stats.sum_ns, row.parts.get(Part::Kernel)), (2, 5100, 300));
    assert_eq!(rows.causes_of(row).count(), 0);
    assert_eq!(rows.wholes().handled_ns, 5100);
}

#[test]
fn a_reason_is_idle_where_idle_time_was_not_measured() {
    let (mut interval, threads) = interval(&[(0, 100)]);
    let mut rows = Rows::new(GroupBy::REASON);
    rows.of_interval(interval.with(&threads));
    assert!(!rows.iter().next().unwrap().idle);
    interval.known = MeasuredParts::default();
    rows.of_interval(interval.with(&threads));
    assert!(rows.iter().next().unwrap().idle);
    assert_eq!(rows.iter().count(), 1, "rows of the last interval are gone");
}

/// Intervals that knew parts and others that did not are added up: idle time of both is found.
#[test]
fn a_store_keeps_apart_what_was_measured_in_another_way() {
    let (mut interval, threads) = interval(&[(0, 100)]);
    let mut store = Store::default();
    store.add(interval.with(&threads));
    interval.known = MeasuredParts::default();
    store.add(interval.with(&threads));
    let mut rows = Rows::new(GroupBy::REASON);
    rows.of_store(&store);
    assert_eq!(
        rows.iter().map(|row| (row.idle, row.stats.count)).collect::<Vec<_>>(),
        [(false, 1), (true, 1)]
    );
    assert_eq!((rows.totals().handled_count, rows.totals().idle_count), (1, 1));
}

/// With the exits that have none, causes sum to their row. Returns to the VMM are beside them.
#[test]
fn causes_sum_to_their_row() {
    let msr = |value| new(kind::MSR, value);
    let cells = [
        (new(kind::PLAIN, 0), 100),
        (new(kind::PLAIN, 0), 70),
        (new(kind::HALTED, 0), 200),
        (new(kind::WHOLE, 0), 5000),
        (msr(1), 60),
        (msr(2), 200),
        (new(kind::USER_EXIT, 2), 50),
    ];
    let causes = |cells: &[(u64, u64)], idle: bool, by: GroupBy| -> Vec<(u8, u64, u64)> {
        let (mut interval, threads) = interval(cells);
        for cell in interval.cells.iter_mut().filter(|cell| cell.subkey == new(kind::HALTED, 0)) {
            cell.parts.add(Part::Halt, 4800);
        }
        let mut rows = Rows::new(by).with_idle(idle);
        // Rows that are filled twice must not change.
        rows.of_interval(interval.with(&threads));
        rows.of_interval(interval.with(&threads));
        let of = |row: &Row| Some((subkey::kind_of(row.cause?), row.stats.count, row.stats.sum_ns));
        let of_exit = |row: &Row| row.cause.is_some_and(kinds::is_cause_of_exit);
        let found: Vec<_> = rows.all().filter(|row| of_exit(row)).filter_map(of).collect();
        let none = rows.all().find(|row| row.cause == Some(new(kind::NONE, 0)));
        assert!(none.is_none_or(|row| row.stats.extremes_ns().is_none()), "nobody knows them");
        found
    };
    let (known, none) = ([(kind::MSR, 1, 60), (kind::MSR, 1, 200)], (kind::NONE, 1, 110));
    let all = [known[0], known[1], none];
    assert_eq!(causes(&cells, false, GroupBy::REASON), all);
    // Causes have handled time, even if their row includes idle time.
    assert_eq!(causes(&cells, true, GroupBy::REASON), all);
    assert_eq!(causes(&cells, false, GroupBy { reason: false, ..GroupBy::REASON }), known);
    // A row without causes gets no row for the rest.
    assert_eq!(causes(&[cells[0], cells[6]], false, GroupBy::REASON), []);
    // Causes may be ahead of their row.
    assert_eq!(causes(&[cells[1], cells[5], cells[4]], false, GroupBy::REASON), known);
    let ahead = [cells[0], cells[1], cells[5]];
    assert_eq!(causes(&ahead, false, GroupBy::REASON), [known[1], (kind::NONE, 1, 0)]);
}
