//! perf.data: its numbers are reported, in either byte order, and damage is never taken for data.

use std::{collections::BTreeMap, io::Cursor};

use exitlat_tests::{
    patched::{LOST_EVENTS, Patched},
    perfdata::Builder,
    scenario::Outcome,
};
use tracer_user::{
    decode::decode,
    model::{Interval, Loss},
    perfdata::{Error, Limits, PerfData, is_perf, is_stream, read_file, read_stream, read_stream_within},
    recording::{Reader, Writer},
};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../fixtures/", $name))
    };
}

pub(super) fn unpacked(fixture: &[u8]) -> Vec<u8> {
    let mut decoder = ruzstd::decoding::FrameDecoder::new();
    let mut out = Vec::with_capacity(1 << 20);
    decoder.decode_all_to_vec(fixture, &mut out).unwrap();
    out
}

fn read(data: &[u8]) -> Result<PerfData, Error> {
    if is_stream(data) { read_stream(data, 1_000) } else { read_file(Cursor::new(data), 1_000) }
}

/// The lab's recording, to be changed.
fn patched() -> Patched {
    Patched::new(unpacked(fixture!("perf-6.1-svm.data.zst")))
}

/// By reason: count, sum, min and max.
type Rows = BTreeMap<String, [u64; 4]>;

fn add(rows: &mut Rows, reason: &str, [count, sum, min, max]: [u64; 4]) {
    let row = rows.entry(reason.to_owned()).or_insert([0, 0, u64::MAX, 0]);
    *row = [row[0] + count, row[1] + sum, row[2].min(min), row[3].max(max)];
}

fn rows(recording: &PerfData) -> Rows {
    let mut rows = Rows::new();
    for cell in recording.interval.cells.iter().filter(|cell| cell.subkey == 0) {
        let reason = decode(cell.isa, cell.code).to_string();
        add(&mut rows, &reason, [cell.count, cell.sum_ns, cell.min_ns, cell.max_ns]);
    }
    rows
}

/// perf's own list of the events (`perf script --ns`), paired here by hand.
fn rows_of_events(text: &str) -> Rows {
    let (mut rows, mut open) = (Rows::new(), BTreeMap::new());
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let (seconds, ns) = words[1].split_once('.').unwrap();
        let now = seconds.parse::<u64>().unwrap() * 1_000_000_000 + ns.parse::<u64>().unwrap();
        match words[2] {
            "exit" => drop(open.insert(words[0], (now, words[3]))),
            "entry" => {
                if let Some((since, reason)) = open.remove(words[0]) {
                    let took: u64 = now - since;
                    add(&mut rows, reason, [1, took, took, took]);
                }
            }
            other => panic!("{other}"),
        }
    }
    rows
}

/// Every line of perf's table: name, samples, min, max and mean as printed.
fn table(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.contains("( +-"));
    rows.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        vec![words[0], words[1], words[4], words[5], words[6]]
    })
    .collect()
}

#[test]
fn perfs_own_table_comes_out() {
    let cases = [
        (&fixture!("perf-6.1-svm.data.zst")[..], include_str!("../fixtures/perf-6.1-svm.report.txt"), 6),
        (
            fixture!("perf-6.1-svm-packed.data.zst"),
            include_str!("../fixtures/perf-6.1-svm-packed.report.txt"),
            3,
        ),
    ];
    for (data, report, reasons) in cases {
        let recording = read(&unpacked(data)).unwrap();
        let ours = rows(&recording);
        let theirs = table(report);
        assert_eq!((ours.len(), theirs.len()), (reasons, reasons));
        for row in theirs {
            let [count, sum, min, max] = ours[row[0]];
            let us = |ns: f64| format!("{:.2}us", ns / 1e3);
            let printed = [count.to_string(), us(min as f64), us(max as f64), us(sum as f64 / count as f64)];
            assert_eq!(printed[..], row[1..], "{}", row[0]);
        }
        let [count, sum, ..] =
            ours.values().fold([0; 4], |all, row| [all[0] + row[0], all[1] + row[1], 0, 0]);
        let total = format!("Total Samples:{count}, Total events handled time:{:.2}us.", sum as f64 / 1e3);
        assert!(report.contains(&total), "{total}");
    }
}

