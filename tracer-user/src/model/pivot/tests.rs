//! Which exits are counted where, and in which order.

use tracer_ebpf::part::Part;

use super::*;
use crate::{
    decode::svm,
    model::{Cell, GroupBy, Interval, MeasuredParts, Thread, Threads},
};

const CPUID: u32 = 0x72;
const HLT: u32 = 0x78;
const IO: u32 = 0x7b;

/// An interval of 2 s: exits of two vCPUs as (vCPU, code, count, time of each).
fn interval(cells: &[(usize, u32, u64, u64)], known: MeasuredParts) -> (Interval, Threads) {
    let cell = |&(thread, code, count, ns): &(usize, u32, u64, u64)| Cell {
        thread,
        isa: Isa::SVM,
        code,
        count,
        sum_ns: count * ns,
        min_ns: ns,
        max_ns: ns,
        ..Cell::default()
    };
    let cells = cells.iter().map(cell).collect();
    let interval = Interval { known, cells, end_ns: 2_000_000_000, ..Interval::default() };
    let thread =
        |vcpu: u32| Thread { pid: 1, tid: 10 + vcpu, vcpu: Some(vcpu), vm: "a".into(), ..Thread::default() };
    (interval, [0, 1].map(thread).into_iter().collect())
}

fn rows(cells: &[(usize, u32, u64, u64)], known: &[Part], by: &str, idle: bool) -> Rows {
    let (interval, threads) = interval(cells, MeasuredParts::of(known));
    let mut rows = Rows::new(by.parse::<GroupBy>().unwrap()).with_idle(idle);
    rows.of_interval(interval.with(&threads));
    rows
}

fn codes(pivot: &Pivot) -> Vec<(u32, bool, u64)> {
    pivot.columns.iter().map(|it| (it.reason.1, it.idle, it.count)).collect()
}

fn lines(pivot: &Pivot) -> Vec<(Option<u32>, Vec<u64>)> {
    let vcpu = |line: &Line| line.row.thread().and_then(|thread| thread.vcpu);
    pivot.lines.iter().map(|line| (vcpu(line), line.counts.clone())).collect()
}

const CELLS: &[(usize, u32, u64, u64)] =
    &[(0, CPUID, 5, 10), (0, HLT, 40, 1000), (1, IO, 20, 500), (1, CPUID, 3, 10), (1, HLT, 50, 1000)];

#[test]
fn the_most_frequent_reason_comes_first_and_so_does_the_busiest_place() {
    let measured = rows(CELLS, &Part::ALL, "vcpu,reason", false);
    let pivot = Pivot::of(&measured, SortKey::Sample);
    assert_eq!(codes(&pivot), [(HLT, false, 90), (IO, false, 20), (CPUID, false, 8)]);
    assert_eq!(lines(&pivot), [(Some(1), vec![50, 20, 3]), (Some(0), vec![40, 0, 5])]);
    assert!(pivot.lines.iter().all(|line| line.elapsed_ns == 2_000_000_000));
}

/// Nothing is lost between the rows and the pivot, however they are grouped.
#[test]
fn the_counts_sum_to_all_samples() {
    for (by, places) in [("vcpu,reason", 2), ("vm,reason", 1), ("host,reason", 1)] {
        for known in [&Part::ALL[..], &[]] {
            let rows = rows(CELLS, known, by, false);
            let pivot = Pivot::of(&rows, SortKey::Time);
            assert_eq!(pivot.lines.len(), places, "{by}");
            assert_eq!(pivot.lines.iter().map(Line::count).sum::<u64>(), rows.totals().count());
            assert_eq!(pivot.columns.iter().map(|it| it.count).sum::<u64>(), rows.totals().count());
        }
    }
}

/// Where idle time was not measured the exits that were idle are apart, and last; with `--idle` they are not.
#[test]
fn idle_exits_come_last_unless_they_are_asked_for() {
    let pivot = Pivot::of(&rows(CELLS, &[], "vcpu,reason", false), SortKey::Sample);
    assert_eq!(codes(&pivot), [(IO, false, 20), (CPUID, false, 8), (HLT, true, 90)]);
    let pivot = Pivot::of(&rows(CELLS, &[], "vcpu,reason", true), SortKey::Sample);
    assert_eq!(codes(&pivot).iter().map(|(code, ..)| *code).collect::<Vec<_>>(), [HLT, IO, CPUID]);
}

#[test]
fn places_are_sorted_by_the_key() {
    let first = |key| {
        // vCPU 0 has more exits, vCPU 1 more handled time and the longest exit.
        let cells = [(0, CPUID, 100, 10), (1, IO, 10, 500), (0, HLT, 1, 1_000_000)];
        lines(&Pivot::of(&rows(&cells, &[], "vcpu,reason", false), key))[0].0
    };
    assert_eq!([SortKey::Sample, SortKey::Name].map(first), [Some(0), Some(0)]);
    assert_eq!([SortKey::Time, SortKey::Max, SortKey::Mean].map(first), [Some(1); 3]);
}

/// A code of all ones is a reason like any other, and codes without a name have columns, too.
#[test]
fn unknown_codes_have_columns() {
    let cells = [(0, u32::MAX, 3, 1), (0, 0xdead, 2, 1)];
    let pivot = Pivot::of(&rows(&cells, &Part::ALL, "vcpu,reason", false), SortKey::Sample);
    assert_eq!(codes(&pivot), [(u32::MAX, false, 3), (0xdead, false, 2)]);
    assert!(svm::REASONS.iter().all(|info| info.code != 0xdead));
}
