//! Beginnings and ends: attached late, stopped early, killed, and what is left behind.

use std::{fs, time::Instant};

use tracer_user::{decode::Isa, model::Cell, recording::Reader};

use crate::guest::{
    Background, Live, Running, Table, exitlat, json_lines, report, scratch, succeed, wait_until,
    workload_path,
};

/// Programs of ours in the kernel, whoever loaded them.
fn our_programs() -> usize {
    let ours = ["tp_exit", "tp_entry", "raw_exit", "raw_entry"];
    aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| program.name_as_str().is_some_and(|name| ours.contains(&name)))
        .count()
}

#[test]
fn a_killed_tracer_leaves_nothing() {
    // The kernel frees those of the test before a grace period later.
    wait_until("nobody's programs are loaded", || our_programs() == 0);
    let live = Live::start("-d 600");
    assert_eq!(our_programs(), 2);
    let (status, _) = live.stop(libc::SIGKILL);
    assert_eq!(status, -libc::SIGKILL);
    // The kernel frees them a grace period later.
    wait_until("the kernel has freed the programs", || our_programs() == 0);
}

#[test]
fn interrupted_it_prints_the_last_interval_and_the_total() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let live = Live::start("-d 600");
        let guests = Background::start("cpuid=100");
        guests.go();
        guests.finish("svm");
        let (status, output) = live.stop(signal);
        assert_eq!(status, 0);
        let blocks = json_lines(&output);
        let spans: Vec<_> = blocks.iter().map(|block| block["span"].as_str().unwrap()).collect();
        assert_eq!(spans, ["interval", "total"]);
        assert!(blocks.iter().all(|block| block["samples"].as_u64().unwrap() >= 100));
    }
}

/// An interrupt works from the moment at which exitlat says that it is attached.
#[test]
fn interrupted_at_once_it_prints_what_there_is() {
    let (status, output) = Live::start("-d 600").stop(libc::SIGTERM);
    assert_eq!(status, 0);
    assert_eq!(json_lines(&output).len(), 2, "an interval and the total");
}

/// A vCPU is in a long exit when tracing begins: its entry is early, and no sample is made up. It is in
/// another one when tracing ends: that exit is in flight, with its age.
#[test]
fn a_vcpu_in_an_exit_at_both_ends() {
    let gate = scratch("gate");
    let file = |exit: u32, side: &str| format!("{}.{exit}.{side}", gate.display());
    let guests = Background::start(&format!("--io-gate {} io=2", gate.display()));
    guests.go();
    wait_until("it is in its first port exit", || fs::exists(file(1, "in")).unwrap());
    let mut live = Live::start("-d 100ms --by vcpu,reason");
    let began = Instant::now();
    fs::write(file(1, "out"), "").unwrap();
    wait_until("it is in its second", || fs::exists(file(2, "in")).unwrap());
    let mut entered = false;
    let mut blocks = live.blocks();
    for block in blocks.by_ref() {
        entered |= block["losses"]["early_entries"] == 1;
        if entered && block["in_flight"][0]["reason"] == "io" {
            break;
        }
    }
    live.signal(libc::SIGINT);
    let table = Table(blocks.last().expect("a total"));
    guests.kill();
    assert_eq!(table.loss("early_entries"), 1, "{}", table.0);
    assert!(table.rows().iter().all(|row| row["reason"] != "io"), "{}", table.0);
    let open = table.0["in_flight"].as_array().unwrap();
    assert_eq!(open.len(), 1, "{}", table.0);
    assert_eq!(open[0]["reason"], "io");
    let age = open[0]["age_ns"].as_u64().unwrap();
    assert!(u128::from(age) < began.elapsed().as_nanos(), "{age}");
}

#[test]
fn a_thread_that_ends_in_an_exit_is_counted_and_forgotten() {
    let live = Live::start("-d 600 --by vcpu,reason");
    for _ in 0..3 {
        let guests = Background::start("--die-in-exit --linger-ms 300 --vcpus 2 cpuid=10");
        guests.go();
        guests.finish("svm");
    }
    let (_, output) = live.stop(libc::SIGINT);
    let table = Table::last(&output);
    assert_eq!(table.loss("died_in_exit"), 6, "{}", table.0);
    assert_eq!(table.0["in_flight"].as_array().unwrap().len(), 0);
    let samples: Vec<_> = table
        .rows()
        .iter()
        .filter(|row| row["reason"] == "cpuid")
        .map(|row| row["samples"].clone())
        .collect();
    assert_eq!(samples, [10; 6].map(serde_json::Value::from));
}