#[test]
fn times_are_exact_to_the_nanosecond() {
    let cases = [
        (&fixture!("perf-6.1-svm.data.zst")[..], include_str!("../fixtures/perf-6.1-svm.events.txt")),
        (
            fixture!("perf-6.1-svm-stream.data.zst"),
            include_str!("../fixtures/perf-6.1-svm-stream.events.txt"),
        ),
        // Written on a big-endian machine.
        (fixture!("perf-6.1-s390x.data.zst"), include_str!("../fixtures/perf-6.1-s390x.events.txt")),
    ];
    for (data, events) in cases {
        let recording = read(&unpacked(data)).unwrap();
        let expected = rows_of_events(events);
        assert!(expected.len() >= 3, "{expected:?}");
        assert_eq!(rows(&recording), expected);
        assert_eq!(recording.notes, Vec::<String>::new());
        // Each vCPU's last exit has no entry, and its thread ended.
        let vcpus = recording.threads.list.len() as u64;
        assert_eq!(recording.interval.losses.get(Loss::DiedInExit), vcpus);
        assert!(!recording.interval.losses.any_missing());
    }
}

#[test]
fn a_recording_of_s390x_has_its_script() {
    let recording = read(&unpacked(fixture!("perf-6.1-s390x.data.zst"))).unwrap();
    assert_eq!(recording.header.kernel, "6.1.0-50-s390x");
    let counts: Vec<_> = rows(&recording).into_iter().map(|(reason, [count, ..])| (reason, count)).collect();
    let script = [("Host interruption", 4), ("Instruction", 130), ("Program interruption", 6)];
    assert_eq!(counts, script.map(|(reason, count)| (reason.to_owned(), count)));
    let numbers: Vec<_> = recording.threads.list.iter().map(|thread| thread.vcpu).collect();
    assert_eq!(numbers, [Some(0), Some(1)]);
}

#[test]
fn names_numbers_and_facts_come_from_the_recording() {
    let recording = read(&unpacked(fixture!("perf-6.1-svm.data.zst"))).unwrap();
    let threads: Vec<_> = recording.threads.list.iter().map(|t| (t.pid, t.tid, t.vcpu, &*t.vm)).collect();
    assert_eq!(threads, [(111, 114, Some(0), "workload"), (111, 115, Some(1), "workload")]);
    let header = &recording.header;
    assert_eq!((header.host.as_str(), header.kernel.as_str()), ("lab", "6.1.0-50-cloud-amd64"));
    assert_eq!((header.tool.as_str(), header.arch.as_str()), ("perf 6.1.187", "x86_64"));
    assert_eq!(header.options[..4], ["/usr/bin/perf", "kvm", "stat", "record"]);
    assert_eq!((recording.interval.end_unix_ms, header.start_unix_ms), (1_000, 1_000 - 51));
}

#[test]
fn a_recording_becomes_a_dump() {
    let PerfData { header, interval, threads, .. } =
        read(&unpacked(fixture!("perf-6.1-svm.data.zst"))).unwrap();
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    writer.interval(interval.with(&threads)).unwrap();
    let dump = writer.end("converted").unwrap();
    let mut reader = Reader::new(Cursor::new(dump)).unwrap();
    let mut back = Interval::default();
    assert!(reader.next_interval(&mut back).unwrap());
    assert_eq!(Outcome::of(&back, reader.threads()), Outcome::of(&interval, &threads));
    assert_eq!((back.start_ns, back.end_ns), (interval.start_ns, interval.end_ns));
}

/// A made-up recording of two vCPUs of a mainframe, each on a CPU of its own. The CPUs' buffers were written
/// one after the other, so the times of a round are not in order.
fn mainframe() -> Builder {
    const EXIT: u16 = 21;
    const ENTER: u16 = 22;
    let mut builder = Builder::s390x();
    builder.comm(50, "qemu-system-s39");
    for (tid, vcpu, start) in [(51, 0, 1_000), (52, 1, 1_500)] {
        builder.sample(50, tid, start, ENTER, &[(8, vcpu, 4)]);
        // Instruction, then wait state; one beyond four bytes would be read if `icptcode` were taken for
        // wider.
        for (at, icptcode, took) in [(10_000, 4, 700 + vcpu), (20_000, 28, 5_000)] {
            builder.sample(50, tid, start + at, EXIT, &[(8, vcpu, 4), (32, icptcode, 1), (33, 0xff, 1)]);
            builder.sample(50, tid, start + at + took, ENTER, &[(8, vcpu, 4)]);
        }
    }
    builder.finished_round();
    builder.finished_round();
    builder.sample(50, 51, 90_000, EXIT, &[(8, 0, 4), (32, 8, 1)]);
    builder.words(2, 0, &[11, 3]);
    builder.words(13, 0, &[5]);
    builder.words(13, 1 << 15, &[1_000]);
    builder
}

