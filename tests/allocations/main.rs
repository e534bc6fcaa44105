//! A snapshot whose rows are all known allocates nothing. What a report allocates is in proportion to its
//! rows.
//!
//! This is a separate test program because it counts all allocations of the process. It has one test because
//! tests run side by side.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use exitlat_tests::{
    causes,
    synthetic::{Synthetic, threads},
};
use tracer_user::{
    model::{GroupBy, Interval, Rows, Store, columns::SortKey},
    recording::Reader,
    render::{
        Printer as _, Span, View,
        json::JsonLines,
        table::Table,
        text::{Setter, Style},
    },
    view::TableModel,
};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Bytes of them.
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls are passed on to the system's allocator unchanged; counting touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which the system's allocator shares.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory comes from `alloc` above, so from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size, Ordering::Relaxed);
        // SAFETY: the memory comes from `alloc` above, so from the system's allocator.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Number of allocations in `run`.
fn allocations(run: impl FnOnce()) -> usize {
    let before = COUNT.load(Ordering::Relaxed);
    run();
    COUNT.load(Ordering::Relaxed) - before
}

#[test]
fn allocations_are_few() {
    the_same_rows_again_allocate_nothing();
    causes_allocate_in_proportion();
}

fn the_same_rows_again_allocate_nothing() {
    assert!(allocations(|| drop(Box::new(7))) > 0, "allocations are counted");
    let (intervals, threads) = (Synthetic { split: true, incident: false }.intervals(), threads());
    for by in ["reason", "vm,reason", "vcpu,reason", "part"] {
        let by: GroupBy = by.parse().unwrap();
        let mut store = Store::default();
        let (mut of_interval, mut of_store) = (Rows::new(by), Rows::new(by));
        let (mut exits, mut guests, mut setter) =
            (TableModel::default(), TableModel::default(), Setter::default());
        let view = View { width: Some(120), ..View::default() };
        let mut printer = Table::new(view);
        let style = Style { width: Some(120), ..Style::default() };
        let mut snapshot = |interval: &Interval| {
            let counts = [
                allocations(|| store.add(interval.with(&threads))),
                allocations(|| of_interval.of_interval(interval.with(&threads))),
                allocations(|| of_store.of_store(&store)),
                allocations(|| exits.exits(&of_interval, SortKey::Time, None)),
                allocations(|| guests.guests(&of_interval, None)),
                allocations(|| setter.print(&mut io::sink(), &exits, style).unwrap()),
            ];
            let printed =
                allocations(|| printer.print(&mut io::sink(), &of_interval, Span::Interval).unwrap());
            (counts, printed)
        };
        // The first intervals bring all rows, and the buckets that their samples fall in.
        intervals.iter().for_each(|interval| _ = snapshot(interval));
        let rows = intervals.len();
        for interval in &intervals {
            let (counts, printed) = snapshot(interval);
            assert_eq!(counts, [0; 6], "{by}: store, rows of an interval, of the store, two tables, text");
            // Printing allocates to sort the VMs, to choose their parts and to make the text below the table,
            // but not per row.
            assert!(printed <= 24, "{by}: {printed} in a block, {rows}");
        }
    }
}

/// Ten times the causes below one reason take about ten times the allocations and bytes. What doubles when
/// it is full may take twice as much.
fn causes_allocate_in_proportion() {
    let report = |causes: usize| {
        let recording = causes::recording(causes, 3);
        let before = [&COUNT, &BYTES].map(|counter| counter.load(Ordering::Relaxed));
        let mut reader = Reader::new(recording.as_slice()).unwrap();
        let (mut interval, mut store) = (Interval::default(), Store::default());
        while reader.next_interval(&mut interval).unwrap() {
            store.add(interval.with(reader.threads()));
        }
        let mut rows = Rows::new(GroupBy::REASON);
        rows.of_store(&store);
        let view = View::default();
        Table::new(view.clone()).print(&mut io::sink(), &rows, Span::Total).unwrap();
        JsonLines::new(view).print(&mut io::sink(), &rows, Span::Total).unwrap();
        let after = [&COUNT, &BYTES].map(|counter| counter.load(Ordering::Relaxed));
        [after[0] - before[0], after[1] - before[1]]
    };
    let (few, many) = (report(1000), report(10_000));
    for (few, many) in few.into_iter().zip(many) {
        assert!(many < 20 * few, "{few} of 1,000 causes, {many} of 10,000");
    }
}
