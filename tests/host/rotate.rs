//! Recording for days: files are switched, the oldest go, a full disk tears nothing.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    io::{self, Cursor, Write as _},
    path::Path,
    rc::Rc,
};

use exitlat_tests::scenario::Outcome as Contents;
use tracer_ebpf::{
    histogram::bucket_of,
    subkey::{self, kind},
};
use tracer_user::model::clock::Change;
use tracer_user::{
    cli::units::switch_policy,
    decode::Isa,
    files::{Existing, RotatingFiles},
    model::{Cell, Interval, Parts, Thread, Threads},
    recording::{
        Reader, Writer,
        rotate::{Fsync, Outcome, Plan, Recorder, Store},
    },
};

use super::dump::{header, interval, threads};

/// A disk in memory, with room for this many bytes.
#[derive(Clone, Default)]
struct Memory {
    files: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
    room: Rc<RefCell<usize>>,
    synced: Rc<RefCell<u32>>,
    /// The disk reports that it is full at the sync, not at the write.
    full_late: Rc<RefCell<bool>>,
}

struct Open {
    disk: Memory,
    name: String,
}

impl Memory {
    fn with_room(room: usize) -> Self {
        let disk = Self::default();
        *disk.room.borrow_mut() = room;
        disk
    }

    fn names(&self) -> Vec<String> {
        self.files.borrow().keys().cloned().collect()
    }

    fn used(&self) -> usize {
        self.files.borrow().values().map(Vec::len).sum()
    }
}