#[test]
fn a_big_endian_recording_is_read() {
    for data in [mainframe().file(), mainframe().stream()] {
        assert!(is_perf(&data));
        let recording = read(&data).unwrap();
        let outcome = Outcome::of(&recording.interval, &recording.threads);
        let isa = tracer_ebpf::abi::Isa::S390.0;
        let cells = [
            (format!("50/51/0 {isa}:0x1c"), [1, 5_000, 5_000, 5_000]),
            (format!("50/51/0 {isa}:0x4"), [1, 700, 700, 700]),
            (format!("50/52/1 {isa}:0x1c"), [1, 5_000, 5_000, 5_000]),
            (format!("50/52/1 {isa}:0x4"), [1, 701, 701, 701]),
        ];
        assert_eq!(outcome.cells, cells.into());
        assert_eq!(outcome.open, [format!("50/51/0 {isa}:0x8")]);
        // The larger of two ways to count the same; what a filter left out is not lost.
        assert_eq!(outcome.losses, [("early_entries".to_owned(), 2), ("lost_records".to_owned(), 5)].into());
        assert_eq!(recording.threads.list[0].vm, "qemu-system-s39");
        assert_eq!((recording.header.host.as_str(), recording.header.arch.as_str()), ("mainframe", "s390x"));
    }
}

/// A thread ends in an exit, and its number is given to another one.
#[test]
fn a_reused_thread_starts_afresh() {
    let mut builder = Builder::x86();
    let exit = |code: u64| [(8, code, 4), (24, 2, 4), (28, 0, 4)];
    builder.sample(7, 8, 100, 32, &[(8, 0, 4)]);
    builder.sample(7, 8, 200, 31, &exit(0x7b));
    builder.death(7, 8, 300);
    builder.sample(7, 8, 400, 32, &[(8, 0, 4)]);
    builder.sample(7, 8, 500, 31, &exit(0x72));
    builder.sample(7, 8, 600, 32, &[(8, 0, 4)]);
    let recording = read(&builder.file()).unwrap();
    let outcome = Outcome::of(&recording.interval, &recording.threads);
    assert_eq!(outcome.cells, [("7/8/0 2:0x72".to_owned(), [1, 100, 100, 100])].into());
    assert_eq!(outcome.losses, [("died_in_exit".to_owned(), 1), ("early_entries".to_owned(), 2)].into());
}

#[test]
fn recordings_of_other_things_are_named() {
    let mut other = Builder::new(false);
    other.tracepoint(5, "kvm_mmio", &[("u32 type", 8, 4)]);
    other.sample(1, 1, 1, 5, &[]);
    assert!(matches!(read(&other.file()), Err(Error::NoKvm(_))));
    assert!(matches!(read(&Builder::new(true).stream()), Err(Error::NoKvm(_))));
    let mut unfinished = mainframe().file();
    unfinished[48..56].fill(0);
    let error = read(&unfinished).unwrap_err().to_string();
    assert!(error.contains("perf did not come to its end"), "{error}");
}

/// A file cut anywhere is an error, because its formats are at its end. It never causes a panic.
#[test]
fn a_cut_recording_is_an_error() {
    let file = mainframe().file();
    // The last bytes are of sections that are not needed.
    for cut in 0..file.len() - 64 {
        assert!(read(&file[..cut]).is_err(), "{cut}");
    }
    let stream = mainframe().stream();
    let whole = (16..stream.len()).filter(|cut| read(&stream[..*cut]).is_ok()).count();
    assert!((2..30).contains(&whole), "a stream ends between two records: {whole}");
}

/// A damaged byte gives an error or other numbers, never a panic or much memory.
#[test]
fn damage_is_survived() {
    let packed = unpacked(fixture!("perf-6.1-svm-packed.data.zst"));
    for (data, step) in [(mainframe().file(), 3), (mainframe().stream(), 3), (packed, 197)] {
        let mut refused = 0;
        for at in (0..data.len()).step_by(step) {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut damaged = data.clone();
                damaged[at] = byte;
                refused += u32::from(read(&damaged).is_err());
            }
        }
        assert!(refused > 20, "{refused}");
    }
}

