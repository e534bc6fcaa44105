//! `exitlat merge`: nothing is lost, nothing is counted twice, and the order does not matter.

use std::{collections::BTreeMap, io::Cursor, path::Path};

use exitlat_tests::noise::{DISTRIBUTIONS, Effect, Load};
use proptest::prelude::*;
use tracer_ebpf::histogram::bucket_of;
use tracer_user::{
    decode::Isa,
    model::{Cell, ClockChange, Interval, Loss, OpenExit, Thread, Threads},
    recording::{Reader, Writer, merge::merge},
};

use crate::files::{Files, header, run};

/// A dump as test data: intervals of (end, samples of a thread).
type Dump = Vec<(u64, Vec<(u8, u32, u64)>)>;

fn dumps() -> impl Strategy<Value = Vec<Dump>> {
    let sample = (0u8..3, 0u32..3, prop_oneof![0u64..100, 1_000u64..1 << 40]);
    let interval = (0u64..50, prop::collection::vec(sample, 0..6));
    prop::collection::vec(prop::collection::vec(interval, 0..5), 1..5)
}

/// Dump `number` as bytes. Hosts repeat, so do pids.
fn written(number: usize, dump: &Dump) -> Vec<u8> {
    let mut header = header(["a", "b"][number % 2]);
    header.start_unix_ms += number as u64;
    let thread = |tid| Thread { pid: 1, tid, vcpu: Some(tid), vm: format!("vm {tid}"), ..Thread::default() };
    let threads: Threads = (0..3).map(thread).collect();
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for (index, (end, samples)) in dump.iter().enumerate() {
        let mut interval = Interval {
            number: index as u64 + 1,
            start_ns: *end,
            end_ns: end + 10,
            end_unix_ms: *end,
            ..Interval::default()
        };
        for (thread, code, ns) in samples {
            let buckets = interval.buckets.add_pairs(&[(bucket_of(*ns) as u16, 2)]);
            interval.cells.push(Cell {
                thread: usize::from(*thread),
                isa: Isa::SVM,
                code: *code,
                count: 2,
                sum_ns: 2 * ns,
                min_ns: *ns,
                max_ns: *ns,
                buckets,
                ..Cell::default()
            });
        }
        interval.losses.add(Loss::UnpairedExits, end % 3);
        interval.open.push(OpenExit { thread: 0, isa: Isa::SVM, code: 1, age_ns: *end });
        interval.clock = (end % 4 == 0).then_some(ClockChange { suspended_ms: end + 1, stepped_ms: 0 });
        writer.interval(interval.with(&threads)).unwrap();
    }
    writer.end("elapsed").unwrap()
}

fn merged(dumps: &[Vec<u8>]) -> Vec<u8> {
    let mut readers: Vec<_> =
        dumps.iter().map(|dump| Reader::new(Cursor::new(dump)).unwrap().with_hosts()).collect();
    merge(&mut readers, "exitlat", Vec::new()).unwrap().1
}