impl io::Write for Open {
    /// Writes what there is room for, as a disk does.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.disk.room.borrow().saturating_sub(self.disk.used());
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = room.min(bytes.len());
        self.disk.files.borrow_mut().get_mut(&self.name).unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store for Memory {
    type File = Open;

    fn create(&mut self, suffix: &str) -> io::Result<Open> {
        if self.files.borrow_mut().insert(suffix.to_owned(), Vec::new()).is_some() {
            panic!("{suffix} was overwritten");
        }
        Ok(Open { disk: self.clone(), name: suffix.to_owned() })
    }

    fn remove(&mut self, suffix: &str) -> io::Result<()> {
        self.files.borrow_mut().remove(suffix).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn cut(&mut self, file: &mut Open, length: u64) -> io::Result<()> {
        self.files.borrow_mut().get_mut(&file.name).unwrap().truncate(length as usize);
        Ok(())
    }

    fn sync(&mut self, _: &mut Open) -> io::Result<()> {
        *self.synced.borrow_mut() += 1;
        if *self.full_late.borrow() { Err(io::ErrorKind::QuotaExceeded.into()) } else { Ok(()) }
    }
}

/// What is in a file: the numbers of its intervals, their contents, why it ended, and notes.
fn read(dump: &[u8]) -> (Vec<u64>, Vec<Contents>, Option<String>, Vec<String>) {
    let mut reader = Reader::new(Cursor::new(dump)).unwrap();
    let (mut one, mut numbers, mut contents) = (Interval::default(), Vec::new(), Vec::new());
    while reader.next_interval(&mut one).unwrap() {
        numbers.push(one.number);
        contents.push(Contents::of(&one, reader.threads()));
    }
    (numbers, contents, reader.end().map(|end| end.why.clone()), reader.notes().to_vec())
}

fn plan(switch: &str) -> Plan {
    Plan { switch: Some(switch_policy(switch).unwrap()), ..Plan::default() }
}

/// Interval `number`, a second long.
fn second(number: u64) -> Interval {
    let end_ns = number * 1_000_000_000;
    let end_unix_ms = 1_700_000_000_000 + number * 1000;
    let mut second = Interval { start_ns: end_ns - 1_000_000_000, end_ns, end_unix_ms, ..interval(number) };
    // These cells describe the same exits once more, or no exit.
    for kind in [kind::WHOLE, kind::GUEST] {
        let buckets = second.buckets.add_pairs(&[(bucket_of(5_000) as u16, 2)]);
        let subkey = subkey::new(kind, 0);
        let times = Cell {
            subkey,
            count: 2,
            sum_ns: 10_000,
            min_ns: 5_000,
            max_ns: 5_000,
            ..second.cells[1].clone()
        };
        second.cells.push(Cell { buckets, ..times });
    }
    second
}

#[test]
fn each_file_is_a_dump_of_its_own() {
    for (switch, least) in [("2K", 3), ("3s", 3), ("1G,4s", 2)] {
        let disk = Memory::with_room(usize::MAX);
        let mut recorder = Recorder::begin(disk.clone(), plan(switch), header(), 0).unwrap();
        for number in 1..=10 {
            let outcome = recorder.interval(second(number).with(&threads()), None, false).unwrap();
            assert_eq!(outcome, Outcome::Written);
        }
        let totals = recorder.end("elapsed").unwrap();
        let files: Vec<_> = disk.files.borrow().values().map(|dump| read(dump)).collect();
        assert!(files.len() >= least, "{switch}: {}", files.len());
        assert_eq!((totals.files, totals.intervals), (files.len() as u64, 10));
        assert_eq!(totals.bytes, disk.used() as u64);
        let numbers: Vec<u64> = files.iter().flat_map(|file| file.0.clone()).collect();
        assert_eq!(numbers, (1..=10).collect::<Vec<_>>(), "{switch}");
        for (numbers, contents, _, notes) in &files {
            let written = numbers.iter().map(|number| Contents::of(&second(*number), &threads()));
            assert_eq!(*contents, written.collect::<Vec<_>>());
            assert_eq!(*notes, Vec::<String>::new());
        }
        let whys: Vec<_> = files.iter().map(|file| file.2.clone().unwrap()).collect();
        assert_eq!(whys.last().unwrap(), "elapsed");
        assert!(whys[..whys.len() - 1].iter().all(|why| why == "switched"), "{whys:?}");
    }
}

#[test]
fn a_file_is_larger_than_asked_by_one_interval_at_most() {
    let disk = Memory::with_room(usize::MAX);
    let mut recorder = Recorder::begin(disk.clone(), plan("4K"), header(), 0).unwrap();
    let mut largest = 0;
    for number in 1..=50 {
        let before = disk.used();
        recorder.interval(second(number).with(&threads()), None, false).unwrap();
        largest = largest.max(disk.used() - before);
    }
    recorder.end("elapsed").unwrap();
    for dump in disk.files.borrow().values() {
        assert!(dump.len() < 4096 + largest, "{} {largest}", dump.len());
    }
}

#[test]
fn asked_for_a_new_file_begins_at_once() {
    let disk = Memory::with_room(usize::MAX);
    let mut recorder = Recorder::begin(disk.clone(), plan("signal"), header(), 0).unwrap();
    for number in 1..=4 {
        recorder.interval(second(number).with(&threads()), None, number == 3).unwrap();
    }
    recorder.end("interrupted").unwrap();
    let numbers: Vec<_> = disk.files.borrow().values().map(|dump| read(dump).0).collect();
    assert_eq!(numbers, [vec![1, 2, 3], vec![4]]);
}

#[test]
fn only_so_many_files_are_kept() {
    let disk = Memory::with_room(usize::MAX);
    disk.files.borrow_mut().insert(".19990101T000000.000Z".into(), b"somebody else's".to_vec());
    let plan = Plan { max_files: Some(3), ..plan("1B") };
    let mut recorder = Recorder::begin(disk.clone(), plan, header(), 0).unwrap();
    for number in 1..=10 {
        recorder.interval(second(number).with(&threads()), None, false).unwrap();
        assert!(disk.names().len() <= 4);
    }
    let totals = recorder.end("elapsed").unwrap();
    assert_eq!(totals.files, 11);
    let files = disk.files.borrow();
    let numbers: Vec<_> = files.values().skip(1).map(|dump| read(dump).0).collect();
    assert_eq!(numbers, [vec![9], vec![10], vec![]]);
    assert_eq!(files[".19990101T000000.000Z"], b"somebody else's");
}

#[test]
fn files_are_made_to_last_as_asked() {
    for (fsync, synced) in [(Fsync::Interval, 5 + 3), (Fsync::Switch, 3), (Fsync::Never, 0)] {
        let disk = Memory::with_room(usize::MAX);
        let plan = Plan { fsync, ..plan("2s") };
        let mut recorder = Recorder::begin(disk.clone(), plan, header(), 0).unwrap();
        for number in 1..=5 {
            recorder.interval(second(number).with(&threads()), None, false).unwrap();
        }
        recorder.end("elapsed").unwrap();
        assert_eq!((disk.names().len(), *disk.synced.borrow()), (3, synced), "{fsync:?}");
    }
}

/// Whatever the room, no file is torn, the files' contents are right, and missing intervals are counted.
#[test]
fn a_full_disk_tears_nothing_and_is_counted() {
    let samples = |number| second(number).exits();
    let mut kinds = [0; 4];
    for room in (700..9_000).step_by(61) {
        let disk = Memory::with_room(room);
        let mut recorder = Recorder::begin(disk.clone(), plan("3K"), header(), 0).unwrap();
        let mut lost = 0;
        for number in 1..=8 {
            // There is room again at last.
            if number == 7 {
                *disk.room.borrow_mut() = usize::MAX;
            }
            let outcome = recorder.interval(second(number).with(&threads()), None, false).unwrap();
            match outcome {
                Outcome::Written => kinds[0] += 1,
                Outcome::Full | Outcome::StillFull => lost += 1,
                Outcome::WrittenAgain(count) => {
                    assert_eq!(count, lost);
                    kinds[3] += 1;
                }
            }
            kinds[1] += u32::from(outcome == Outcome::Full);
            kinds[2] += u32::from(outcome == Outcome::StillFull);
            // Each file is readable to its end at any time.
            for dump in disk.files.borrow().values() {
                let notes = read(dump).3;
                assert!(notes.iter().all(|note| note.contains("no end line")), "{notes:?}");
            }
        }
        let totals = recorder.end("elapsed").unwrap();
        assert_eq!((totals.intervals + lost, totals.lost_intervals), (8, lost));
        let files: Vec<_> = disk.files.borrow().values().map(|dump| read(dump)).collect();
        let present: Vec<u64> = files.iter().flat_map(|file| file.0.clone()).collect();
        let missing: u64 = (1..=8).filter(|number| !present.contains(number)).map(samples).sum();
        let contents = files.iter().flat_map(|file| &file.1);
        let counted: u64 = contents.filter_map(|contents| contents.losses.get("unwritten")).sum();
        assert_eq!((counted, totals.lost_samples), (missing, missing), "room for {room}");
    }
    assert!(kinds.iter().all(|kind| *kind > 5), "{kinds:?}");
}

/// An interval whose sync failed is lost, and not written as well.
#[test]
fn a_disk_that_is_full_when_it_is_to_last_loses_the_interval() {
    let disk = Memory::with_room(usize::MAX);
    let plan = Plan { fsync: Fsync::Interval, ..plan("1G") };
    let mut recorder = Recorder::begin(disk.clone(), plan, header(), 0).unwrap();
    for (number, full, outcome) in
        [(1, false, Outcome::Written), (2, true, Outcome::Full), (3, false, Outcome::WrittenAgain(1))]
    {
        *disk.full_late.borrow_mut() = full;
        assert_eq!(recorder.interval(second(number).with(&threads()), None, false).unwrap(), outcome);
    }
    let totals = recorder.end("elapsed").unwrap();
    assert_eq!((totals.intervals, totals.lost_intervals, totals.bytes), (2, 1, disk.used() as u64));
    let (numbers, contents, ..) = read(disk.files.borrow().values().next().unwrap());
    assert_eq!(numbers, [1, 3]);
    assert_eq!(contents[1].losses["unwritten"], second(2).exits());
}

/// On a disk that stays full, the losses are in the recording, or a message says that they are not.
#[test]
fn what_is_lost_at_the_end_is_told() {
    let mut kinds = [0; 3];
    for room in (700..10_000).step_by(37) {
        let disk = Memory::with_room(room);
        let mut recorder = Recorder::begin(disk.clone(), plan("3K"), header(), 0).unwrap();
        let change = Some(Change { suspended_ms: 2_000, stepped_ms: 0 });
        for number in 1..=5 {
            recorder.interval(second(number).with(&threads()), change, false).unwrap();
        }
        let totals = recorder.end("interrupted").unwrap();
        let files: Vec<_> = disk.files.borrow().values().map(|dump| read(dump)).collect();
        let contents = || files.iter().flat_map(|file| &file.1);
        let sum = |loss: &str| contents().filter_map(|contents| contents.losses.get(loss)).sum::<u64>();
        if totals.untold_intervals == 0 {
            assert_eq!(sum("unwritten"), totals.lost_samples, "room for {room}");
            assert_eq!(sum("unpaired_exits"), (1..=5u64).sum::<u64>(), "of the lost intervals, too");
            let notes = files.iter().flat_map(|file| &file.3);
            let suspended = notes.filter_map(|note| note.split_once("suspended for ")?.1.split(' ').next());
            assert_eq!(suspended.map(|s| s.parse::<f64>().unwrap()).sum::<f64>(), 10.0, "room for {room}");
        } else {
            assert!(sum("unwritten") < totals.lost_samples, "room for {room}");
        }
        kinds[usize::from(totals.lost_intervals != 0) + usize::from(totals.untold_intervals != 0)] += 1;
    }
    assert!(kinds.iter().all(|kind| *kind > 5), "{kinds:?}");
}

/// A single file ends with its last whole interval, and with an error.
#[test]
fn without_switching_a_full_disk_is_an_error() {
    let disk = Memory::with_room(2_500);
    let mut recorder = Recorder::begin(disk.clone(), Plan::default(), header(), 0).unwrap();
    let mut written = Vec::new();
    let error = (1..).find_map(|number| {
        let outcome = recorder.interval(second(number).with(&threads()), None, false);
        written.push(number);
        outcome.err()
    });
    assert_eq!(error.unwrap().kind(), io::ErrorKind::StorageFull);
    written.pop();
    assert!(!written.is_empty());
    let (numbers, _, why, notes) = read(&disk.files.borrow()[""]);
    assert_eq!((numbers, why), (written, None));
    assert_eq!(notes, ["the recording has no end line: recording did not stop by itself"]);
}

#[test]
fn what_the_clocks_did_is_in_the_dump() {
    let disk = Memory::with_room(usize::MAX);
    let mut recorder = Recorder::begin(disk.clone(), Plan::default(), header(), 0).unwrap();
    let changes = [
        None,
        Some(Change { suspended_ms: 60_000, stepped_ms: 0 }),
        Some(Change { suspended_ms: 0, stepped_ms: -500 }),
    ];
    for (number, change) in (1..).zip(changes) {
        recorder.interval(second(number).with(&threads()), change, false).unwrap();
    }
    recorder.end("elapsed").unwrap();
    let (numbers, _, _, notes) = read(&disk.files.borrow()[""]);
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(
        notes,
        [
            "in interval 2 the machine was suspended for 60.0 s",
            "in interval 3 the wall clock was set back by 0.5 s"
        ]
    );
}

#[test]
fn real_files_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.exitlat");
    // The next file's name is taken.
    let taken = dir.path().join(format!("all.exitlat{}", ".20231114T221322.000Z"));
    fs::write(&taken, "somebody else's").unwrap();
    let disk = RotatingFiles::many(&path.as_path().into()).unwrap();
    let plan = Plan { max_files: Some(2), fsync: Fsync::Interval, ..plan("2s") };
    let mut recorder = Recorder::begin(disk, plan, header(), 0).unwrap();
    for number in 1..=7 {
        recorder.interval(second(number).with(&threads()), None, false).unwrap();
    }
    recorder.end("elapsed").unwrap();
    assert_eq!(fs::read_to_string(&taken).unwrap(), "somebody else's");
    fs::remove_file(taken).unwrap();
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["all.exitlat.20231114T221324.000Z", "all.exitlat.20231114T221326.000Z"]);
    let numbers: Vec<_> =
        names.iter().map(|name| read(&fs::read(dir.path().join(name)).unwrap()).0).collect();
    assert_eq!(numbers, [vec![5, 6], vec![7]]);
}

