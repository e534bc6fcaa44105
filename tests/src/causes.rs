//! A recording with many causes below one reason, as a process makes them that writes into its `kvm_run`.

use tracer_ebpf::{
    histogram::bucket_of,
    subkey::{kind, new},
};
use tracer_user::{
    decode::Isa,
    model::{Cell, Interval, Parts, Thread, Threads},
    recording::Writer,
};

use crate::noise::header;

/// The exit reason of port accesses on AMD.
const IO: u32 = 0x7b;
/// The first number of a cause that no KVM_EXIT_* has.
const UNKNOWN: u64 = 1000;

/// `causes` causes of one exit each, in each of `intervals` intervals of a second.
///
/// # Panics
/// Never: memory does not fail.
pub fn recording(causes: usize, intervals: u64) -> Vec<u8> {
    let thread = Thread { pid: 7, tid: 8, vcpu: Some(0), vm: "web".to_owned(), ..Thread::default() };
    let threads = Threads::from(vec![thread]);
    let mut writer = Writer::new(Vec::new(), header("lab")).expect("memory does not fail");
    for number in 1..=intervals {
        let start_ns = number * 1_000_000_000;
        let end_ns = start_ns + 1_000_000_000;
        let mut interval =
            Interval { number, start_ns, end_ns, end_unix_ms: number * 1000, ..Interval::default() };
        let all = causes as u64;
        push(&mut interval, 0, all, all * 5000);
        (0..all).for_each(|cause| push(&mut interval, new(kind::USER_EXIT, UNKNOWN + cause), 1, 2000));
        writer.interval(interval.with(&threads)).expect("memory does not fail");
    }
    writer.end("elapsed").expect("memory does not fail")
}

/// Exits of equal length.
fn push(interval: &mut Interval, subkey: u64, count: u64, sum_ns: u64) {
    let ns = sum_ns / count;
    let buckets = interval.buckets.add_pairs(&[(bucket_of(ns) as u16, count as u32)]);
    interval.cells.push(Cell {
        thread: 0,
        isa: Isa::SVM,
        code: IO,
        subkey,
        count,
        sum_ns,
        min_ns: ns,
        max_ns: ns,
        parts: Parts::default(),
        buckets,
    });
}