/// It ends with status 0, as `live` on a host without guests; see the snapshots.
#[test]
fn a_recording_without_a_sample_says_so() {
    let empty = read(&patched().empty()).unwrap();
    assert_eq!((empty.interval.exits(), empty.notes.len()), (0, 1));
    assert!(empty.notes[0].ends_with("but none fired: no guest ran"), "{:?}", empty.notes);
}

/// perf also recorded cycles.
#[test]
fn samples_of_other_events_are_left_out_in_silence() {
    let mixed = read(&patched().other_event()).unwrap();
    assert_eq!(mixed.notes, Vec::<String>::new());
    assert_eq!(rows(&mixed), rows(&read(&unpacked(fixture!("perf-6.1-svm.data.zst"))).unwrap()));
}

/// The kernel gives perf no numbers of threads that its pid namespace does not have; the tracepoints' own
/// records have them.
#[test]
fn threads_outside_perfs_pid_namespace_stay_apart() {
    let whole = read(&unpacked(fixture!("perf-6.1-svm.data.zst"))).unwrap();
    let inside = read(&patched().pid_namespace()).unwrap();
    assert_eq!(rows(&inside), rows(&whole));
    assert_eq!(inside.interval.losses.get(Loss::UnpairedExits), 0);
    let threads: Vec<_> = inside.threads.list.iter().map(|t| (t.pid, t.tid, t.vcpu, &*t.vm)).collect();
    assert_eq!(threads, [(0, 114, Some(0), "unknown"), (0, 115, Some(1), "unknown")]);
    assert!(inside.notes[0].contains("pid namespace"), "{:?}", inside.notes);
    assert_eq!(inside.notes.len(), 1);

    // Nothing tells these two threads apart.
    let mut builder = Builder::x86();
    builder.sample(0, 0, 100, 31, &[(8, 0x7b, 4), (24, 2, 4), (28, 0, 4)]);
    builder.sample(0, 0, 150, 31, &[(8, 0x72, 4), (24, 2, 4), (28, 1, 4)]);
    builder.sample(0, 0, 200, 32, &[(8, 0, 4)]);
    let nobodys = read(&builder.file()).unwrap();
    assert_eq!((nobodys.interval.exits(), nobodys.threads.list.len()), (0, 0));
    assert!(
        nobodys.notes.iter().any(|note| note.contains("3 of these events do not name")),
        "{:?}",
        nobodys.notes
    );
}

/// The sixty lost events are an entry, 29 exits with their entries, and an exit.
#[test]
fn nothing_is_paired_across_lost_events() {
    let whole = read(&unpacked(fixture!("perf-6.1-svm.data.zst"))).unwrap();
    let lossy = read(&patched().lost()).unwrap();
    let (ours, all) = (rows(&lossy), rows(&whole));
    let samples = |rows: &Rows| rows.values().map(|row| row[0]).sum::<u64>();
    // One of 31 exits has lost its entry; the last one's entry follows.
    assert_eq!(samples(&ours), samples(&all) - 31);
    for (reason, [count, sum, min, max]) in &ours {
        let [all_count, all_sum, all_min, all_max] = all[reason];
        assert!(*count <= all_count && *sum <= all_sum && *min >= all_min && *max <= all_max, "{reason}");
    }
    let losses: Vec<_> = lossy.interval.losses.nonzero().map(|(info, count)| (info.name, count)).collect();
    let early = whole.interval.losses.get(Loss::EarlyEntries);
    let expected = [
        ("unpaired_exits", 1),
        ("unpaired_entries", 1),
        ("lost_records", LOST_EVENTS),
        ("died_in_exit", 2),
        ("early_entries", early),
    ];
    assert_eq!(losses, expected);
    assert_eq!(lossy.notes, Vec::<String>::new());
}

/// Ten exits of 100 ns each of a vCPU on a CPU, with a gap before one of the entries.
fn with_gap(ring_cpu: u64, trailer_cpu: u64) -> Builder {
    let mut builder = Builder::x86();
    let thread = 8;
    // IDs 11 and 12: the buffers of CPU 0, or the thread's own.
    builder.words(69, 0, &[2, 11, 0, ring_cpu, thread, 12, 0, ring_cpu, thread]);
    for at in (1_000..11_000).step_by(1_000) {
        builder.sample(7, 8, at, 31, &[(8, 0x7b, 4), (24, 2, 4), (28, 0, 4)]);
        if at == 5_000 {
            builder.lost(11, 3, (7, 8), 5_100, trailer_cpu);
        }
        builder.sample(7, 8, at + 100, 32, &[(8, 0, 4)]);
    }
    builder
}

