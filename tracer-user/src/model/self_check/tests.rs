//! Made-up counts on both sides.

use proptest::prelude::*;
use tracer_ebpf::subkey::{kind, new};

use super::*;
use crate::model::{Cell, Interval, LastExit, LastReason, Loss, Thread, Threads};

const PID: u32 = 7;

fn threads(vcpus: usize) -> Threads {
    Threads::from(vec![Thread { pid: PID, ..Thread::default() }; vcpus])
}

fn interval(exits: u64) -> Interval {
    let cell = |kind, isa, count| Cell { isa, count, subkey: new(kind, 0), ..Cell::default() };
    // Time in the guest and whole exits describe the same exits once more.
    let others = [cell(kind::GUEST, Isa::NONE, 1000), cell(kind::WHOLE, Isa::SVM, 1000)];
    let mut cells = vec![cell(kind::PLAIN, Isa::SVM, exits)];
    cells.extend(others);
    Interval { cells, ..Interval::default() }
}

fn look(before: u64, after: u64) -> Look {
    Look { pid: PID, vm: "web".into(), sources: vec![(70, 11)], before, after }
}

fn step(check: &mut SelfCheck, interval: &Interval, look: Look) -> Option<Disagreement> {
    check.count(interval.with(&threads(2)));
    check.compare(vec![look]);
    check.disagreements().pop()
}

#[test]
fn a_difference_is_shown_at_the_third_look() {
    let mut check = SelfCheck::new(true);
    let mut kvm = 5000;
    // What both counted before the base does not matter.
    assert_eq!(step(&mut check, &interval(40), look(kvm, kvm + 3)), None);
    // Ten of a hundred are missing.
    let found: Vec<_> = (1..=4)
        .map(|_| {
            kvm += 100;
            step(&mut check, &interval(90), look(kvm, kvm + 3))
        })
        .collect();
    let shown = |ours, kvm_low, kvm_high| {
        let (vm, counter) = ("web".into(), "exits");
        Some(Disagreement { pid: PID, vm, counter, ours, kvm_low, kvm_high, lost: 0, slack: 2 })
    };
    assert_eq!(found, [None, None, shown(270, 297, 303), shown(360, 397, 403)]);
    assert_eq!(
        shown(270, 297, 303).unwrap().to_string(),
        "KVM's exits grew by 297 to 303 since the first reading, and exitlat counted 270; 0 are known to be lost"
    );
    // What was late has come.
    assert_eq!(step(&mut check, &interval(140), look(kvm + 100, kvm + 100)), None);
}

#[test]
fn too_many_are_a_difference_too_and_a_change_of_sides_is_none() {
    let mut check = SelfCheck::new(true);
    let mut by = |exits, kvm| step(&mut check, &interval(exits), look(kvm, kvm)).map(|it| it.ours);
    assert_eq!([by(0, 0), by(103, 100), by(0, 200), by(103 + 3, 200)], [None; 4]);
    assert_eq!([by(100, 300), by(100, 400), by(100, 500)], [None, Some(409), Some(509)]);
}

#[test]
fn losses_that_are_known_explain_what_is_missing() {
    let lossy = |loss| {
        let mut check = SelfCheck::new(true);
        let mut found = Vec::new();
        for at in 0..5 {
            let mut interval = interval(90);
            interval.losses.add(loss, 10);
            found.push(step(&mut check, &interval, look(at * 100, at * 100)).is_some());
        }
        found
    };
    assert_eq!(lossy(Loss::MissedRuns), [false; 5]);
    // A note lacks no sample.
    assert_eq!(lossy(Loss::UnknownCodes), [false, false, false, true, true]);
}

#[test]
fn another_count_of_kvm_is_a_new_base() {
    let mut check = SelfCheck::new(true);
    let short = |check: &mut SelfCheck, look| step(check, &interval(10), look).is_some();
    let found: Vec<_> = (0..4).map(|at| short(&mut check, look(at * 100, at * 100))).collect();
    assert_eq!(found, [false, false, false, true]);
    // Somebody wrote 0 to the file.
    let found: Vec<_> = (0..4).map(|at| short(&mut check, look(at * 100, at * 100))).collect();
    assert_eq!(found, [false, false, false, true]);
    // A second VM of the process.
    let two = |kvm| Look { sources: vec![(70, 11), (70, 12)], ..look(kvm, kvm) };
    let found: Vec<_> = (4..8).map(|at| short(&mut check, two(at * 100))).collect();
    assert_eq!(found, [false, false, false, true]);
    check.retain(&HashSet::new());
    assert_eq!(check.disagreements(), []);
}

#[test]
fn what_is_not_traced_or_counted_otherwise_is_not_compared() {
    let silent = |all| {
        let mut check = SelfCheck::new(all);
        for at in 0..4 {
            check.count(Interval::default().with(&Threads::default()));
            check.compare(vec![look(at * 100, at * 100)]);
        }
        check.disagreements().len()
    };
    assert_eq!([silent(true), silent(false)], [1, 0]);
    let mut check = SelfCheck::new(true);
    for at in 0..6 {
        let mut interval = interval(10);
        interval.cells[0].isa = Isa::S390;
        assert_eq!(step(&mut check, &interval, look(at * 100, at * 100)), None);
    }
}

#[test]
fn an_exit_in_which_a_thread_ended_is_counted() {
    let mut check = SelfCheck::new(true);
    for at in 0..6 {
        let mut interval = interval(90);
        let reason = LastReason::new(Isa::SVM, 0x78, None);
        interval.last_exits.push(LastExit { thread: 1, reason, count: 10 });
        assert_eq!(step(&mut check, &interval, look(at * 100, at * 100)), None);
    }
}

/// A vCPU's place in its exits, each of which has three steps: the event, KVM's count, and the entry, with
/// which it becomes a sample.
fn kvm(place: u64) -> u64 {
    (place + 1) / 3
}

proptest! {
    /// vCPUs go on between the readings and while each vCPU is read. Without a loss nothing is shown, however
    /// they go; with one beyond bracket and slack it is shown at every look from the third on.
    #[test]
    fn only_what_is_missing_is_shown(
        steps in prop::collection::vec(prop::collection::vec((0..30u64, 0..30u64, 0..30u64), 3), 4..30),
        hidden in prop::option::of(400..1000u64),
    ) {
        let mut check = SelfCheck::new(true);
        let (mut places, mut sampled) = ([0u64; 3], 0);
        for (at, vcpus) in steps.iter().enumerate() {
            let advance = |places: &mut [u64; 3], by: fn(&(u64, u64, u64)) -> u64| {
                places.iter_mut().zip(vcpus).for_each(|(place, step)| *place += by(step));
                places.iter().map(|place| kvm(*place)).sum::<u64>()
            };
            let extra = hidden.unwrap_or(0) * at as u64;
            let before = advance(&mut places, |step| step.0) + extra;
            advance(&mut places, |step| step.1);
            let samples = places.iter().map(|place| place / 3).sum::<u64>();
            let after = advance(&mut places, |step| step.2) + extra;
            let interval = interval(samples - sampled);
            sampled = samples;
            check.count(interval.with(&threads(3)));
            check.compare(vec![look(before, after)]);
            prop_assert_eq!(check.disagreements().len(), usize::from(hidden.is_some() && at >= 3));
        }
    }
}