/// A VM that died: its last exit, without an entry after it, and the reason with which KVM_RUN returned.
#[test]
fn the_exit_that_a_guest_died_of_is_named() {
    let named = |table: &Table| {
        let of_all = table.0["ended_in_exit"].as_array().unwrap().iter();
        let of_one =
            |exit: &serde_json::Value| ["vm", "reason", "user_exit", "count"].map(|name| exit[name].clone());
        of_all.map(of_one).collect::<Vec<_>>()
    };
    let expected: [serde_json::Value; 4] =
        ["lab-0".into(), "shutdown".into(), "KVM_EXIT_SHUTDOWN".into(), 2.into()];
    let dying = "--triple-fault --die-in-exit --linger-ms 300 --vcpus 2 cpuid=10";

    let live = Live::start("-d 600 --by vcpu,reason");
    let guests = Background::start(dying);
    guests.go();
    let vcpus = guests.finish("svm");
    let (_, output) = live.stop(libc::SIGINT);
    let table = Table::last(&output);
    assert_eq!(named(&table), std::slice::from_ref(&expected), "{}", table.0);
    assert_eq!(table.loss("died_in_exit"), 2, "{}", table.0);
    vcpus.iter().for_each(|vcpu| assert_eq!(table.samples(vcpu.tid)["cpuid"], 10));

    let (_, recording) = crate::guest::record("-d 100ms", dying, "svm");
    let table = report(&recording, "");
    assert_eq!(named(&table), [expected], "{}", table.0);
    let screen = succeed(exitlat().arg("report").arg(&recording));
    let screen = String::from_utf8(screen.stdout).unwrap();
    assert!(screen.contains("Ended in an exit: 2 (shutdown > KVM_EXIT_SHUTDOWN 2)"), "{screen}");
}

#[test]
fn a_recording_that_was_killed_is_readable() {
    const CPUID: u32 = 0x72;
    let dump = scratch("dump");
    let recorder = Running::start(exitlat().args(["record", "-d", "20ms", "-o"]).arg(&dump));
    wait_until("a header is written", || fs::metadata(&dump).is_ok_and(|meta| meta.len() > 0));
    let guests = Background::start("cpuid=3000");
    guests.go();
    let vcpus = guests.finish("svm");
    let read = || {
        let mut reader = Reader::new(std::io::BufReader::new(fs::File::open(&dump).unwrap())).unwrap();
        let (mut interval, mut samples) = (tracer_user::model::Interval::default(), 0);
        while reader.next_interval(&mut interval).unwrap_or(false) {
            let cpuid = |cell: &&Cell| (cell.isa, cell.code, cell.subkey) == (Isa::SVM, CPUID, 0);
            samples += interval.cells.iter().filter(cpuid).map(|cell| cell.count).sum::<u64>();
        }
        samples
    };
    wait_until("all exits are in the dump", || read() == vcpus[0].exits["cpuid"]);
    drop(recorder);
    let table = report(&dump, "--by vcpu,reason");
    assert_eq!(table.samples(vcpus[0].tid)["cpuid"], 3000);
    // A recording that ends in the middle of a line is readable up to that line.
    let text = fs::read(&dump).unwrap();
    fs::write(&dump, &text[..text.len() - 7]).unwrap();
    let output = succeed(exitlat().arg("report").arg(&dump));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is torn"), "{output:?}");
}

#[test]
fn recording_ends_with_the_status_of_the_command() {
    let dump = scratch("dump");
    let status = |command: &[&str]| {
        let mut recorder = exitlat();
        recorder.args(["record", "--force", "-o"]).arg(&dump).arg("--").args(command);
        recorder.output().unwrap().status.code()
    };
    assert_eq!(status(&["/bin/true"]), Some(0));
    assert_eq!(status(&["/bin/sh", "-c", "exit 7"]), Some(7));
    assert_eq!(status(&["/bin/sh", "-c", "kill -9 $$"]), Some(137));
    assert_eq!(status(&["/no/such/program"]), Some(2));
    assert_eq!(status(&[&workload_path(), "cpuid=1"]), Some(0));
}

/// A recording for days: SIGHUP that was ignored stays so, SIGUSR2 begins a new file, all files together have
/// all exits, and each can be read alone.
#[test]
fn a_recording_is_switched_and_survives_a_hangup() {
    let base = scratch("days");
    let files = || {
        let (directory, name) = (base.parent().unwrap(), base.file_name().unwrap().to_str().unwrap());
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name)).collect();
        files.sort();
        files
    };
    let line = format!("trap '' HUP; exec \"$@\" record -d 600 --switch-output signal -o {}", base.display());
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", &line, "sh"]).arg(exitlat().get_program());
    let mut recorder = Running::start(&mut command);
    let pid = recorder.0.id() as i32;
    // SAFETY: signals to our own child.
    let signal = |signal| assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    wait_until("a header is written", || files().iter().any(|path| fs::metadata(path).unwrap().len() > 0));
    let mut threads = Vec::new();
    for round in 1..=2 {
        let guests = Background::start("cpuid=300");
        guests.go();
        threads.extend(guests.finish("svm").into_iter().map(|vcpu| vcpu.tid));
        signal(libc::SIGHUP);
        signal(libc::SIGUSR2);
        wait_until("there is one more file", || files().len() == round + 1);
    }
    signal(libc::SIGINT);
    assert_eq!(recorder.0.wait().unwrap().code(), Some(0));
    let tables: Vec<_> = files().iter().map(|path| report(path, "--by vcpu,reason")).collect();
    let seen: Vec<Vec<_>> = tables
        .iter()
        .map(|table| {
            threads.iter().map(|tid| table.samples(*tid).get("cpuid").copied().unwrap_or(0)).collect()
        })
        .collect();
    assert_eq!(seen, [[300, 0], [0, 300], [0, 0]]);
}
