//! Recordings: what is written is read back, and damage is never taken for data.

use std::io::Cursor;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use exitlat_tests::scenario::Outcome;
use hdrhistogram::{
    Histogram,
    serialization::{Serializer as _, V2Serializer},
};
use tracer_ebpf::{histogram::bucket_of, part::Part};
use tracer_user::model::provenance::{Buckets, Header};
use tracer_user::{
    decode::Isa,
    model::{Cell, ClockChange, GroupBy, Interval, Loss, OpenExit, Rows, Store, Thread, Threads},
    recording::{ReadError, Reader, SCHEMA, Writer},
    render::{Printer as _, Span, View, json::JsonLines},
};

pub(super) fn header() -> Header {
    Header {
        tool: "exitlat 0.1.0".into(),
        host: "host".into(),
        kernel: "6.1.0".into(),
        arch: "x86_64".into(),
        cpu: "a CPU".into(),
        backend: "kvm_amd".into(),
        path: "classic tracepoints".into(),
        options: vec!["record".into()],
        start_unix_ms: 1_700_000_000_000,
        ..Header::default()
    }
}

pub(super) fn threads() -> Threads {
    let thread = |tid, vcpu, vm: &str| Thread { pid: 10, tid, vcpu, vm: vm.into(), ..Thread::default() };
    Threads::from(vec![thread(11, Some(0), "web \"01\"\n\u{1b}[2J"), thread(12, None, "db")])
}

pub(super) fn interval(number: u64) -> Interval {
    let mut interval = Interval {
        number,
        start_ns: number * 1000,
        end_ns: number * 1000 + 1000,
        end_unix_ms: 1_700_000_000_000 + number,
        ..Interval::default()
    };
    for (thread, code, samples) in
        [(0, 0x72, vec![500u64, 700, 700]), (1, 0x78, vec![90_000_000_000]), (1, 0x400, vec![0, 3])]
    {
        let mut pairs: Vec<(u16, u32)> = Vec::new();
        let mut buckets: Vec<u16> = samples.iter().map(|ns| bucket_of(*ns) as u16).collect();
        buckets.sort_unstable();
        for bucket in buckets {
            match pairs.last_mut() {
                Some((last, count)) if *last == bucket => *count += 1,
                _ => pairs.push((bucket, 1)),
            }
        }
        interval.cells.push(Cell {
            thread,
            isa: Isa::SVM,
            code,
            count: samples.len() as u64,
            sum_ns: samples.iter().sum(),
            min_ns: *samples.iter().min().unwrap(),
            max_ns: *samples.iter().max().unwrap(),
            buckets: interval.buckets.add_pairs(&pairs),
            ..Cell::default()
        });
    }
    interval.losses.add(Loss::UnpairedExits, number);
    interval.open.push(OpenExit { thread: 0, isa: Isa::SVM, code: 0x78, age_ns: 5 });
    interval
}

fn dump() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    writer.interval(interval(1).with(&threads())).unwrap();
    writer.interval(interval(2).with(&threads())).unwrap();
    writer.end("elapsed").unwrap()
}

/// All intervals of a dump as outcomes, and its notes.
fn read(dump: &[u8]) -> Result<(Vec<Outcome>, Vec<String>), ReadError> {
    let mut reader = Reader::new(Cursor::new(dump))?;
    let (mut interval, mut outcomes) = (Interval::default(), Vec::new());
    while reader.next_interval(&mut interval)? {
        outcomes.push(Outcome::of(&interval, reader.threads()));
    }
    Ok((outcomes, reader.notes().to_vec()))
}

#[test]
fn intervals_come_back() {
    let (outcomes, notes) = read(&dump()).unwrap();
    let written: Vec<_> = [1, 2].map(|number| Outcome::of(&interval(number), &threads())).into();
    assert_eq!(outcomes, written);
    assert_eq!(notes, Vec::<String>::new());
}