#[test]
fn a_real_file_is_cut_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.exitlat");
    let mut disk = RotatingFiles::one(&path.as_path().into(), Existing::Keep).unwrap();
    let mut file = disk.create("").unwrap();
    file.write_all(b"whole\ntor").unwrap();
    disk.cut(&mut file, 6).unwrap();
    file.write_all(b"again\n").unwrap();
    disk.sync(&mut file).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nagain\n");
    assert!(RotatingFiles::one(&path.as_path().into(), Existing::Keep).is_err(), "it exists");
    // Until it begins, an older dump is untouched.
    drop(RotatingFiles::one(&path.as_path().into(), Existing::Overwrite).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nagain\n");
    let full = RotatingFiles::one(&Path::new("/dev/full").into(), Existing::Overwrite).unwrap();
    let error = Recorder::begin(full, Plan::default(), header(), 0).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(RotatingFiles::many(&Path::new("-").into()).is_err());
}

/// How much a busy host writes: the figure in docs/recording.md. Run `cargo test -p exitlat-tests --test host
/// an_hour_has_a_bounded_size -- --show-output` to see it.
#[test]
fn an_hour_has_a_bounded_size() {
    const VCPUS: usize = 64;
    const REASONS: usize = 20;
    let threads = (0..VCPUS as u32).map(|number| Thread {
        pid: 100_000 + number / 8,
        tid: 200_000 + number,
        vcpu: Some(number % 8),
        vm: format!("instance-{:08x}", number / 8),
        ..Thread::default()
    });
    let threads: Threads = threads.collect();
    let mut busy = Interval { number: 1000, end_unix_ms: 1_700_000_000_000, ..Interval::default() };
    for thread in 0..VCPUS {
        for reason in 0..REASONS as u32 {
            // From 1 us to 1 ms, most of them short.
            let range = bucket_of(1_000)..bucket_of(1_000_000);
            let pairs: Vec<(u16, u32)> = range
                .clone()
                .map(|bucket| (bucket as u16, 1 + 30_000 / (1 + bucket as u32 - range.start as u32).pow(2)))
                .collect();
            let count = pairs.iter().map(|(_, count)| u64::from(*count)).sum();
            busy.cells.push(Cell {
                thread,
                isa: Isa::VMX,
                code: reason,
                subkey: 0,
                count,
                sum_ns: 123_456_789,
                min_ns: 1_001,
                max_ns: 998_877,
                parts: Parts::default(),
                buckets: busy.buckets.add_pairs(&pairs),
            });
        }
    }
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    let before = writer.bytes();
    writer.interval(busy.with(&threads)).unwrap();
    let each = writer.bytes() - before;
    let cells = (VCPUS * REASONS) as u64;
    println!(
        "{VCPUS} vCPUs, {REASONS} reasons each, all of them in every interval: {} bytes a reason, {:.1} MiB an hour \
         at -d 10, {:.0} MiB at -d 1",
        each / cells,
        each as f64 * 360.0 / f64::from(1 << 20),
        each as f64 * 3600.0 / f64::from(1 << 20),
    );
    // 160 filled buckets of one to three characters, and the rest of the line.
    assert!(each / cells < 340, "{}", each / cells);
    let when = switch_policy("100M").unwrap();
    assert!(when.size.unwrap() / each >= 60, "a file of 100M has a minute at least");
}
