//! The BPF programs run by BPF_PROG_TEST_RUN on this machine: needs root, but no guest and no KVM.

use anyhow::{Context as _, Result};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use exitlat_tests::scenario::{self, Outcome};
use tracer_ebpf::symbols::{self, synthetic};
use tracer_user::{
    kernel::session::{Options, Session},
    model::Interval,
    replay::Event,
};

/// The arguments of an event between exit and entry.
fn part_args(pid_tgid: u64, event: Event) -> Vec<u64> {
    let now_ns = event.now_ns().unwrap_or(0);
    let (what, more) = match event {
        Event::LeftKvm { reason, errno, .. } => (synthetic::LEFT, [u64::from(reason), errno as u64]),
        Event::EnteredKvm { .. } => (synthetic::CALL, [0; 2]),
        Event::Halted { ns, waited, .. } => (synthetic::HALTED, [ns, u64::from(waited)]),
        Event::SwitchedOut { why, .. } => (synthetic::OUT, [u64::from(why.0), 0]),
        Event::SwitchedIn { .. } => (synthetic::IN, [0; 2]),
        Event::Stamped { .. } => (synthetic::STAMP, [0; 2]),
        Event::Woken { .. } => (synthetic::WOKEN, [0; 2]),
        Event::Cause { subkey } => (synthetic::CAUSE, [subkey, 0]),
        Event::Exit { .. } | Event::Entry { .. } | Event::Death => unreachable!("has a program of its own"),
        Event::Lost => unreachable!("no event of the kernel's"),
    };
    vec![pid_tgid, now_ns, u64::from(what), more[0], more[1]]
}

/// Runs an event in the kernel, on the given CPU.
fn run(session: &mut Session, pid_tgid: u64, event: Event, cpu: u32) -> Result<()> {
    let (name, args) = match event {
        Event::Exit { now_ns, isa, code, vcpu, identity } => (
            symbols::SYNTHETIC_EXIT,
            vec![pid_tgid, now_ns, u64::from(isa), u64::from(code), u64::from(vcpu) | identity << 32],
        ),
        Event::Entry { now_ns, identity } => {
            (symbols::SYNTHETIC_ENTRY, vec![pid_tgid, now_ns, identity.unwrap_or(0)])
        }
        Event::Death => (symbols::SYNTHETIC_DEATH, vec![pid_tgid]),
        part => (symbols::SYNTHETIC_PART, part_args(pid_tgid, part)),
    };
    let program: &mut RawTracePoint = session.raw(name)?;
    let mut options = RawTracePointRunOptions::new();
    options.args[..args.len()].copy_from_slice(&args);
    options.cpu = Some(cpu);
    let result = program.test_run(options).with_context(|| format!("test run of {name}"))?;
    assert_eq!(result.return_value, 0);
    Ok(())
}

fn take(session: &mut Session) -> Result<Outcome> {
    let mut interval = Interval::default();
    session.read(&mut interval)?;
    Ok(Outcome::of(&interval, session.threads()))
}

fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32)
}

/// Every scenario gives in the kernel what the file says, with each event on another CPU than the last.
#[test]
fn scenarios() -> Result<()> {
    for scenario in scenario::all()? {
        let options =
            Options { slots: scenario.limits.slots, vcpus: scenario.limits.vcpus, ..Options::default() };
        let mut session = Session::load(&options, None)?;
        for (number, line) in scenario.events.iter().enumerate() {
            let (thread, event) = scenario::event(line)?;
            run(&mut session, thread, event, number as u32 % cpus())
                .with_context(|| format!("{}: {line}", scenario.name))?;
            // User space does this every 100 ms: it tells which vCPUs are of one process.
            session.greet();
        }
        assert_eq!(take(&mut session)?, scenario.expect, "{}: {}", scenario.name, scenario.about);
    }
    Ok(())
}

