//! Any bytes as a recording: read to the end, summed up, written again, and read again. Bytes that do not
//! begin like a recording become a histogram inside one, because mutations rarely survive its encoding: of
//! schema 1 in base64, and of schema 3 as text.
#![no_main]

use std::io::Cursor;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use tracer_user::{
    model::provenance::{Buckets, Header},
    model::{Interval, Rows, Store},
    recording::{Reader, SCHEMA, Writer},
};

/// Of schema 1; that of schema 3 differs in two fields.
const HEADER: &str = r#"{"type":"header","schema":1,"tool":"t","host":"h","kernel":"k","arch":"a","cpu":"c","backend":"b","path":"p","options":[],"start_unix_ms":0,"buckets":{"layout":"log-linear","sub_bits":4,"max_bits":36,"encoding":"HdrHistogram V2, base64"}}"#;

/// Recordings with one slot: eight bytes of count, then its histogram.
fn with_histogram(data: &[u8]) -> [Vec<u8>; 2] {
    let (count, hist) = data.split_first_chunk().unwrap_or((&[0; 8], data));
    let count = u64::from_le_bytes(*count);
    let (packed, text) = (STANDARD.encode(hist), hist.escape_ascii().to_string().replace(['"', '\\'], "^"));
    let slot = r#""interval":1,"vm":"v","pid":1,"tid":1,"vcpu":0,"isa":2,"reason":1,"name":"n""#;
    let old = format!(
        "{HEADER}\n{{\"type\":\"slot\",{slot},\"count\":{count},\"sum_ns\":9,\"min_ns\":1,\"max_ns\":9,\"hist\":\"{packed}\"}}\n"
    );
    let header = HEADER.replace("\"schema\":1", "\"schema\":3");
    let header = header.replace("HdrHistogram V2, base64", &Buckets::default().encoding);
    let present = format!(
        r#"{header}
{{"interval":{{"number":1,"start_ns":0}}}}
{{"thread":{{"number":0,"vm":"v","pid":1,"tid":1}}}}
{{"reason":{{"number":0,"isa":2,"code":1}}}}
{{"slot":{{"at":[0,0],"count":{count},"ns":[9,1,9],"hist":"{text}"}}}}
{{"interval_end":{{"end_ns":1,"end_unix_ms":1}}}}
"#
    );
    [old, present].map(String::into_bytes)
}

fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"{") {
        read(data);
    } else {
        with_histogram(data).iter().for_each(|dump| read(dump));
    }
});

fn read(dump: &[u8]) {
    let Ok(mut reader) = Reader::new(Cursor::new(dump)) else { return };
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
}
