//! KVM's own counters in recordings: what is written is read back, damage is refused, and older versions and
//! newer kinds are no failure.

use std::{io::Cursor, sync::Arc};

use tracer_user::{
    decode::counters::{Kind, Unit},
    model::{Counter, CounterId, Interval, Names, anonymize::Policy},
    recording::{Reader, Writer, merge::merge},
};

use crate::dump::{header, interval, threads};

fn counter(pid: u32, vcpu: Option<u32>, name: &str, value: Option<i128>, delta: Option<u64>) -> Counter {
    let (vm, name) = (format!("web \"{pid}\"\u{1b}"), name.to_owned());
    let kind = if name.ends_with("hist") { Kind::LogHist } else { Kind::Cumulative };
    let unit = if name.contains("wait") { Unit::Ns } else { Unit::None };
    let id = CounterId { vm, pid, vm_fd: Some(pid + 1), vcpu, name, kind, unit, bucket_size: 0 };
    Counter { id: Arc::new(id), value, delta, over_ns: delta.map_or(0, |_| 77), buckets: Vec::new() }
}

/// Of two VMs and a vCPU, with numbers at the limits of what files may hold.
fn counters() -> Vec<Counter> {
    let hist = counter(10, Some(3), "halt_wait_hist", None, None);
    vec![
        counter(10, None, "exits", Some(u64::MAX.into()), Some(5)),
        counter(10, None, "halt_wait_ns", Some(0), Some(0)),
        counter(10, None, "tsc-offset", Some(i64::MIN.into()), None),
        counter(10, None, "halt_wait_hist", None, None),
        counter(10, Some(3), "exits", Some(9), Some(u64::MAX)),
        Counter { buckets: vec![1, 0, u64::MAX], ..hist },
        counter(11, None, "exits", Some(1), None),
    ]
}

fn recording(all: &[Vec<Counter>]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    for (number, counters) in (1..).zip(all) {
        let interval = Interval { counters: counters.clone(), ..interval(number) };
        writer.interval(interval.with(&threads())).unwrap();
    }
    writer.end("elapsed").unwrap()
}

fn read(recording: &[u8]) -> Result<(Vec<Vec<Counter>>, Vec<String>), String> {
    let mut reader = Reader::new(Cursor::new(recording)).map_err(|error| error.to_string())?;
    let (mut interval, mut all) = (Interval::default(), Vec::new());
    while reader.next_interval(&mut interval).map_err(|error| error.to_string())? {
        all.push(interval.counters.clone());
    }
    Ok((all, reader.notes().to_vec()))
}

#[test]
fn readings_come_back() {
    // The second has some only, the third none, and the fourth has them all again.
    let all = [counters(), counters()[4..].to_vec(), Vec::new(), counters()];
    let recording = recording(&all);
    assert_eq!(read(&recording).unwrap(), (all.to_vec(), Vec::new()));
    // Each is named once.
    let text = String::from_utf8(recording).unwrap();
    assert_eq!(text.matches("{\"counter\":").count(), counters().len());
}

/// However many there are, no line is longer than readers take.
#[test]
fn lines_are_bounded() {
    let vm = |pid| {
        (0..3000).map(move |n| counter(pid, None, &format!("n{n}"), Some(u64::MAX.into()), Some(u64::MAX)))
    };
    let hist =
        |n| Counter { buckets: vec![u64::MAX; 1024], ..counter(2, None, &format!("{n}_hist"), None, None) };
    let all: Vec<Counter> = vm(1).chain((0..100).map(hist)).chain(vm(3)).collect();
    let recording = recording(std::slice::from_ref(&all));
    assert!(recording.split(|byte| *byte == b'\n').all(|line| line.len() < 1 << 17));
    assert_eq!(read(&recording).unwrap().0, [all]);
}