/// Snapshots add up: each sample is in one of them, and so are minimum and maximum.
#[test]
fn intervals_are_differences() -> Result<()> {
    let mut session = Session::load(&Options::default(), None)?;
    let thread = 10 << 32 | 1;
    let pair = |session: &mut Session, start: u64, ns: u64| -> Result<()> {
        run(session, thread, Event::Exit { now_ns: start, isa: 2, code: 0x72, vcpu: 0, identity: 0 }, 0)?;
        run(session, thread, Event::Entry { now_ns: start + ns, identity: None }, 0)
    };
    pair(&mut session, 1_000, 50)?;
    pair(&mut session, 2_000, 900)?;
    assert_eq!(take(&mut session)?.cells["10/1/0 2:0x72"], [2, 950, 50, 900]);
    pair(&mut session, 3_000, 300)?;
    assert_eq!(take(&mut session)?.cells["10/1/0 2:0x72"], [1, 300, 300, 300]);
    assert_eq!(take(&mut session)?, Outcome::default());
    Ok(())
}

/// If its process's quota leaves a thread no place, its exits are refused and its entries are not early.
#[test]
fn entries_of_refused_threads_are_not_early() -> Result<()> {
    const PLACES: u64 = 8;
    let mut session = Session::load(&Options { vcpus: PLACES as u32, ..Options::default() }, None)?;
    for tid in 1..=PLACES + 2 {
        let thread = 10 << 32 | tid;
        let exit = Event::Exit { now_ns: 1_000 * tid, isa: 2, code: 0x72, vcpu: 0, identity: 0 };
        run(&mut session, thread, exit, 0)?;
        run(&mut session, thread, Event::Entry { now_ns: 1_000 * tid + 5, identity: None }, 0)?;
    }
    // For a thread of another process there is a place.
    run(&mut session, 20 << 32 | 1, Event::Entry { now_ns: 20_000, identity: None }, 0)?;
    let losses = take(&mut session)?.losses;
    assert_eq!(losses, [("early_entries".to_owned(), 1), ("vcpu_quota".to_owned(), 2)].into());
    Ok(())
}

/// The entries and slots of dead threads are used again: a table of two serves a hundred threads.
#[test]
fn dead_threads_give_their_places_back() -> Result<()> {
    let mut session = Session::load(&Options { vcpus: 2, slots: 2, ..Options::default() }, None)?;
    for tid in 1..=100u64 {
        let thread = 10 << 32 | tid;
        run(
            &mut session,
            thread,
            Event::Exit { now_ns: 1_000 * tid, isa: 1, code: 10, vcpu: 0, identity: 0 },
            0,
        )?;
        run(&mut session, thread, Event::Entry { now_ns: 1_000 * tid + tid, identity: None }, 0)?;
        run(&mut session, thread, Event::Death, 0)?;
        let outcome = take(&mut session)?;
        assert_eq!(
            outcome.cells.into_iter().collect::<Vec<_>>(),
            [(format!("10/{tid}/0 1:0xa"), [1, tid, tid, tid])]
        );
        assert!(outcome.losses.is_empty(), "{:?}", outcome.losses);
    }
    Ok(())
}

/// A thread without a place has its exits counted, and not its entries, whatever is read in between; it gets
/// one when another thread has ended.
#[test]
fn a_place_is_asked_for_again_when_there_is_one() -> Result<()> {
    let mut session = Session::load(&Options { vcpus: 1, slots: 8, ..Options::default() }, None)?;
    let (first, second) = (10 << 32 | 1, 10 << 32 | 2);
    let exit = |now_ns| Event::Exit { now_ns, isa: 2, code: 0x72, vcpu: 0, identity: 0 };
    run(&mut session, first, exit(100), 0)?;
    run(&mut session, second, exit(110), 0)?;
    for round in 1..=3 {
        run(&mut session, second, Event::Entry { now_ns: round * 1_000, identity: None }, 0)?;
        run(&mut session, second, exit(round * 1_000 + 1), 0)?;
        let losses = take(&mut session)?.losses;
        let lost = if round == 1 { 2 } else { 1 };
        assert_eq!(losses.into_iter().collect::<Vec<_>>(), [("vcpu_table_full".to_owned(), lost)]);
    }
    run(&mut session, first, Event::Death, 0)?;
    assert_eq!(take(&mut session)?.losses.into_iter().collect::<Vec<_>>(), [("died_in_exit".to_owned(), 1)]);
    run(&mut session, second, exit(5_000), 0)?;
    run(&mut session, second, Event::Entry { now_ns: 5_030, identity: None }, 0)?;
    let outcome = take(&mut session)?;
    assert_eq!(outcome.cells["10/2/0 2:0x72"], [1, 30, 30, 30]);
    assert!(outcome.losses.is_empty(), "{:?}", outcome.losses);
    Ok(())
}