/// `report` shows, byte for byte, what `live` shows of the same intervals.
#[test]
fn report_equals_live() {
    let show = |by: GroupBy, store: &Store| {
        let mut rows = Rows::new(by);
        rows.of_store(store);
        let view = View { hist: Some(regex::Regex::new("").unwrap()), ..View::default() };
        let (mut json, mut table) = (Vec::new(), Vec::new());
        JsonLines::new(view.clone()).print(&mut json, &rows, Span::Total).unwrap();
        tracer_user::render::table::Table::new(view).print(&mut table, &rows, Span::Total).unwrap();
        (String::from_utf8(json).unwrap(), String::from_utf8(table).unwrap())
    };
    for by in ["reason", "vm", "vcpu,reason"] {
        let by: GroupBy = by.parse().unwrap();
        let (mut live, mut reported) = (Store::default(), Store::default());
        for number in [1, 2] {
            live.add(interval(number).with(&threads()));
        }
        let dump = dump();
        let mut reader = Reader::new(Cursor::new(&dump)).unwrap();
        let mut interval = Interval::default();
        while reader.next_interval(&mut interval).unwrap() {
            reported.add(interval.with(reader.threads()));
        }
        let shown = show(by, &live);
        assert_eq!(shown, show(by, &reported));
        assert!(!shown.1.contains('\u{1b}'), "a guest's name reached the terminal: {}", shown.1);
    }
}

/// Cut off anywhere, a dump gives all whole intervals before the cut, and says that it is cut.
#[test]
fn a_cut_dump_gives_its_whole_intervals() {
    let whole = dump();
    let header_end = whole.iter().position(|byte| *byte == b'\n').unwrap();
    let ends: Vec<usize> =
        whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    for cut in 0..whole.len() {
        match read(&whole[..cut]) {
            Err(ReadError::NoHeader(_)) => assert!(cut < header_end, "{cut}"),
            Err(other) => panic!("{cut}: {other}"),
            Ok((outcomes, notes)) => {
                assert!(cut >= header_end);
                // An end line without its line feed is whole, so there is no note.
                assert!(!notes.is_empty() || cut == whole.len() - 1, "{cut}");
                // A line that lacks only its line feed is whole.
                let lines = ends.iter().filter(|end| **end <= cut + 1).max().copied().unwrap_or(0).min(cut);
                let text = String::from_utf8_lossy(&whole[..lines]);
                let complete = text.lines().filter(|line| line.contains("{\"interval_end\":")).count();
                let written = [1, 2].map(|number| Outcome::of(&interval(number), &threads()));
                assert_eq!(outcomes, written[..complete], "{cut}");
            }
        }
    }
}

/// A recording of schema 1, from when that was the newest, stays readable.
#[test]
fn schema_1_is_read() {
    let (outcomes, notes) = read(include_bytes!("../fixtures/schema-1.exitlat")).unwrap();
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(outcomes.len(), 1);
    let cells = &outcomes[0].cells;
    assert_eq!(cells.len(), 13);
    assert_eq!(cells["109/112/0 2:0x72"], [1000, 93_095_410, 24_870, 9_525_360]);
    assert_eq!(cells["109/113/1 2:0x78"], [20, 22_832_310, 48_550, 4_093_140]);
    assert_eq!(cells["109/113/1 2:0x64"], [1, 97_980, 97_980, 97_980]);
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    let (this, next) = (format!("\"schema\":{SCHEMA}"), format!("\"schema\":{}", SCHEMA + 1));
    let text = String::from_utf8(dump()).unwrap().replace(&this, &next);
    let error = read(text.as_bytes()).unwrap_err();
    assert!(matches!(error, ReadError::Newer { found, .. } if found == SCHEMA + 1), "{error}");
    let bare = br#"{"type":"header","schema":9,"tool":"exitlat 3.0"}"#;
    assert!(read(bare).unwrap_err().to_string().contains("exitlat 3.0"));
}

#[test]
fn another_bucket_layout_is_refused() {
    for (found, other) in
        [("sub_bits\":4", "sub_bits\":3"), ("sub_bits\":4", "sub_bits\":7"), ("log-linear", "linear")]
    {
        let text = String::from_utf8(dump()).unwrap().replace(found, other);
        assert!(matches!(read(text.as_bytes()), Err(ReadError::Layout(_))), "{other}");
    }
}