/// Everything in a dump, summed up by host, thread, code, detail and bucket.
fn content(dump: &[u8]) -> BTreeMap<String, Vec<u64>> {
    let mut reader = Reader::new(Cursor::new(dump)).unwrap().with_hosts();
    let mut sums: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut interval = Interval::default();
    let mut add = |name: String, numbers: &[u64]| {
        let sums = sums.entry(name).or_insert_with(|| vec![0; numbers.len()]);
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
    };
    let mut extremes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    while reader.next_interval(&mut interval).unwrap() {
        let host = interval.host.clone().unwrap();
        add(format!("{host} interval"), &[1, interval.end_ns - interval.start_ns, interval.end_unix_ms]);
        for cell in &interval.cells {
            let thread = &reader.threads().list[cell.thread];
            assert_eq!(thread.host.as_deref(), Some(host.as_str()));
            let name = format!("{thread:?} {} {} {}", cell.isa, cell.code, cell.subkey);
            add(name.clone(), &[cell.count, cell.sum_ns]);
            add(format!("{name} parts"), &cell.parts.0);
            for (bucket, count) in interval.buckets_of(cell).iter() {
                add(format!("{name} bucket {bucket}"), &[count.into()]);
            }
            let (min, max) = extremes.entry(name).or_insert((u64::MAX, 0));
            (*min, *max) = ((*min).min(cell.min_ns), (*max).max(cell.max_ns));
        }
        for (info, count) in interval.losses.nonzero() {
            add(format!("{host} {}", info.name), &[count]);
        }
        if let Some(clock) = interval.clock {
            add(format!("{host} clock"), &[1, clock.suspended_ms]);
        }
        for open in &interval.open {
            add(format!("{host} open {}", open.age_ns), &[1]);
        }
    }
    for (name, (min, max)) in extremes {
        add(format!("{name} extremes"), &[min, max]);
    }
    assert!(reader.notes().iter().all(|note| note.contains("suspended")), "{:?}", reader.notes());
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Counts, sums, minima, maxima, buckets, losses, parts and open exits are those of all inputs, in any
    /// order.
    #[test]
    fn order_and_grouping_do_not_matter(dumps in dumps(), cut in 0usize..5, turn in 0usize..5) {
        let dumps: Vec<_> = dumps.iter().enumerate().map(|(number, dump)| written(number, dump)).collect();
        let all = merged(&dumps);
        let mut turned = dumps.clone();
        turned.rotate_left(turn % dumps.len());
        turned.reverse();
        let expected = content(&all);
        prop_assert_eq!(&content(&merged(&turned)), &expected);
        let (some, others) = dumps.split_at(cut.min(dumps.len()));
        let parts: Vec<_> = [others, some].iter().filter(|part| !part.is_empty()).map(|part| merged(part)).collect();
        prop_assert_eq!(&content(&merged(&parts)), &expected);
        // One dump merged is itself, with its host.
        prop_assert_eq!(content(&merged(&dumps[..1])), content(&dumps[0]));
        // The headers agree to the byte.
        let header = |dump: &[u8]| dump.split(|byte| *byte == b'\n').next().unwrap().to_vec();
        prop_assert_eq!(header(&merged(&parts)), header(&all));
    }
}

#[test]
fn intervals_come_in_the_order_of_their_ends() {
    let dumps = [vec![(10, vec![]), (30, vec![])], vec![(20, vec![]), (40, vec![])]];
    let dumps: Vec<_> = dumps.iter().enumerate().map(|(number, dump)| written(number, dump)).collect();
    let text = String::from_utf8(merged(&dumps)).unwrap();
    let of = |start: &str| text.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
    let (begins, ends) = (of("{\"interval\":"), of("{\"interval_end\":"));
    assert_eq!((begins.len(), ends.len()), (4, 4));
    for ((begin, end), (ms, host)) in
        begins.iter().zip(ends).zip([(10, "a"), (20, "b"), (30, "a"), (40, "b")])
    {
        assert!(begin.contains(&format!("\"host\":\"{host}\"")), "{begin}");
        assert!(end.contains(&format!("\"end_unix_ms\":{ms}")), "{end}");
    }
}

/// Each source makes the header longer; it may exceed the limit of other lines.
#[test]
fn a_long_header_is_read_back() {
    let dump = |number: u64| {
        let mut header = header("a");
        header.start_unix_ms = number;
        header.options.push("x".repeat(600_000));
        Writer::new(Vec::new(), header).unwrap().end("elapsed").unwrap()
    };
    let dumps: Vec<_> = (0..3).map(dump).collect();
    let all = merged(&dumps);
    assert_eq!(Reader::new(Cursor::new(&all)).unwrap().header().sources.len(), 3);
}

const LOAD: Load = Load { intervals: 10, exits: 200.0, rate: 0.2, duration: 0.0, memory: 0.0 };

fn guest(files: &Files, name: &str, host: &str, vm: &str, seed: u64) -> String {
    files.dump(name, header(host), vm, (&DISTRIBUTIONS[..2], LOAD, Effect::default(), seed))
}