#[test]
fn damage_is_refused_and_names_the_line() {
    let whole = String::from_utf8(recording(&[counters()])).unwrap();
    for (from, to, what) in [
        ("\"values\":[[0,", "\"values\":[[70,", "no line before has counter 70"),
        ("18446744073709551615,5]", "18446744073709551616,5]", "more than 64 bits"),
        ("[1,0,18446744073709551615]", "[1,0,-1]", "invalid"),
        (
            "{\"counter\":{\"number\":0,",
            "{\"counter\":{\"number\":9,",
            "it gives number 9, and 0 is the next",
        ),
    ] {
        let damaged = whole.replacen(from, to, 1);
        assert_ne!(damaged, whole, "{from}");
        let error = read(damaged.as_bytes()).unwrap_err();
        assert!(error.contains(what) && error.contains("is damaged"), "{error}");
    }
    let buckets = vec!["1"; 1025].join(",");
    let error = read(whole.replacen("[1,0,18446744073709551615]", &format!("[{buckets}]"), 1).as_bytes());
    assert!(error.unwrap_err().contains("more than 1024 buckets"));
    let name = "n".repeat(5000);
    let error = read(whole.replacen("\"tsc-offset\"", &format!("\"{name}\""), 1).as_bytes()).unwrap_err();
    assert!(error.contains("more than 4096 bytes"), "{error}");
    let outside = whole.replacen("{\"interval\":", "{\"later\":", 1);
    assert!(read(outside.as_bytes()).unwrap_err().contains("belongs to an interval"));
}

/// Kinds and units of a later version, fields and lines that are not known.
#[test]
fn what_is_new_is_no_failure() {
    let whole = String::from_utf8(recording(&[counters()])).unwrap();
    let later = whole.replacen(r#""kind":"cumulative""#, r#""kind":"ratio","scale":3,"unit":"furlongs""#, 1);
    let (all, notes) = read(later.as_bytes()).unwrap();
    assert_eq!(
        (all[0][0].id.kind, all[0][0].id.unit, all[0][0].value),
        (Kind::Unknown, Unit::Unknown, counters()[0].value)
    );
    assert_eq!(notes, Vec::<String>::new());
    // A version without counters counts and skips their lines: they are of unknown keys to it.
    let older = whole.replace("{\"counter\":", "{\"kvm1\":").replace("{\"readings\":", "{\"kvm2\":");
    let (all, notes) = read(older.as_bytes()).unwrap();
    assert_eq!(all, [Vec::new()]);
    assert_eq!(notes, ["12 lines of unknown type were skipped"]);
}

/// The readings of a merged recording are those of its sources, each of its host.
#[test]
fn merged_recordings_have_them() {
    let sources = [("a", &counters()[..4]), ("b", &counters()[4..])].map(|(host, counters)| {
        let mut writer =
            Writer::new(Vec::new(), tracer_user::model::provenance::Header { host: host.into(), ..header() })
                .unwrap();
        let interval = Interval { counters: counters.to_vec(), ..interval(1) };
        writer.interval(interval.with(&threads())).unwrap();
        writer.end("elapsed").unwrap()
    });
    let mut readers = sources.each_ref().map(|source| Reader::new(Cursor::new(source)).unwrap().with_hosts());
    let (_, merged) = merge(&mut readers, "exitlat", Vec::new()).unwrap();
    let mut reader = Reader::new(Cursor::new(merged)).unwrap();
    let (mut interval, mut found) = (Interval::default(), Vec::new());
    while reader.next_interval(&mut interval).unwrap() {
        found.push((interval.host.clone().unwrap(), interval.counters.clone()));
    }
    assert_eq!(
        found,
        [("a".to_owned(), counters()[..4].to_vec()), ("b".to_owned(), counters()[4..].to_vec())]
    );
}

#[test]
fn names_are_replaced_as_those_of_threads() {
    let mut interval = Interval { counters: counters(), ..interval(1) };
    let mut names = Names::new(Policy::None);
    let known: Vec<_> = names.threads(&threads()).list.iter().map(|thread| thread.vm.clone()).collect();
    assert_eq!(known, ["vm-1", "vm-2"]);
    names.counters(&mut interval);
    let vms: Vec<_> = interval.counters.iter().map(|it| it.id.vm.as_str()).collect();
    assert_eq!(vms, ["vm-3", "vm-3", "vm-3", "vm-3", "vm-3", "vm-3", "vm-4"]);
    let mut kept = Interval { counters: counters(), ..Interval::default() };
    Names::default().counters(&mut kept);
    assert_eq!(kept.counters, counters());
}
