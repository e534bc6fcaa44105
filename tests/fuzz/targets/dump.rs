//! Any bytes as a recording: read to the end, summed up, written again, and read again. Bytes that do not
//! begin like a recording become a histogram inside one, because mutations rarely survive base64.
#![no_main]

use std::{borrow::Cow, io::Cursor};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use tracer_user::{
    model::provenance::Header,
    model::{Interval, Rows, Store},
    recording::{Reader, SCHEMA, Writer},
};

const HEADER: &str = r#"{"type":"header","schema":1,"tool":"t","host":"h","kernel":"k","arch":"a","cpu":"c","backend":"b","path":"p","options":[],"start_unix_ms":0,"buckets":{"layout":"log-linear","sub_bits":4,"max_bits":36,"encoding":"HdrHistogram V2, base64"}}"#;

/// A dump with one slot: eight bytes of count, then its histogram.
fn with_histogram(data: &[u8]) -> Vec<u8> {
    let (count, hist) = data.split_first_chunk().unwrap_or((&[0; 8], data));
    let (count, hist) = (u64::from_le_bytes(*count), STANDARD.encode(hist));
    let slot = r#""interval":1,"vm":"v","pid":1,"tid":1,"vcpu":0,"isa":2,"reason":1,"name":"n""#;
    format!(
        "{HEADER}\n{{\"type\":\"slot\",{slot},\"count\":{count},\"sum_ns\":9,\"min_ns\":1,\"max_ns\":9,\"hist\":\"{hist}\"}}\n"
    )
    .into_bytes()
}

fuzz_target!(|data: &[u8]| {
    let dump = if data.starts_with(b"{") { Cow::Borrowed(data) } else { Cow::Owned(with_histogram(data)) };
    let Ok(mut reader) = Reader::new(Cursor::new(&dump[..])) else { return };
    let mut store = Store::keeping(1);
    let header = Header { schema: SCHEMA, ..reader.header().clone() };
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    let (mut interval, mut intervals) = (Interval::default(), 0);
    while let Ok(true) = reader.next_interval(&mut interval) {
        store.add(interval.with(reader.threads()));
        writer.interval(interval.with(reader.threads())).unwrap();
        intervals += 1;
    }
    Rows::new("vcpu,reason".parse().unwrap()).of_store(&store);
    // What was read can be written, and what was written can be read.
    let copy = writer.end("elapsed").unwrap();
    let mut reader = Reader::new(Cursor::new(copy)).unwrap();
    while reader.next_interval(&mut interval).unwrap() {
        intervals -= 1;
    }
    assert_eq!(intervals, 0);
});