#[test]
fn hosts_are_told_apart() {
    let files = Files::new();
    let (a, b) = (guest(&files, "a", "one", "web", 1), guest(&files, "b", "two", "web", 2));
    let all = files.path("all").to_str().unwrap().to_owned();
    let (status, out, err) = run(&["merge", "-o", &all, &a, &b]);
    assert_eq!((status, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("20 intervals from 2 recordings"), "{err}");
    let (_, table, _) = run(&["report", &all, "--by", "host,vm"]);
    assert!(table.contains("HOST") && table.contains("\none ") && table.contains("\ntwo "), "{table}");
    // The same pid on two hosts is two VMs.
    let (_, table, _) = run(&["report", &all, "--by", "vm"]);
    assert!(table.contains("one/web[7]") && table.contains("two/web[7]"), "{table}");
    let json = |arguments: &[&str]| -> serde_json::Value {
        let (status, out, err) = run(&[arguments, &["--format", "json"]].concat());
        assert_eq!(status, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    };
    let (one, all_of_one) = (json(&["report", &a]), json(&["report", &all, "--host", "o*"]));
    assert_eq!((&one["samples"], &one["rows"]), (&all_of_one["samples"], &all_of_one["rows"]));
    assert_eq!(one["elapsed_ns"], all_of_one["elapsed_ns"]);
    let csv = run(&["report", &all, "--by", "host", "--format", "csv"]).1;
    assert!(csv.contains(",host,") && csv.contains(",two,"), "{csv}");
    let (status, _, err) = run(&["report", &all, "--host", "three"]);
    assert!(status == 2 && err.contains("one, two"), "{err}");
    // `diff` takes merged recordings, also beside a part of themselves.
    let (status, out, _) = run(&["diff", &all, &all, "--by", "host,reason"]);
    assert!(status == 0 && out.contains("10 intervals, 20.0 s"), "{out}");
}

#[test]
fn what_is_there_already_is_safe() {
    let files = Files::new();
    let (a, b) = (guest(&files, "a", "one", "web", 1), guest(&files, "b", "two", "web", 2));
    let before = std::fs::read(&a).unwrap();
    let (status, _, err) = run(&["merge", "-o", &a, &a, &b]);
    assert!(status == 2 && err.contains("--force"), "{err}");
    assert_eq!(std::fs::read(&a).unwrap(), before);
    // Even an input may be replaced: it is read to its end first.
    let (status, _, err) = run(&["merge", "--force", "-o", &a, &a, &b]);
    assert_eq!(status, 0, "{err}");
    assert!(run(&["report", &a, "--by", "host"]).1.contains("\ntwo "));
    let (status, out, _) = run(&["merge", "-o", "-", &b]);
    assert!(status == 0 && out.ends_with("\"why\":\"merged\"}}\n"), "{out}");
}

#[test]
fn what_cannot_be_merged_leaves_nothing_behind() {
    let files = Files::new();
    let a = guest(&files, "a", "one", "web", 1);
    let all = files.path("all").to_str().unwrap().to_owned();
    let whole = std::fs::read(&a).unwrap();
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle..middle + 40].fill(b'x');
    let text = String::from_utf8(whole.clone()).unwrap().replace("\"host\":\"one\"", "\"host\":\"two\"");
    let bad = [
        ("/no/such/dump".to_owned(), "No such file"),
        (files.file("empty", b""), "empty"),
        (files.file("damaged", &damaged).replace('\n', ""), "damaged"),
        (files.file("fine", text.replace("\"sub_bits\":4", "\"sub_bits\":3").as_bytes()), "layout"),
    ];
    for (bad, said) in &bad {
        // The damaged one would be the same recording.
        let good = guest(&files, "good", "three", "web", 1);
        let (status, out, err) = run(&["merge", "-o", &all, &good, bad]);
        assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{bad}: {err}");
        assert!(err.contains(bad.as_str()) && err.contains(said), "{said}: {err}");
        assert!(!Path::new(&all).exists());
    }
    let (status, _, err) = run(&["merge", "-o", &all, &a, &a]);
    assert!(status == 1 && err.contains("counted twice"), "{err}");
    let left = std::fs::read_dir(files.path("")).unwrap().count();
    assert_eq!(left, 5, "a, empty, damaged, fine, good");
    let torn = files.file("torn", &whole[..middle]);
    let (status, _, err) = run(&["merge", "-o", &all, &torn]);
    assert!(status == 0 && err.contains("torn") && Path::new(&all).exists(), "{err}");
    assert_eq!(run(&["merge", "-o", "/no/such/directory/all", &torn]).0, 1);
    assert_eq!(run(&["merge", "-o", "x", "-", "-"]).0, 2);
}