/// 64 VMs of 8 vCPUs with 110 reasons each, in half of which the threads end and others take their places:
/// every sample is where it belongs. With too few slots it is known how many have none; the last VM, which
/// lives on, lacks them.
#[test]
fn many_machines() -> Result<()> {
    const VMS: u64 = 64;
    const VCPUS: u64 = 8;
    const REASONS: u64 = 110;
    const ALL: u64 = VMS * VCPUS * REASONS;
    for slots in [ALL, ALL - 500] {
        let options = Options { vcpus: (VMS * VCPUS) as u32, slots: slots as u32, ..Options::default() };
        let mut session = Session::load(&options, None)?;
        for generation in 1..=2 {
            let mut samples = 0;
            for vm in (0..VMS).filter(|vm| generation == 1 || vm % 2 == 0) {
                for vcpu in 0..VCPUS {
                    let thread = (vm + 1) << 32 | (generation * 100_000 + vm * VCPUS + vcpu);
                    for code in 0..REASONS {
                        let (now_ns, ns) = (1_000_000 * (code + 1), 100 + 7 * code + vm);
                        let exit =
                            Event::Exit { now_ns, isa: 2, code: code as u32, vcpu: vcpu as u32, identity: 0 };
                        run(&mut session, thread, exit, 0)?;
                        run(&mut session, thread, Event::Entry { now_ns: now_ns + ns, identity: None }, 0)?;
                        samples += 1;
                    }
                    if generation == 1 && vm % 2 == 0 {
                        run(&mut session, thread, Event::Death, 0)?;
                    }
                }
            }
            let outcome = take(&mut session)?;
            // A few slots lie in the reserve: this VM has more than that gives to one.
            let lost = outcome.losses.get("slot_quota").copied().unwrap_or(0);
            assert_eq!(outcome.losses.len(), usize::from(lost != 0), "{:?}", outcome.losses);
            let free = if generation == 1 { slots } else { samples };
            assert_eq!((outcome.cells.len() as u64, lost), (samples.min(free), samples.saturating_sub(free)));
            for (label, cell) in outcome.cells {
                let (thread, code) = label.split_once(" 2:0x").context("a label")?;
                let (pid, code) =
                    (thread.split('/').next().unwrap_or_default(), u64::from_str_radix(code, 16)?);
                let ns = 100 + 7 * code + pid.parse::<u64>()? - 1;
                assert_eq!(cell, [1, ns, ns, ns], "{label}");
            }
        }
    }
    Ok(())
}

/// A session that traces these processes only.
fn filtered(pids: impl IntoIterator<Item = u32>) -> Result<Session> {
    let mut session = Session::load(&Options { filter: true, ..Options::default() }, None)?;
    for pid in pids {
        session.decide_process(pid, true)?;
    }
    Ok(session)
}

/// Events of other processes leave no trace, not even in the loss counters.
#[test]
fn other_processes_are_filtered_out() -> Result<()> {
    let mut session = filtered([7, 10])?;
    for pid in [9u64, 10, 11, 7] {
        run(
            &mut session,
            pid << 32 | 1,
            Event::Exit { now_ns: 100, isa: 2, code: 0x72, vcpu: 0, identity: 0 },
            0,
        )?;
        run(&mut session, pid << 32 | 1, Event::Entry { now_ns: 200, identity: None }, 0)?;
        run(&mut session, pid << 32 | 2, Event::Entry { now_ns: 200, identity: None }, 0)?;
    }
    let outcome = take(&mut session)?;
    assert_eq!(outcome.cells.keys().collect::<Vec<_>>(), ["10/1/0 2:0x72", "7/1/0 2:0x72"]);
    assert_eq!(outcome.losses.into_iter().collect::<Vec<_>>(), [("early_entries".to_owned(), 2)]);
    Ok(())
}

