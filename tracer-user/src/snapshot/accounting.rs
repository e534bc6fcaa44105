//! Where one vCPU thread's time went, from a copy of its entry: complete intervals, and the one under way.

use tracer_ebpf::{
    abi::{Breakdown, Vcpu},
    breakdown::{self, KVM_EXIT_INTR, Mode, Off},
    pairing,
    part::Part,
};

use crate::model::{Account, Parts};

/// Time of one thread since its first exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// When it was looked at.
    pub until_ns: u64,
    /// In the guest.
    pub guest_ns: u64,
    /// Everywhere else, lost intervals excepted.
    pub parts: Parts,
    /// How long the thread ran other vCPUs.
    pub parked_ns: u64,
    /// Which intervals were complete at `until_ns`, and which one was under way.
    pub progress: Progress,
}

/// How far a thread's intervals had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The interval under way is an exit; else it is one in the guest.
    exit: bool,
    /// How long it had been.
    under_way_ns: u64,
    /// Complete exits.
    exit_ns: u64,
    /// Complete intervals in the guest.
    guest_ns: u64,
    /// Lost intervals, by a counter that may wrap.
    lost_ns: u64,
}

impl Progress {
    fn of(vcpu: &Vcpu, now_ns: u64) -> Self {
        Self {
            exit: vcpu.open_ns != 0,
            under_way_ns: now_ns - pairing::stamp_ns(vcpu),
            exit_ns: vcpu.exit_ns,
            guest_ns: guest_ns(vcpu) + vcpu.away_ns,
            lost_ns: vcpu.lost_ns,
        }
    }

    /// How much of the interval under way in `before` has been lost since: all of it, unless a complete
    /// interval of its kind can include it.
    fn lost_since(&self, before: &Self) -> u64 {
        let (now_ns, then_ns) =
            if before.exit { (self.exit_ns, before.exit_ns) } else { (self.guest_ns, before.guest_ns) };
        let lost_ns = self.lost_ns.wrapping_sub(before.lost_ns);
        if now_ns.saturating_sub(then_ns) < before.under_way_ns {
            lost_ns.min(before.under_way_ns)
        } else {
            0
        }
    }
}

/// Time in the guest. A copy that stayed unsettled may have an exit twice, and less than nothing for the
/// guest.
fn guest_ns(vcpu: &Vcpu) -> u64 {
    let guest_ns = pairing::guest_ns(vcpu);
    if guest_ns > i64::MAX as u64 { 0 } else { guest_ns }
}

/// Whether two copies have the same state: compares the fields that the updates change. None of the times
/// ever comes back, so between two equal copies there was a moment with this state.
pub fn same(one: &Vcpu, other: &Vcpu) -> bool {
    let split = |vcpu: &Vcpu| {
        let Breakdown { mode, off, since_ns, parts, closed, halting_ns, .. } = vcpu.breakdown;
        (mode, off, since_ns, parts, closed, halting_ns)
    };
    let stamps = |vcpu: &Vcpu| {
        let Vcpu { open_ns, entered_ns, exit_ns, lost_ns, away_ns, parked_ns, .. } = *vcpu;
        ([open_ns, entered_ns, exit_ns, lost_ns, away_ns, parked_ns], vcpu.touched, vcpu.changing, vcpu.state)
    };
    stamps(one) == stamps(other) && split(one) == split(other)
}

/// Tries at a consistent copy of a vCPU entry. What the programs do with one takes some 50 ns.
const TRIES: usize = 100;

/// A copy, a time, and whether the copy is consistent and still valid at that time: the clock is read between
/// two equal copies. A clock read after them would charge to the copied state what the thread did since.
pub fn copy(mut copy: impl FnMut() -> Vcpu, mut clock_ns: impl FnMut() -> u64) -> (Vcpu, u64, bool) {
    let (mut vcpu, mut now_ns) = (copy(), clock_ns());
    for _ in 0..TRIES {
        let again = copy();
        if pairing::is_settled(&vcpu) && same(&vcpu, &again) {
            return (vcpu, now_ns, true);
        }
        (vcpu, now_ns) = (again, clock_ns());
    }
    (vcpu, now_ns, false)
}

