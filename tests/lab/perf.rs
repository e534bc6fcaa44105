//! Against perf: the same exits at the same time, counted by both.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
};

use crate::guest::{Background, Live, PATIENCE, Running, Table, demand_exact, report, scratch, succeed};

/// Runs `perf kvm stat record` and exitlat over the same workload. Counts have to be equal, and the means of
/// long exits within 2 %. Not those of short ones: each tracer also measures what the other one does in
/// between, and in the lab, some 30 instructions a microsecond, that is a good part of an exit which KVM
/// handles itself.
#[test]
fn perf_sees_the_same() {
    let [data, control, answer] = ["perf.data", "control", "answer"].map(scratch);
    let guests = Background::start("--io-spin-us 20000 cpuid=20000 msr=5000 io=150");
    let live = Live::start("-d 600 --by vcpu,reason");
    succeed(Command::new("mkfifo").arg(&control).arg(&answer));
    // perf's events are off until the control FIFO enables them; the answer FIFO confirms it.
    let open = |fifo: &Path| fs::OpenOptions::new().read(true).write(true).open(fifo).unwrap();
    let (mut tell, hear) = (open(&control), open(&answer));
    let mut command = Command::new("perf");
    command.args(["kvm", "stat", "record", "-a", "-D", "-1", "-o"]).arg(&data).arg(format!(
        "--control=fifo:{},{}",
        control.display(),
        answer.display()
    ));
    let mut perf = Running::start(&mut command);
    tell.write_all(b"enable\n").unwrap();
    let (said, answer) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(hear).read_line(&mut line);
        said.send(line)
    });
    let answer = answer.recv_timeout(PATIENCE).expect("perf says that its events are on");
    assert_eq!(answer.trim_end_matches(['\n', '\0']), "ack");
    guests.go();
    let vcpus = guests.finish("svm");
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(perf.0.id() as i32, libc::SIGINT) };
    perf.0.wait().unwrap();
    let (_, output) = live.stop(libc::SIGINT);
    let ours = Table::last(&output);
    demand_exact(&ours, &vcpus, "svm");
    let theirs = perf_report(&data);
    for row in ours.rows() {
        let reason = row["reason"].as_str().unwrap();
        let (samples, [.., mean_us]) =
            theirs.get(reason).unwrap_or_else(|| panic!("perf has no {reason}: {theirs:?}"));
        assert_eq!(row["samples"].as_u64().unwrap(), *samples, "{reason}: {theirs:?}");
        if reason == "io" {
            let mean = row["mean_ns"].as_f64().unwrap() / 1e3;
            assert!((mean - mean_us).abs() <= 0.02 * mean_us, "ours {mean} us, perf's {mean_us} us");
        }
    }
    assert!(theirs.contains_key("io"), "{theirs:?}");
    demand_perfs_table(&report(&data, ""), &theirs);
}

/// `report` of perf.data equals perf's own table, to the last digit that perf prints.
fn demand_perfs_table(ours: &Table, theirs: &BTreeMap<String, (u64, [f64; 3])>) {
    assert_eq!(ours.rows().len(), theirs.len(), "{theirs:?}");
    for row in ours.rows() {
        let (samples, us) = &theirs[row["reason"].as_str().unwrap()];
        assert_eq!(row["samples"], *samples, "{row}");
        for (column, us) in ["min_ns", "max_ns", "mean_ns"].iter().zip(us) {
            let ns = row[column].as_f64().unwrap();
            assert!((ns / 1e3 - us).abs() < 0.00501, "{column}: {row}, perf's {us} us");
        }
    }
    assert_eq!(ours.loss("lost_records"), 0);
}

/// Samples, and minimum, maximum and mean in us by reason, from perf's text.
fn perf_report(data: &Path) -> BTreeMap<String, (u64, [f64; 3])> {
    let report = |options: &[&str]| {
        let mut command = Command::new("perf");
        command.args(["kvm", "-i"]).arg(data).args(["stat", "report"]).args(options);
        command
    };
    // Newer perfs have a browser and need the option, older ones do not know it.
    let asked = report(&["--stdio"]).output().unwrap();
    let output = if asked.status.success() { asked } else { succeed(&mut report(&[])) };
    // Older perfs print the table to standard error.
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    // cpuid  20000  74.07%  60.20%  10.01us  900.50us  12.34us ( +-   0.35% )
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(mean) = words.iter().position(|word| *word == "(").map(|at| at - 1).filter(|mean| *mean > 3)
        else {
            continue;
        };
        let number = |at: usize| words[at].trim_end_matches("us").parse::<f64>();
        let numbers = (number(mean - 2), number(mean - 1), number(mean));
        if let (Ok(samples), (Ok(min), Ok(max), Ok(mean))) = (words[1].parse::<u64>(), numbers) {
            rows.insert(words[0].to_owned(), (samples, [min, max, mean]));
        }
    }
    assert!(!rows.is_empty(), "no table in: {text}");
    rows
}
