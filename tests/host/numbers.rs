//! Lines of recordings name threads and reasons by numbers that other lines give.

use std::io::Cursor;

use exitlat_tests::scenario::Outcome;
use tracer_ebpf::subkey::{self, kind};
use tracer_user::{
    decode::Isa,
    model::{Cell, Interval, Thread, Threads},
    recording::{ReadError, Reader, Writer},
};

use super::dump::{header, interval, threads};

const BEGIN: &str = r#"{"interval":{"number":1,"start_ns":0}}"#;
const THREAD: &str = r#"{"thread":{"number":0,"vm":"a","pid":1,"tid":2}}"#;
const REASON: &str = r#"{"reason":{"number":0,"isa":2,"code":114}}"#;
const SLOT: &str = r#"{"slot":{"at":[0,0],"count":1,"ns":[3,3,3],"hist":"~a_"}}"#;
const END: &str = r#"{"interval_end":{"end_ns":1,"end_unix_ms":1}}"#;

/// The intervals of a recording with these lines after its header.
fn read(lines: &[&str]) -> Result<Vec<Outcome>, ReadError> {
    let mut whole = Writer::new(Vec::new(), header()).unwrap().end("elapsed").unwrap();
    whole.truncate(whole.iter().position(|byte| *byte == b'\n').unwrap() + 1);
    whole.extend(lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()));
    outcomes(&whole)
}

fn outcomes(whole: &[u8]) -> Result<Vec<Outcome>, ReadError> {
    let mut reader = Reader::new(Cursor::new(whole))?;
    let (mut interval, mut outcomes) = (Interval::default(), Vec::new());
    while reader.next_interval(&mut interval)? {
        outcomes.push(Outcome::of(&interval, reader.threads()));
    }
    Ok(outcomes)
}

#[test]
fn a_number_has_the_meaning_that_it_got_last() {
    let other = THREAD.replace("\"tid\":2", "\"tid\":3");
    let found = read(&[BEGIN, THREAD, REASON, SLOT, &other, SLOT, END]).unwrap();
    let cells: Vec<_> = found[0].cells.keys().cloned().collect();
    assert_eq!(cells, ["1/2/- 2:0x72", "1/3/- 2:0x72"]);
}

#[test]
fn numbers_without_a_meaning_and_lines_without_an_interval_are_damage() {
    let vcpu = r#"{"vcpu":{"thread":0,"elapsed_ns":1,"guest_ns":1}}"#;
    let loss = r#"{"loss":{"cause":"early_entries","count":1}}"#;
    let far = THREAD.replace("\"number\":0", "\"number\":4000000000");
    for (lines, said) in [
        (vec![BEGIN, REASON, SLOT], "line 4 is damaged: no line before has thread 0"),
        (vec![BEGIN, THREAD, SLOT], "line 4 is damaged: no line before has reason 0"),
        (vec![BEGIN, vcpu], "line 3 is damaged: no line before has thread 0"),
        (vec![BEGIN, &far], "line 3 is damaged: it gives number 4000000000, and 0 is the next"),
        (vec![BEGIN, BEGIN], "line 3 is damaged: an interval begins before the last one has ended"),
        (vec![THREAD, REASON, SLOT], "line 4 is damaged: it belongs to an interval, and none has begun"),
        (vec![THREAD, vcpu], "line 3 is damaged: it belongs to an interval, and none has begun"),
        (vec![loss], "line 2 is damaged: it belongs to an interval, and none has begun"),
        (vec![END], "line 2 is damaged: it belongs to an interval, and none has begun"),
    ] {
        assert_eq!(read(&[&lines[..], &[END]].concat()).unwrap_err().to_string(), said);
    }
}

/// A recording that was appended to one without an end is not read as a part of it.
#[test]
fn a_second_header_is_damage() {
    let empty = Writer::new(Vec::new(), header()).unwrap().end("elapsed").unwrap();
    let line = std::str::from_utf8(&empty).unwrap().lines().next().unwrap();
    let error = read(&[BEGIN, END, line, BEGIN, END]).unwrap_err().to_string();
    assert_eq!(error, "line 4 is damaged: a second header");
}

/// The numbers of threads that ended, and of causes that guests choose, are used again.
#[test]
fn numbers_do_not_grow_with_what_comes_and_goes() {
    const INTERVALS: u32 = 5000;
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    let mut written = Vec::new();
    for number in 0..INTERVALS {
        let thread = Thread { pid: 1, tid: number, vm: "a".into(), ..Thread::default() };
        let cell = Cell {
            isa: Isa::SVM,
            code: 0x7c,
            subkey: subkey::new(kind::MSR, number.into()),
            count: 1,
            sum_ns: 5,
            min_ns: 5,
            max_ns: 5,
            ..Cell::default()
        };
        let interval = Interval { number: u64::from(number) + 1, cells: vec![cell], ..Interval::default() };
        let threads = Threads::from(vec![thread]);
        writer.interval(interval.with(&threads)).unwrap();
        written.push(Outcome::of(&interval, &threads));
    }
    let whole = writer.end("elapsed").unwrap();
    assert_eq!(outcomes(&whole).unwrap(), written);
    let text = String::from_utf8(whole).unwrap();
    for kind in ["thread", "reason"] {
        let numbers =
            text.lines().filter_map(|line| line.strip_prefix(&format!("{{\"{kind}\":{{\"number\":")));
        let highest = numbers.map(|rest| rest.split(',').next().unwrap().parse::<u32>().unwrap()).max();
        assert!(highest.unwrap() < 1100, "{kind}: {highest:?}");
    }
}

/// An interval that was taken back takes the meaning of its numbers with it.
#[test]
fn what_was_cut_off_is_told_again() {
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    let bytes = writer.bytes();
    writer.interval(interval(1).with(&threads())).unwrap();
    writer.get_mut().truncate(bytes as usize);
    writer.take_back(bytes);
    writer.interval(interval(2).with(&threads())).unwrap();
    let whole = writer.end("elapsed").unwrap();
    assert_eq!(outcomes(&whole).unwrap(), [Outcome::of(&interval(2), &threads())]);
}

/// A recording of schema 3, kept for ever: the one of schema 2 once more.
#[test]
fn schema_3_is_read() {
    let three = outcomes(include_bytes!("../fixtures/schema-3.exitlat")).unwrap();
    assert_eq!(three.len(), 15);
    assert_eq!(three, outcomes(include_bytes!("../fixtures/schema-2.exitlat")).unwrap());
}