/// Adds up a consistent copy, as of `now_ns`, which is not before anything in it. `idle` says whether the
/// reason of the open exit is one on which a vCPU waits for work: only then can a sleep that is not over be
/// told from others. Without the scheduler (`sched`) no sleep is seen before it is over, and the vCPU is
/// taken to sleep from the start of such an exit. `paused_ns` is the time since when the VM as a whole has
/// stood still, if it does.
pub fn add_up(vcpu: &Vcpu, idle: bool, sched: bool, paused_ns: Option<u64>, now_ns: u64) -> Times {
    let now_ns = now_ns.max(pairing::stamp_ns(vcpu));
    let mut parts = Parts(vcpu.breakdown.closed);
    let mut guest_ns = guest_ns(vcpu);
    // `closed` also has what was spent off the CPU between entry and exit; that is no part of an exit.
    let told_ns = parts.total_ns().saturating_sub(vcpu.away_ns);
    parts.add(Part::Kernel, vcpu.exit_ns.saturating_sub(told_ns));
    if vcpu.open_ns == 0 {
        let (since_ns, away) = under_way(&vcpu.breakdown, vcpu.entered_ns, now_ns);
        guest_ns += since_ns - vcpu.entered_ns;
        away.charge(&mut parts, Part::Blocked, None, &mut guest_ns);
    } else {
        let mut open = Parts(vcpu.breakdown.parts);
        let (_, mut away) = under_way(&vcpu.breakdown, vcpu.open_ns, now_ns);
        let asleep =
            breakdown::sleep_part(vcpu.breakdown.mode, vcpu.breakdown.off, vcpu.breakdown.user_reason);
        let asleep = if idle && asleep == Part::Blocked && vcpu.breakdown.off == Off::INTERRUPTIBLE {
            Part::Halt
        } else {
            asleep
        };
        let running = (vcpu.breakdown.mode == Mode::USER).then_some(Part::User);
        let kicked = asleep == Part::UserBlocked && vcpu.breakdown.user_reason == KVM_EXIT_INTR;
        if let Some(paused_ns) = paused_ns.filter(|_| kicked) {
            away.asleep_since(paused_ns, now_ns, &mut open);
        }
        away.charge(&mut open, asleep, running, &mut 0);
        if idle {
            let halting_ns = vcpu.breakdown.halting_ns;
            open.0[Part::Blocked as usize] = open.get(Part::Blocked).saturating_sub(halting_ns);
            open.add(Part::Halt, halting_ns);
        }
        let unseen = !sched && idle && vcpu.breakdown.mode == Mode::KERNEL;
        let rest = if unseen { Part::Halt } else { Part::Kernel };
        open.add(rest, (now_ns - vcpu.open_ns).saturating_sub(open.total_ns()));
        parts.merge(&open);
    }
    let progress = Progress::of(vcpu, now_ns);
    Times { until_ns: now_ns, guest_ns, parts, parked_ns: vcpu.parked_ns, progress }
}

/// What the thread has been doing since its last switch or change of mode.
struct UnderWay {
    running_ns: u64,
    asleep_ns: u64,
    runnable_ns: u64,
}

/// Start and kind of the thread's current activity; the start is not before `from_ns`. Only the start is
/// known of a thread that has simply run since `from_ns`.
fn under_way(breakdown: &Breakdown, from_ns: u64, now_ns: u64) -> (u64, UnderWay) {
    let since_ns = breakdown.since_ns.clamp(from_ns, now_ns);
    let ns = now_ns - since_ns;
    let none = UnderWay { running_ns: 0, asleep_ns: 0, runnable_ns: 0 };
    match breakdown.off {
        Off::RUNNING => (since_ns, UnderWay { running_ns: ns, ..none }),
        Off::RUNNABLE => (since_ns, UnderWay { runnable_ns: ns, ..none }),
        _ if (since_ns..=now_ns).contains(&breakdown.woken_ns) => {
            let runnable_ns = now_ns - breakdown.woken_ns;
            (since_ns, UnderWay { asleep_ns: ns - runnable_ns, runnable_ns, ..none })
        }
        _ => (since_ns, UnderWay { asleep_ns: ns, ..none }),
    }
}

impl UnderWay {
    /// Charges its sleep since the VM stopped as a whole, up to `now_ns`, to [`Part::Stopped`].
    fn asleep_since(&mut self, paused_ns: u64, now_ns: u64, parts: &mut Parts) {
        let stopped_ns = now_ns.saturating_sub(self.runnable_ns).saturating_sub(paused_ns);
        let stopped_ns = stopped_ns.min(self.asleep_ns);
        self.asleep_ns -= stopped_ns;
        parts.add(Part::Stopped, stopped_ns);
    }

    /// Charges the time under way: a sleep to `asleep`, running time to `running`, or to `rest_ns` without
    /// such a part.
    fn charge(&self, parts: &mut Parts, asleep: Part, running: Option<Part>, rest_ns: &mut u64) {
        parts.add(Part::Runqueue, self.runnable_ns);
        parts.add(asleep, self.asleep_ns);
        match running {
            Some(part) => parts.add(part, self.running_ns),
            None => *rest_ns += self.running_ns,
        }
    }
}