#[test]
fn a_gap_is_of_a_cpu_or_of_a_thread() {
    let one = vec![("unpaired_exits", 1), ("unpaired_entries", 1), ("lost_records", 3)];
    let none = vec![("lost_records", 3)];
    // The samples are of CPU 0.
    let cases = [(0, 0, &one), (1, 0, &none), (u64::MAX, 1, &one)];
    for (ring_cpu, trailer_cpu, expected) in cases {
        let recording = read(&with_gap(ring_cpu, trailer_cpu).file()).unwrap();
        let losses = recording.interval.losses;
        let losses: Vec<_> = losses.nonzero().map(|(info, count)| (info.name, count)).collect();
        assert_eq!(losses, *expected, "{ring_cpu:x}");
        assert_eq!(recording.interval.exits(), if *expected == none { 10 } else { 9 });
    }
}

/// Some kernels only count lost events, without telling where they are missing.
#[test]
fn lost_events_without_a_place_are_said() {
    let mut builder = Builder::x86();
    builder.sample(7, 8, 100, 31, &[(8, 0x7b, 4), (24, 2, 4), (28, 0, 4)]);
    builder.sample(7, 8, 200, 32, &[(8, 0, 4)]);
    builder.words(13, 0, &[5]);
    let recording = read(&builder.file()).unwrap();
    assert_eq!((recording.interval.exits(), recording.interval.losses.get(Loss::LostRecords)), (1, 5));
    assert!(recording.notes[0].contains("when 5 of the lost events"), "{:?}", recording.notes);
}

/// The entry of the thread's last exit was lost. After that the thread's end was seen, or nothing.
#[test]
fn an_exit_before_a_gap_is_neither_in_flight_nor_the_last() {
    for ends in [true, false] {
        let mut builder = Builder::x86();
        builder.sample(7, 8, 100, 31, &[(8, 0x7b, 4), (24, 2, 4), (28, 0, 4)]);
        builder.lost(11, 3, (7, 8), 200, 0);
        if ends {
            builder.death(7, 8, 300);
        }
        let recording = read(&builder.file()).unwrap();
        let outcome = Outcome::of(&recording.interval, &recording.threads);
        assert_eq!(outcome.open, Vec::<String>::new());
        assert_eq!(
            outcome.losses,
            [("lost_records".into(), 3), ("unpaired_exits".into(), 1)].into(),
            "{ends}"
        );
    }
}

/// Two CPUs whose buffers perf empties in turn, 50 exits of each a round.
fn rounds(count: u64) -> Builder {
    let mut builder = Builder::x86();
    for round in 0..count {
        for (tid, vcpu) in [(8, 0), (9, 1)] {
            for at in (0..50).map(|exit| 1_000_000 * round + 1_000 * exit + u64::from(tid)) {
                builder.sample(7, tid, at, 31, &[(8, 0x7b, 4), (24, 2, 4), (28, vcpu, 4)]);
                builder.sample(7, tid, at + 100 + vcpu, 32, &[(8, vcpu, 4)]);
            }
        }
        builder.finished_round();
    }
    builder
}

/// A round is over when its packed events are out, long before the end.
#[test]
fn rounds_end_while_packed_events_flow() {
    let plain = rounds(200);
    let expected = rows(&read(&plain.stream()).unwrap());
    assert_eq!(expected["io"][0], 200 * 100);
    // There are 40,000 events. The marks lag by a window, which holds 700, and so does the newest event
    // before each.
    let limits = Limits { waiting_events: 2_500 };
    for size in [33, 1_000, 60_000] {
        let mut packed = plain.clone();
        packed.pack(size);
        let stream = packed.stream();
        let recording = read_stream_within(Cursor::new(&stream), 1_000, limits).unwrap();
        assert_eq!(rows(&recording), expected, "{size}");
        assert_eq!(recording.notes, Vec::<String>::new(), "{size}");
        let few = Limits { waiting_events: 600 };
        assert!(matches!(read_stream_within(Cursor::new(&stream), 1_000, few), Err(Error::TooMuch { .. })));
    }
    let packed = read(&unpacked(fixture!("perf-6.1-svm-packed.data.zst"))).unwrap();
    assert_eq!(packed.notes, Vec::<String>::new());
}