/// A recording with finer buckets gives the same result as one of the same samples in our buckets, and a note
/// that it was coarsened.
#[test]
fn finer_buckets_are_joined() {
    let samples = [17u64, 900, 931, 1_000_000, 1_030_000, 5_000_000_000];
    // The middle of each sample's bucket, at 64 buckets for each power of two.
    let fine = |ns: u64| {
        let shift = ns.ilog2().saturating_sub(6);
        (ns >> shift << shift) + ((1 << shift) - 1) / 2
    };
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 1 << 36, 2).unwrap();
    for ns in samples {
        histogram.record(fine(ns)).unwrap();
    }
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
    let (count, sum) = (samples.len(), samples.iter().sum::<u64>());
    let slot = serde_json::json!({
        "type": "slot", "interval": 1, "vm": "a", "pid": 1, "tid": 2, "vcpu": 0, "isa": 2, "reason": 0x72, "name": "cpuid",
        "count": count, "sum_ns": sum, "min_ns": 17, "max_ns": 5_000_000_000u64, "hist": BASE64.encode(&bytes),
    });
    let old = format!(
        "{slot}\n{{\"type\":\"interval\",\"interval\":1,\"start_ns\":0,\"end_ns\":1,\"end_unix_ms\":1}}\n"
    );
    // The index of each bucket, at 64 for each power of two, and an empty stretch before it.
    let index = |ns: u64| {
        let shift = ns.ilog2().saturating_sub(6);
        u64::from(shift) * 64 + (ns >> shift)
    };
    let (mut text, mut next) = (String::new(), 0);
    for ns in samples {
        let empty = index(ns) - next;
        let digits = [empty >> 10, empty >> 5 & 31].map(|digit| char::from(b'0' + digit as u8));
        text.extend(['~', digits[0], digits[1], char::from(b'^' + (empty & 31) as u8), '_']);
        next = index(ns) + 1;
    }
    let present = format!(
        r#"{{"interval":{{"number":1,"start_ns":0}}}}
{{"thread":{{"number":0,"vm":"a","pid":1,"tid":2,"vcpu":0}}}}
{{"reason":{{"number":0,"isa":2,"code":114}}}}
{{"slot":{{"at":[0,0],"count":{count},"ns":[{sum},17,5000000000],"hist":"{text}"}}}}
{{"interval_end":{{"end_ns":1,"end_unix_ms":1}}}}
"#
    );
    let header = String::from_utf8(dump()).unwrap().replace("\"sub_bits\":4", "\"sub_bits\":6");
    let header = header.lines().next().unwrap();
    for whole in [format!("{}\n{old}", of_schema_2(header)), format!("{header}\n{present}")] {
        let mut reader = Reader::new(Cursor::new(whole.as_bytes())).unwrap();
        assert_eq!(reader.header().buckets, Buckets::default());
        assert!(reader.notes()[0].contains("finer"), "{:?}", reader.notes());
        let mut interval = Interval::default();
        assert!(reader.next_interval(&mut interval).unwrap());
        let mut expected: Vec<(u16, u32)> = Vec::new();
        for ns in samples {
            match expected.last_mut() {
                Some((bucket, count)) if usize::from(*bucket) == bucket_of(ns) => *count += 1,
                _ => expected.push((bucket_of(ns) as u16, 1)),
            }
        }
        assert!(interval.buckets_of(&interval.cells[0]).iter().eq(expected));
    }
}

/// A header as schema 2 had it.
fn of_schema_2(header: &str) -> String {
    let encoding = |name: &str| format!("\"encoding\":\"{name}\"");
    let old = header.replace("\"schema\":3", "\"schema\":2");
    let old = old.replace(&encoding(&Buckets::default().encoding), &encoding("HdrHistogram V2, base64"));
    assert_ne!(old, header);
    old
}

