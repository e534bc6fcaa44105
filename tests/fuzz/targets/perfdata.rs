//! Any bytes as perf.data, both as a file and as a stream.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tracer_user::perfdata::{PerfData, read_file, read_stream};

fuzz_target!(|data: &[u8]| {
    for recording in [read_file(Cursor::new(data), 0), read_stream(data, 0)].into_iter().flatten() {
        let PerfData { interval, threads, .. } = recording;
        for cell in &interval.cells {
            assert!(cell.thread < threads.list.len() && cell.count > 0 && cell.min_ns <= cell.max_ns);
            let counted: u64 = interval.buckets_of(cell).iter().map(|(_, count)| u64::from(count)).sum();
            assert_eq!(counted, cell.count);
        }
    }
});