/// A process that comes later is noted by its first event, and traced from the moment it is judged.
#[test]
fn a_process_is_traced_once_it_is_judged() -> Result<()> {
    // Two that exist, one of which nobody wants, and one that has ended.
    let (wanted, refused, ended) = (u64::from(std::process::id()), 1, u64::from(u32::MAX >> 4));
    let mut session = filtered([])?;
    let exits = |session: &mut Session, from_ns: u64| -> Result<()> {
        for pid in [wanted, refused, ended] {
            let thread = pid << 32 | 1;
            run(
                session,
                thread,
                Event::Exit { now_ns: from_ns, isa: 2, code: 0x72, vcpu: 0, identity: 0 },
                0,
            )?;
            run(session, thread, Event::Entry { now_ns: from_ns + 100, identity: None }, 0)?;
        }
        Ok(())
    };
    exits(&mut session, 100)?;
    assert_eq!(take(&mut session)?.cells.len(), 0);
    let mut undecided = session.undecided_processes()?;
    undecided.sort_unstable();
    assert_eq!(undecided, [refused as u32, wanted as u32]);
    session.decide_process(wanted as u32, true)?;
    session.decide_process(refused as u32, false)?;
    assert_eq!(session.undecided_processes()?, [0u32; 0]);
    exits(&mut session, 1_000)?;
    let outcome = take(&mut session)?;
    assert_eq!(outcome.cells.into_keys().collect::<Vec<_>>(), [format!("{wanted}/1/0 2:0x72")]);
    assert_eq!(outcome.losses.len(), 0);
    Ok(())
}

/// A filter without room counts the events of the processes that it could not note.
#[test]
fn events_beyond_a_full_filter_are_counted() -> Result<()> {
    let mut session = filtered(1..=tracer_ebpf::abi::MAX_PROCESSES)?;
    run(
        &mut session,
        99_999 << 32 | 1,
        Event::Exit { now_ns: 100, isa: 2, code: 0x72, vcpu: 0, identity: 0 },
        0,
    )?;
    run(&mut session, 99_999 << 32 | 1, Event::Entry { now_ns: 200, identity: None }, 0)?;
    let outcome = take(&mut session)?;
    assert_eq!(outcome.cells.len(), 0);
    assert_eq!(outcome.losses.into_iter().collect::<Vec<_>>(), [("filter_full".to_owned(), 2)]);
    Ok(())
}

/// All programs that the loader may ask for are in the object, and those that read no kernel structure load
/// with messages on and off.
#[test]
fn programs_are_there_and_load() -> Result<()> {
    for verbose in [0, 1] {
        let mut session = Session::load(&Options { verbose, ..Options::default() }, None)?;
        for name in symbols::PROGRAMS.iter().chain(&symbols::ACTIVITY_PROGRAMS) {
            assert!(session.ebpf().program(name).is_some(), "no program {name}");
        }
        // The reader has asked for the others.
        for name in [symbols::VCPU_OF, symbols::ACTIVITY] {
            assert!(session.ebpf().map(name).is_some(), "no map {name}");
        }
        for name in [
            symbols::SYNTHETIC_EXIT,
            symbols::SYNTHETIC_ENTRY,
            symbols::SYNTHETIC_DEATH,
            symbols::SYNTHETIC_PART,
            symbols::THREAD_EXIT,
            // Without offsets they read nothing, but they have all else, causes included.
            symbols::RAW_EXIT,
            symbols::RAW_ENTRY,
        ] {
            session.raw(name)?;
        }
    }
    Ok(())
}