#[test]
fn unknown_lines_and_fields_are_skipped() {
    let text = String::from_utf8(dump()).unwrap();
    // Of the line, and of what is in it.
    let mut lines: Vec<String> =
        text.lines().map(|line| line.replacen("{\"", "{\"new\":[1],\"", 2)).collect();
    lines.insert(2, r#"{"weather":{"rain":true}}"#.into());
    let (outcomes, notes) = read((lines.join("\n") + "\n").as_bytes()).unwrap();
    assert_eq!(outcomes.len(), 2);
    assert_eq!(notes, ["1 lines of unknown type were skipped"]);
}

/// A damaged byte in the middle is an error that names its line, or is harmless; never a panic.
#[test]
fn damage_in_the_middle_is_named() {
    let whole = dump();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut errors = 0;
    for at in (second..whole.len() - 1).step_by(13) {
        for byte in [b'"', b'9', 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            if let Err(error) = read(&damaged) {
                assert!(matches!(error, ReadError::Damaged { line: 2.., .. }), "{at}: {error}");
                errors += 1;
            }
        }
    }
    assert!(errors > 100, "{errors}");
}

#[test]
fn absurd_input_is_refused_in_bounded_memory() {
    for text in ["", "\n", "{}", "[1,2", "\u{feff}{}", "{\"type\":\"slot\"}"] {
        assert!(matches!(read(text.as_bytes()), Err(ReadError::NoHeader(_))), "{text}");
    }
    let endless = std::io::BufReader::new(std::io::repeat(b'x'));
    assert!(matches!(Reader::new(endless), Err(ReadError::Damaged { line: 1, .. })));
    let mut deep = dump();
    deep.truncate(deep.iter().position(|byte| *byte == b'\n').unwrap() + 1);
    deep.extend(std::iter::repeat_n(b'[', 100_000));
    deep.push(b'\n');
    assert!(matches!(read(&deep), Err(ReadError::Damaged { line: 2, .. })));
}

/// The length of a torn interval is unknown, so it is in no rate and no sum, and a note says so.
#[test]
fn a_torn_interval_is_left_out() {
    let whole = String::from_utf8(dump()).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let ends: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains("{\"interval_end\":")).collect();
    let read = |text: &str| {
        let mut reader = Reader::new(Cursor::new(text)).unwrap();
        let (mut numbers, mut interval) = (Vec::new(), Interval::default());
        while reader.next_interval(&mut interval).unwrap() {
            numbers.push(interval.number);
        }
        assert!(interval.cells.is_empty() && interval.vcpus.is_empty(), "nothing of it is left");
        (numbers, reader.notes().join("; "))
    };
    // The beginning of the second one, and its first slot.
    let (numbers, notes) = read(&lines[..=ends[0] + 2].concat());
    assert_eq!(numbers, [1]);
    assert!(notes.contains("interval 2 is incomplete: what there is of it, 3 exits, is left out"), "{notes}");
    assert_eq!(read(&lines[..2].concat()).0, [0; 0]);
}

/// Concatenated files are not one recording: a note says what follows the end.
#[test]
fn what_follows_the_end_is_said_to_be_left() {
    let twice = [dump(), dump()].concat();
    let mut reader = Reader::new(Cursor::new(&twice)).unwrap().with_end();
    let (mut interval, mut count) = (Interval::default(), 0);
    while reader.next_interval(&mut interval).unwrap() {
        count += 1;
    }
    let notes = reader.notes();
    assert!(count == 2 && notes.len() == 1 && notes[0].contains("merge them"), "{count}: {notes:?}");
    // Without `with_end`, as for a pipe, nothing after the end line is read.
    assert_eq!(read(&twice).unwrap().1, [""; 0]);
}

/// Clock changes stay in the interval in which they happened, also when it is written again.
#[test]
fn what_the_clocks_did_comes_back() {
    let mut changed = interval(2);
    changed.clock = Some(ClockChange { suspended_ms: 1500, stepped_ms: -2000 });
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    for interval in [&interval(1), &changed, &interval(3)] {
        writer.interval(interval.with(&threads())).unwrap();
    }
    let dump = writer.end("elapsed").unwrap();
    let mut reader = Reader::new(Cursor::new(&dump)).unwrap();
    let (mut interval, mut clocks) = (Interval::default(), Vec::new());
    let mut copy = Writer::new(Vec::new(), header()).unwrap();
    while reader.next_interval(&mut interval).unwrap() {
        clocks.push(interval.clock);
        copy.interval(interval.with(reader.threads())).unwrap();
    }
    assert_eq!(clocks, [None, changed.clock, None]);
    assert_eq!(reader.notes().len(), 2);
    assert!(copy.end("elapsed").unwrap() == dump);
}

