//! Any order of events, and the rings of entries.

use proptest::prelude::*;
use tracer_ebpf::pairing::{guest_ns, is_in_guest, is_settled};

use super::*;
use crate::model::Parts;
use crate::snapshot::accounting;

fn event() -> impl Strategy<Value = (u64, Event)> {
    let time = 0u64..1_000;
    let kind = prop_oneof![
        (0u32..3, 0u64..20).prop_map(|(code, identity)| {
            Event::Exit { now_ns: 0, isa: 2, code, vcpu: 0, identity: identity.saturating_sub(15) }
        }),
        Just(Event::Entry { now_ns: 0, identity: None }),
        (0u64..20)
            .prop_map(|identity| { Event::Entry { now_ns: 0, identity: Some(identity.saturating_sub(15)) } }),
        (2u32..7, -5i32..1).prop_map(|(reason, errno)| Event::LeftKvm { now_ns: 0, reason, errno }),
        Just(Event::EnteredKvm { now_ns: 0 }),
        Just(Event::Lost),
        (0u64..2_000, any::<bool>()).prop_map(|(ns, waited)| Event::Halted { now_ns: 0, ns, waited }),
        (1u32..5).prop_map(|why| Event::SwitchedOut { now_ns: 0, why: Off(why) }),
        Just(Event::SwitchedIn { now_ns: 0 }),
        Just(Event::Woken { now_ns: 0 }),
        Just(Event::Stamped { now_ns: 0 }),
    ];
    (time, kind)
}

fn at(event: Event, t: u64) -> Event {
    match event {
        Event::Exit { isa, code, vcpu, identity, .. } => Event::Exit { now_ns: t, isa, code, vcpu, identity },
        Event::Entry { identity, .. } => Event::Entry { now_ns: t, identity },
        Event::LeftKvm { reason, errno, .. } => Event::LeftKvm { now_ns: t, reason, errno },
        Event::EnteredKvm { .. } => Event::EnteredKvm { now_ns: t },
        Event::Halted { ns, waited, .. } => Event::Halted { now_ns: t, ns, waited },
        Event::SwitchedOut { why, .. } => Event::SwitchedOut { now_ns: t, why },
        Event::SwitchedIn { .. } => Event::SwitchedIn { now_ns: t },
        Event::Woken { .. } => Event::Woken { now_ns: t },
        Event::Stamped { .. } => Event::Stamped { now_ns: t },
        Event::Lost | Event::Death | Event::Cause { .. } => event,
    }
}

#[test]
fn the_ring_of_a_process_is_of_those_that_run() {
    let mut replay = Replay::new(10, 10);
    let exit = |identity| Event::Exit { now_ns: 100, isa: 2, code: 1, vcpu: 0, identity };
    // Thread 1 goes on to another vCPU, thread 3 ends.
    let events = [(1, exit(1)), (2, exit(2)), (3, exit(3)), (1, exit(4)), (3, Event::Death), (4, exit(5))];
    events.iter().for_each(|(tid, event)| replay.event(7 << 32 | tid, *event));
    replay.tables.link(7);
    let around: Vec<u64> = std::iter::successors(Some(2), |at| {
        Some(replay.tables.vcpus[*at].sibling as usize).filter(|next| *next != 2)
    })
    .map(|at| replay.tables.vcpus[at].identity)
    .collect();
    assert_eq!(around, [2, 4, 5]);
    // The thread ends with the vCPU that it left.
    replay.event(7 << 32 | 1, Event::Death);
    let dead = replay.tables.vcpus.iter().filter(|vcpu| vcpu.state == state::DEAD);
    assert_eq!(dead.map(|vcpu| vcpu.identity).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(replay.losses.get(Loss::DiedInExit), 2);
}

proptest! {
    /// In any order of events every nanosecond is in exactly one place: those of each exit in its parts,
    /// those of the thread in guest, parts or lost time.
    #[test]
    fn no_nanosecond_is_lost_or_counted_twice(events in proptest::collection::vec(event(), 1..60)) {
        let mut replay = Replay::new(30, 1_000);
        let mut now_ns = 1_000;
        for (later_ns, event) in events {
            now_ns += later_ns;
            let mut before = replay.tables.vcpus.clone();
            replay.event(7, at(event, now_ns));
            before.resize(replay.tables.vcpus.len(), Vcpu::UNUSED);
            for (before, vcpu) in before.iter().zip(&replay.tables.vcpus).skip(1) {
                prop_assert!(is_settled(vcpu));
                // An exit gives the guest the time since the entry, and nothing else does.
                let ran_ns = match is_in_guest(before) && vcpu.open_ns != 0 {
                    true => vcpu.open_ns - before.entered_ns,
                    false => 0,
                };
                let sum_ns = if before.first_ns == 0 { 0 } else { guest_ns(before) };
                prop_assert_eq!(guest_ns(vcpu), sum_ns + ran_ns);
                for idle in [false, true] {
                    let times = accounting::add_up(vcpu, idle, true, None, now_ns);
                    let sum_ns = times.guest_ns + times.parts.total_ns() + times.parked_ns + vcpu.lost_ns;
                    prop_assert_eq!(sum_ns, now_ns - vcpu.first_ns, "{:?}", vcpu.breakdown);
                }
            }
        }
        let exits_ns: u64 = replay.tables.vcpus.iter().map(|vcpu| vcpu.exit_ns).sum();
        let (interval, _) = replay.finish();
        let parts_ns: u64 = interval.cells.iter().map(|cell| cell.parts.total_ns()).sum();
        prop_assert_eq!(parts_ns, exits_ns);
        for cell in interval.cells.iter().filter(|cell| cell.parts != Parts::default()) {
            let unhandled_ns = cell.parts.get(Part::Halt) + cell.parts.get(Part::Stopped);
            prop_assert_eq!(cell.parts.total_ns(), cell.sum_ns + unhandled_ns);
        }
    }
}
