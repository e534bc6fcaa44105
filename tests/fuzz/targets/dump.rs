//! Any bytes as a dump: read to the end, summed up, written again, and read again.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tracer_user::{
    model::{Interval, Rows, Selection},
    recording::{Reader, SCHEMA, Writer, lines::Header},
};

fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = Reader::new(Cursor::new(data)) else { return };
    let mut rows = Rows::new("vcpu,reason".parse().unwrap());
    let header = Header { schema: SCHEMA, ..reader.header().clone() };
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    let (mut interval, mut intervals) = (Interval::default(), 0);
    while let Ok(true) = reader.next_interval(&mut interval) {
        rows.add(&interval, reader.roster(), &Selection::default());
        writer.interval(&interval, reader.roster()).unwrap();
        intervals += 1;
    }
    // What was read can be written, and what was written can be read.
    let copy = writer.end("elapsed").unwrap();
    let mut reader = Reader::new(Cursor::new(copy)).unwrap();
    while reader.next_interval(&mut interval).unwrap() {
        intervals -= 1;
    }
    assert_eq!(intervals, 0);
});