/// Endless threads with names as long as a line allows, or a host with such a name, are an error before
/// memory runs out.
#[test]
fn threads_without_end_are_refused() {
    let header = String::from_utf8(dump()).unwrap().lines().next().unwrap().to_owned();
    for field in ["vm", "host"] {
        let vm = if field == "vm" { "" } else { "\"vm\":\"web\"," };
        let names = format!("{vm}\"{field}\":\"{}\",\"pid\":1", "x".repeat(1_000_000));
        threads_without_end(of_schema_2(&header), |tid| {
            format!(
                r#"{{"type":"in_flight","interval":1,{names},"tid":{tid},"vcpu":null,"isa":2,"reason":1,"age_ns":1}}"#
            )
        });
        threads_without_end(header.clone(), |tid| {
            format!(r#"{{"thread":{{"number":0,{names},"tid":{tid}}}}}"#)
        });
    }
}

fn threads_without_end(header: String, line: impl Fn(u32) -> String) {
    let lines = (0..200).map(|tid| line(tid) + "\n");
    let mut taken = 0;
    let input = Lines { lines: lines.inspect(|_| taken += 1), line: (header + "\n").into_bytes(), at: 0 };
    let mut reader = Reader::new(std::io::BufReader::new(input)).unwrap();
    let error = reader.next_interval(&mut Interval::default()).unwrap_err().to_string();
    assert!(error.contains("bytes of threads and names"), "{error}");
    drop(reader);
    assert!(taken < 150, "{taken}");
}

/// Lines as a reader.
struct Lines<I> {
    lines: I,
    line: Vec<u8>,
    at: usize,
}

impl<I: Iterator<Item = String>> std::io::Read for Lines<I> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.line.len() {
            let Some(line) = self.lines.next() else { return Ok(0) };
            (self.line, self.at) = (line.into_bytes(), 0);
        }
        let count = out.len().min(self.line.len() - self.at);
        out[..count].copy_from_slice(&self.line[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// A recording of schema 2, kept for ever: parts, causes, and the wall time of vCPUs.
#[test]
fn schema_2_is_read() {
    let whole = include_bytes!("../fixtures/schema-2.exitlat");
    let mut reader = Reader::new(Cursor::new(whole)).unwrap();
    assert_eq!(reader.header().schema, 2);
    let mut store = Store::default();
    let mut interval = Interval::default();
    while reader.next_interval(&mut interval).unwrap() {
        store.add(interval.with(reader.threads()));
    }
    let mut rows = Rows::new(GroupBy::REASON);
    rows.of_store(&store);
    assert!(reader.notes().is_empty(), "{:?}", reader.notes());
    let row = |name: &str| rows.iter().find(|row| row.reason_label() == name).unwrap();
    assert_eq!((row("cpuid").stats.count, row("io").stats.count, row("hlt").stats.count), (400, 40, 20));
    for row in rows.iter() {
        let unhandled_ns = row.parts.get(Part::Halt) + row.parts.get(Part::Stopped);
        assert_eq!(row.parts.total_ns(), row.stats.sum_ns + unhandled_ns, "{}", row.reason_label());
    }
    // Four of twenty port writes slept 300 us in the VMM, on each of two vCPUs.
    assert!(row("io").parts.get(Part::UserBlocked) >= 8 * 300_000);
    assert_eq!(rows.causes_of(row("io")).map(|row| row.stats.count).sum::<u64>(), 40);
    assert!(row("hlt").parts.get(Part::Halt) > 0 && !row("hlt").idle);
    assert_eq!(rows.guests().map(|row| row.stats.count).sum::<u64>(), 613);
    let vm = rows.vms().next().unwrap();
    assert_eq!((rows.vms().count(), vm.vcpus, vm.account.unaccounted_ns()), (1, 2, 0));
}
