//! Tables on terminals that are too narrow for them, and tables of what a guest made too much of.

use exitlat_tests::causes;
use tracer_user::{
    model::{GroupBy, Interval, Rows, Thread, Threads, columns::SortKey},
    recording::Reader,
    render::{Printer as _, Span, View, table::Table},
};

use exitlat_tests::synthetic::{Synthetic, threads};

/// Kata names a VM after its sandbox: `sandbox-` and 64 hexadecimal digits.
const SANDBOX: &str = "sandbox-0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0";

fn table(interval: &Interval, threads: &Threads, by: &str, width: Option<usize>) -> String {
    let by: GroupBy = by.parse().unwrap();
    let mut rows = Rows::new(by);
    rows.of_interval(interval.with(threads));
    let view = View { key: SortKey::Time, idle: false, width, color: false, hist: None, columns: None };
    let mut out = Vec::new();
    Table::new(view).print(&mut out, &rows, Span::Interval).unwrap();
    String::from_utf8(out).unwrap()
}

/// The table of exits and that of the vCPUs' wall time of VMs with such names.
fn tables(width: usize) -> String {
    let sandbox = |thread: &Thread| Thread { vm: SANDBOX.to_owned(), ..thread.clone() };
    let threads: Threads = threads().list.iter().map(sandbox).collect();
    let interval = &Synthetic { split: true, incident: false }.intervals()[0];
    table(interval, &threads, "vm,reason", Some(width))
}

/// The name gives way, the pid stays, and so do the latencies.
#[test]
fn names_are_shortened_before_latencies_vanish() {
    assert_eq!(SANDBOX.len(), 72);
    for (width, latencies) in [(80, 2), (100, 3), (120, 3)] {
        let text = tables(width);
        let (exits, rest) = text.split_once("\n\n").unwrap();
        let heading = exits.lines().next().unwrap();
        let shown =
            ["Max Time", "Avg time", "p50", "p99", "p99.9"].iter().filter(|title| heading.contains(**title));
        assert!(shown.count() >= latencies, "{width}: {heading}");
        let (accounts, _) = rest.rsplit_once("\n\nTotal Samples").unwrap();
        for line in exits.lines().chain(accounts.lines()) {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        for pid in ["[4101]", "[4102]", "[4103]"] {
            let whole = |line: &&str| line.starts_with("sand") && line.contains('…') && line.contains(pid);
            assert!(
                exits.lines().any(|line| whole(&line)) && accounts.lines().any(|line| whole(&line)),
                "{text}"
            );
        }
    }
    // Where there is no limit nothing is shortened.
    let threads = threads();
    let interval = &Synthetic { split: true, incident: false }.intervals()[0];
    assert!(!table(interval, &threads, "vm,reason", None).contains('…'));
}

#[test]
fn at_80_columns() {
    insta::assert_snapshot!(tables(80), @"");
}

#[test]
fn at_100_columns() {
    insta::assert_snapshot!(tables(100), @"");
}

#[test]
fn at_120_columns() {
    insta::assert_snapshot!(tables(120), @"");
}

/// Of thousands of causes below a reason the table shows ten, and the sum of the others.
#[test]
fn thousands_of_causes_are_a_few_lines() {
    let recording = causes::recording(4100, 1);
    let mut reader = Reader::new(recording.as_slice()).unwrap();
    let mut interval = Interval::default();
    assert!(reader.next_interval(&mut interval).unwrap());
    let text = table(&interval, reader.threads(), "reason", None);
    let shown: Vec<_> = text.lines().filter(|line| line.starts_with("  > ")).collect();
    assert_eq!(shown.len(), 11, "{text}");
    let words: Vec<_> = shown[10].split_whitespace().take(5).collect();
    assert_eq!(words, [">", "4090", "more", "causes", "4090"], "a sample of each: {text}");
    // One more than ten is told by its name.
    let recording = causes::recording(11, 1);
    let mut reader = Reader::new(recording.as_slice()).unwrap();
    assert!(reader.next_interval(&mut interval).unwrap());
    assert!(!table(&interval, reader.threads(), "reason", None).contains("more causes"));
}

/// The time of this thread in `run`, in ns: other processes do not count.
fn cpu_ns(run: impl FnOnce()) -> u64 {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let before = now();
    run();
    now() - before
}

/// Ten times the causes take about ten times the time, and not a hundred: reading, summing up, and the tables
/// of each interval and of all of them. A bound of forty holds for what is in proportion, on any machine.
#[test]
fn the_time_of_causes_is_in_proportion() {
    let report = |count: usize| {
        let recording = causes::recording(count, 3);
        let run = || {
            let mut reader = Reader::new(recording.as_slice()).unwrap();
            let (mut interval, mut store) = (Interval::default(), tracer_user::model::Store::default());
            let by: GroupBy = "reason".parse().unwrap();
            let (mut rows, mut total) = (Rows::new(by), Rows::new(by));
            let view = View {
                key: SortKey::Time,
                idle: false,
                width: Some(80),
                color: false,
                hist: None,
                columns: None,
            };
            let mut printer = Table::new(view);
            while reader.next_interval(&mut interval).unwrap() {
                store.add(interval.with(reader.threads()));
                rows.of_interval(interval.with(reader.threads()));
                printer.print(&mut std::io::sink(), &rows, Span::Interval).unwrap();
            }
            total.of_store(&store);
            printer.print(&mut std::io::sink(), &total, Span::Total).unwrap();
        };
        // The first run brings the memory.
        (0..3).map(|_| cpu_ns(run)).min().unwrap()
    };
    let (few, many) = (report(1000), report(10_000));
    assert!(many < 40 * few, "{few} ns of 1,000 causes, {many} ns of 10,000");
}