impl Times {
    /// The account since `before`, as if all parts were measured.
    ///
    /// A sleep under way may have been charged to the wrong part. The excess is then subtracted from this
    /// account, so that the sum stays the elapsed time.
    pub fn since(&self, before: &Self) -> Account {
        let parked_ns = self.parked_ns.wrapping_sub(before.parked_ns);
        let elapsed_ns = self.until_ns.saturating_sub(before.until_ns).saturating_sub(parked_ns);
        let mut debt_ns = before.guest_ns.saturating_sub(self.guest_ns);
        let mut guest_ns = self.guest_ns.saturating_sub(before.guest_ns);
        let mut parts = Parts::default();
        for part in Part::ALL {
            let (now, then) = (self.parts.get(part), before.parts.get(part));
            debt_ns += then.saturating_sub(now);
            parts.add(part, now.saturating_sub(then));
        }
        // Time under way that was charged and then lost is in no part now: nothing has to pay for it.
        debt_ns = debt_ns.saturating_sub(self.progress.lost_since(&before.progress));
        // An inconsistent copy must not claim more time than has passed.
        debt_ns = debt_ns.max(guest_ns.saturating_add(parts.total_ns()).saturating_sub(elapsed_ns));
        // The time charged elsewhere before is now in the part that grew most; time in the guest is never
        // mistaken.
        let mut largest = parts.0.each_mut();
        largest.sort_by_key(|sum| std::cmp::Reverse(**sum));
        for sum in largest.into_iter().chain([&mut guest_ns]) {
            let paid_ns = debt_ns.min(*sum);
            *sum -= paid_ns;
            debt_ns -= paid_ns;
        }
        Account { elapsed_ns, guest_ns, parts, ..Account::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(vcpu: &mut Vcpu, now_ns: u64, code: u32) {
        if pairing::opens(vcpu, now_ns) {
            pairing::open(vcpu, now_ns, None, code);
        } else {
            pairing::on_odd_exit(vcpu, now_ns, None, code);
        }
    }

    fn entry(vcpu: &mut Vcpu, now_ns: u64) {
        assert!(pairing::closes(vcpu, now_ns));
        pairing::close(vcpu, now_ns);
    }

    fn exit_at(now_ns: u64) -> Vcpu {
        let mut vcpu = Vcpu { first_ns: now_ns, ..Vcpu::UNUSED };
        exit(&mut vcpu, now_ns, 12);
        vcpu
    }

    #[test]
    fn every_moment_is_somewhere() {
        let mut vcpu = exit_at(1_000);
        let total = |vcpu: &Vcpu, now_ns| {
            assert!(pairing::is_settled(vcpu));
            let times = add_up(vcpu, true, true, None, now_ns);
            assert_eq!(times.guest_ns + times.parts.total_ns(), now_ns - 1_000, "{times:?}");
            times
        };
        assert_eq!(total(&vcpu, 1_100).parts.get(Part::Kernel), 100);
        breakdown::switched_out(&mut vcpu, 1_200, Off::INTERRUPTIBLE);
        assert_eq!(total(&vcpu, 1_300).parts.get(Part::Halt), 100);
        breakdown::woken(&mut vcpu, 1_500);
        let times = total(&vcpu, 1_600);
        assert_eq!((times.parts.get(Part::Halt), times.parts.get(Part::Runqueue)), (300, 100));
        breakdown::switched_in(&mut vcpu, 1_700);
        breakdown::halted(&mut vcpu, 1_710, 560, true, true);
        let times = total(&vcpu, 1_710);
        assert_eq!((times.parts.get(Part::Halt), times.parts.get(Part::Poll)), (300, 50));
        breakdown::left_kvm(&mut vcpu, 1_800, 2);
        assert_eq!(total(&vcpu, 1_850).parts.get(Part::User), 50);
        breakdown::entered_kvm(&mut vcpu, 1_900);
        entry(&mut vcpu, 2_000);
        breakdown::close(&mut vcpu);
        let times = total(&vcpu, 2_400);
        assert_eq!(
            (times.guest_ns, times.parts.get(Part::User), times.parts.get(Part::Kernel)),
            (400, 100, 350)
        );
        breakdown::switched_out(&mut vcpu, 2_500, Off::RUNNABLE);
        assert_eq!(total(&vcpu, 2_700).guest_ns, 500);
        breakdown::switched_in(&mut vcpu, 2_800);
        let times = total(&vcpu, 2_900);
        assert_eq!((times.guest_ns, times.parts.get(Part::Runqueue)), (600, 500));
        exit(&mut vcpu, 3_000, 30);
        assert_eq!(total(&vcpu, 3_000).guest_ns, 700);
    }

    /// A thread that goes on while it is looked at is not charged for what it did before.
    #[test]
    fn the_time_of_a_copy_is_one_at_which_it_was_so() {
        let in_guest = {
            let mut vcpu = exit_at(1_000);
            entry(&mut vcpu, 2_000);
            vcpu
        };
        // Copied in its exit; the reader loses its CPU before it can read the clock, the thread enters the
        // guest.
        let mut copies = [exit_at(1_000), in_guest, in_guest].into_iter();
        let mut clock = [500_000, 600_000].into_iter();
        let (vcpu, now_ns, settled) = copy(|| copies.next().unwrap(), || clock.next().unwrap());
        let times = add_up(&vcpu, false, true, None, now_ns);
        assert!(settled);
        assert_eq!((times.guest_ns, times.parts.get(Part::Kernel)), (598_000, 1_000));
    }

    /// Every state between two stores of an entry is told from those before and after it.
    #[test]
    fn half_an_entry_is_not_settled() {
        let before = {
            let mut vcpu = exit_at(1_000);
            entry(&mut vcpu, 1_400);
            exit(&mut vcpu, 2_000, 30);
            vcpu
        };
        let mut after = before;
        entry(&mut after, 2_300);
        assert_eq!([&before, &after].map(pairing::guest_ns), [600, 600]);
        let first = Vcpu { entered_ns: after.entered_ns, ..before };
        let second = Vcpu { exit_ns: after.exit_ns, ..first };
        assert_eq!(
            [before, first, second, after].each_ref().map(pairing::is_settled),
            [true, false, false, true]
        );
        assert!([first, second, after].iter().all(|other| !same(&before, other)));
        assert!(!pairing::is_settled(&Vcpu { changing: 1, ..after }));
        // Where no better copy is to be had, nobody gets time that has not passed.
        let short = Vcpu { exit_ns: 5_000, ..before };
        let times = add_up(&short, false, true, None, 2_000);
        assert_eq!(times.guest_ns, 0);
        assert!(times.since(&Times::default()).guest_ns <= 2_000);
    }

    #[test]
    fn an_exit_that_is_lost_after_a_reading_takes_nothing_from_the_guest() {
        let mut vcpu = exit_at(1_000);
        let first = add_up(&vcpu, false, true, None, 2_000);
        assert_eq!(first.parts.get(Part::Kernel), 1_000);
        // Its entry was not seen.
        exit(&mut vcpu, 2_000, 30);
        entry(&mut vcpu, 2_010);
        let Account { elapsed_ns, guest_ns, parts, .. } =
            add_up(&vcpu, false, true, None, 3_000).since(&first);
        assert_eq!((elapsed_ns, guest_ns, parts.total_ns()), (1_000, 990, 0));
    }

    /// Time that is lost later is not subtracted from other parts.
    #[test]
    fn time_that_was_never_charged_forgives_nothing() {
        let mut vcpu = exit_at(1_000);
        entry(&mut vcpu, 1_100);
        // A halt, as it seems; it will turn out to be another sleep.
        exit(&mut vcpu, 1_200, 12);
        let first = add_up(&vcpu, true, false, None, 2_200);
        assert_eq!((first.guest_ns, first.parts.get(Part::Halt)), (100, 1_000));
        entry(&mut vcpu, 2_200);
        exit(&mut vcpu, 2_200, 30);
        exit(&mut vcpu, 7_200, 30);
        let Account { elapsed_ns, guest_ns, parts, .. } =
            add_up(&vcpu, false, false, None, 12_200).since(&first);
        assert_eq!((elapsed_ns, guest_ns + parts.total_ns()), (10_000, 5_000));
    }

    #[test]
    fn what_turns_out_to_be_another_part_keeps_the_sum() {
        let times = |until_ns, halt, blocked| {
            let mut parts = Parts::default();
            parts.add(Part::Halt, halt);
            parts.add(Part::Blocked, blocked);
            Times { until_ns, parts, ..Times::default() }
        };
        let Account { elapsed_ns, guest_ns, parts, .. } = times(150, 0, 150).since(&times(100, 100, 0));
        assert_eq!((elapsed_ns, guest_ns + parts.total_ns()), (50, 50));
    }

    #[test]
    fn a_halt_without_the_scheduler_is_idle_and_takes_nothing_from_the_guest() {
        let mut vcpu = exit_at(1_000);
        entry(&mut vcpu, 1_100);
        exit(&mut vcpu, 1_500, 12);
        let asleep = add_up(&vcpu, true, false, None, 5_500);
        assert_eq!((asleep.guest_ns, asleep.parts.get(Part::Halt)), (400, 4_000));
        breakdown::halted(&mut vcpu, 6_400, 4_800, true, false);
        entry(&mut vcpu, 6_500);
        breakdown::close(&mut vcpu);
        let Account { elapsed_ns, guest_ns, parts, .. } =
            add_up(&vcpu, true, false, None, 6_900).since(&asleep);
        assert_eq!((elapsed_ns, guest_ns, guest_ns + parts.total_ns()), (1_400, 400, 1_400));
    }
}
