//! Events through the same pairing as in the kernel, without a kernel: the tables of the BPF side as plain
//! vectors. For recorded events, and for tests that hold the two sides against each other.

use std::collections::HashMap;

use tracer_ebpf::{
    abi::{ABSENT, Isa, Slot, SlotKey, SlotRef, Vcpu, state},
    breakdown::{self, Off},
    event,
    loss::PerVcpu,
    tables::Tables,
};

use crate::{
    model::{Cell, Interval, Loss, Losses, OpenExit, Threads, losses},
    snapshot,
};

/// An event of one thread (`tgid << 32 | tid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A vCPU left its guest.
    Exit {
        /// When.
        now_ns: u64,
        /// Instruction set of the code.
        isa: u32,
        /// Why, flags included.
        code: u32,
        /// The kernel's vCPU number.
        vcpu: u32,
    },
    /// A vCPU entered its guest.
    Entry {
        /// When.
        now_ns: u64,
    },
    /// Events of the thread were lost here: what was open stays without its partner.
    Lost,
    /// A thread ended.
    Death,
    /// KVM_RUN returned to the VMM.
    LeftKvm {
        /// When.
        now_ns: u64,
        /// KVM_EXIT_* reason.
        reason: u32,
        /// Result of KVM_RUN: 0 or a negative error.
        errno: i32,
    },
    /// The VMM called KVM_RUN.
    EnteredKvm {
        /// When.
        now_ns: u64,
    },
    /// A halt is over.
    Halted {
        /// When.
        now_ns: u64,
        /// How long it took.
        ns: u64,
        /// Whether the thread slept.
        waited: bool,
    },
    /// The thread lost its CPU.
    SwitchedOut {
        /// When.
        now_ns: u64,
        /// Why it has none any more.
        why: Off,
    },
    /// The thread got a CPU.
    SwitchedIn {
        /// When.
        now_ns: u64,
    },
    /// The thread was made runnable.
    Woken {
        /// When.
        now_ns: u64,
    },
    /// The cause of the open exit became known.
    Cause {
        /// See [`tracer_ebpf::subkey`].
        subkey: u64,
    },
}

impl Event {
    /// When it happened; [`None`] for those whose time does not matter.
    pub fn now_ns(self) -> Option<u64> {
        match self {
            Self::Exit { now_ns, .. }
            | Self::Entry { now_ns }
            | Self::LeftKvm { now_ns, .. }
            | Self::EnteredKvm { now_ns }
            | Self::Halted { now_ns, .. }
            | Self::SwitchedOut { now_ns, .. }
            | Self::SwitchedIn { now_ns }
            | Self::Woken { now_ns } => Some(now_ns),
            Self::Lost | Self::Death | Self::Cause { .. } => None,
        }
    }
}

/// The tables of the kernel side as plain vectors, of limited size as the kernel's are.
#[derive(Debug)]
struct Vectors {
    max_vcpus: usize,
    max_slots: usize,
    vcpus: Vec<Vcpu>,
    slots: Vec<Slot>,
    slot_of: HashMap<SlotKey, SlotRef>,
}

impl Tables for Vectors {
    type Entry = usize;

    fn index(entry: usize) -> u32 {
        entry as u32
    }

    fn vcpu(&mut self, entry: usize) -> &mut Vcpu {
        &mut self.vcpus[entry]
    }

    fn slot(&mut self, slot: SlotRef) -> Option<&mut Slot> {
        self.slots.get_mut(slot.number() as usize)
    }

    fn pop_free(&mut self) -> SlotRef {
        if self.slots.len() == self.max_slots {
            return SlotRef::NONE;
        }
        self.slots.push(Slot::UNUSED);
        SlotRef::new(self.slots.len() as u32 - 1)
    }

    /// Only after [`Tables::note_key`] failed, which it never does here.
    fn push_free(&mut self, slot: SlotRef) {
        debug_assert_eq!(slot.number() as usize + 1, self.slots.len());
        self.slots.pop();
    }

    fn find_key(&mut self, key: &SlotKey) -> SlotRef {
        self.slot_of.get(key).copied().unwrap_or(SlotRef::NONE)
    }

    fn note_key(&mut self, key: &SlotKey, slot: SlotRef) -> bool {
        self.slot_of.insert(*key, slot);
        true
    }

    fn has_causes(&self) -> bool {
        true
    }

    fn has_guest_histogram(&self) -> bool {
        false
    }

    fn count_loss(&mut self, index: u32, loss: PerVcpu) {
        self.vcpus[index as usize].lost[loss as usize] += 1;
    }
}

/// Events so far, paired.
#[derive(Debug)]
pub struct Replay {
    of: HashMap<u64, usize>,
    tables: Vectors,
    losses: Losses,
    /// A thread has found no place.
    vcpus_full: bool,
    first_ns: Option<u64>,
    last_ns: u64,
}

impl Replay {
    /// Empty tables of limited size, as the kernel's are.
    pub fn new(max_vcpus: usize, max_slots: usize) -> Self {
        Self {
            of: HashMap::new(),
            tables: Vectors {
                max_vcpus,
                max_slots,
                vcpus: Vec::new(),
                slots: Vec::new(),
                slot_of: HashMap::new(),
            },
            losses: Losses::default(),
            vcpus_full: false,
            first_ns: None,
            last_ns: 0,
        }
    }

    /// Takes an event.
    pub fn event(&mut self, pid_tgid: u64, event: Event) {
        if let Some(now_ns) = event.now_ns() {
            self.first_ns.get_or_insert(now_ns);
            self.last_ns = self.last_ns.max(now_ns);
        }
        let known = self.of.get(&pid_tgid).copied();
        let entry = match (event, known) {
            (Event::Exit { now_ns, isa, vcpu, .. }, _) => {
                match self.find_or_register(pid_tgid, now_ns, Isa(isa), vcpu) {
                    Some(entry) => entry,
                    None => {
                        self.vcpus_full = true;
                        return self.losses.add(Loss::VcpuTableFull, 1);
                    }
                }
            }
            (_, Some(entry)) => entry,
            (Event::Entry { .. }, None) if !self.vcpus_full => {
                return self.losses.add(Loss::EarlyEntries, 1);
            }
            (_, None) => return,
        };
        let tables = &mut self.tables;
        match event {
            Event::Exit { now_ns, isa, code, .. } => event::exit(tables, entry, now_ns, Isa(isa), code),
            Event::Entry { now_ns } => event::entry(tables, entry, now_ns),
            Event::Lost => lose(tables.vcpu(entry)),
            Event::Death => {
                self.of.remove(&pid_tgid);
                let vcpu = tables.vcpu(entry);
                vcpu.state = state::DEAD;
                self.losses.add(Loss::DiedInExit, u64::from(vcpu.open_ns != 0));
            }
            Event::LeftKvm { now_ns, reason, errno } => {
                event::kvm_run_return(tables, entry, now_ns, breakdown::user_reason(reason, errno));
            }
            Event::EnteredKvm { now_ns } => event::kvm_run_entry(tables, entry, now_ns),
            Event::Halted { now_ns, ns, waited } => {
                breakdown::halted(tables.vcpu(entry), now_ns, ns, waited, true);
            }
            Event::SwitchedOut { now_ns, why } => breakdown::switched_out(tables.vcpu(entry), now_ns, why),
            Event::SwitchedIn { now_ns } => breakdown::switched_in(tables.vcpu(entry), now_ns),
            Event::Woken { now_ns } => breakdown::woken(tables.vcpu(entry), now_ns),
            Event::Cause { subkey } => event::cause(tables, entry, subkey),
        }
    }

    fn find_or_register(&mut self, pid_tgid: u64, now_ns: u64, isa: Isa, vcpu_id: u32) -> Option<usize> {
        let Vectors { vcpus, max_vcpus, .. } = &mut self.tables;
        if let Some(&entry) = self.of.get(&pid_tgid) {
            // Where only entries carry the number it may come late.
            let known = &mut vcpus[entry].vcpu_id;
            *known = if *known == ABSENT { vcpu_id } else { *known };
            return Some(entry);
        }
        if vcpus.len() == *max_vcpus {
            return None;
        }
        vcpus.push(Vcpu {
            pid_tgid,
            pid: (pid_tgid >> 32) as u32,
            tid: pid_tgid as u32,
            first_ns: now_ns,
            isa,
            vcpu_id,
            state: state::LIVE,
            ..Vcpu::UNUSED
        });
        self.of.insert(pid_tgid, vcpus.len() - 1);
        Some(vcpus.len() - 1)
    }

    /// All that has come, as one interval, and the threads it speaks of.
    pub fn finish(self) -> (Interval, Threads) {
        let mut interval = Interval {
            number: 1,
            start_ns: self.first_ns.unwrap_or(0),
            end_ns: self.last_ns,
            losses: self.losses,
            ..Interval::default()
        };
        let mut threads = Threads::default();
        for (thread, vcpu) in self.tables.vcpus.iter().enumerate() {
            threads.add(snapshot::thread(vcpu, format!("pid {}", vcpu.pid)));
            for (cause, loss) in losses::PER_VCPU {
                interval.losses.add(loss, vcpu.lost[cause as usize]);
            }
            if vcpu.state == state::DEAD {
                interval.last_exits.extend(snapshot::last_exit(vcpu, thread));
            }
            if vcpu.state == state::LIVE && vcpu.open_ns != 0 {
                let age_ns = self.last_ns.saturating_sub(vcpu.open_ns);
                interval.open.push(OpenExit { thread, isa: vcpu.open_isa, code: vcpu.open_code, age_ns });
            }
        }
        for slot in &self.tables.slots {
            let start = interval.buckets.len();
            let filled = slot.buckets.iter().enumerate().filter(|(_, count)| **count != 0);
            interval.buckets.extend(filled.map(|(bucket, count)| (bucket as u16, *count)));
            let extremes = slot.extremes[1];
            interval.cells.push(Cell {
                thread: slot.vcpu as usize,
                isa: slot.isa,
                code: slot.code,
                subkey: slot.subkey,
                count: slot.done,
                sum_ns: slot.sum_ns,
                min_ns: extremes.min_ns,
                max_ns: extremes.max_ns,
                parts: snapshot::parts(slot.subkey, slot.parts, slot.sum_ns),
                buckets: start..interval.buckets.len(),
            });
        }
        (interval, threads)
    }
}

/// The open exit is over, nobody knows since when. Whatever comes next is counted from where it began: an
/// entry has no exit before it.
fn lose(vcpu: &mut Vcpu) {
    if vcpu.open_ns != 0 {
        vcpu.lost[PerVcpu::UnpairedExit as usize] += 1;
        vcpu.entered_ns = std::mem::take(&mut vcpu.open_ns);
        breakdown::discard(vcpu);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_ebpf::pairing::{accounted_ns, stamp_ns};

    use tracer_ebpf::part::Part;

    use super::*;
    use crate::model::Parts;
    use crate::snapshot::accounting;

    fn event() -> impl Strategy<Value = (u64, Event)> {
        let time = 0u64..1_000;
        let kind = prop_oneof![
            (0u32..3).prop_map(|code| Event::Exit { now_ns: 0, isa: 2, code, vcpu: 0 }),
            Just(Event::Entry { now_ns: 0 }),
            Just(Event::Entry { now_ns: 0 }),
            (2u32..7, -5i32..1).prop_map(|(reason, errno)| Event::LeftKvm { now_ns: 0, reason, errno }),
            Just(Event::EnteredKvm { now_ns: 0 }),
            Just(Event::Lost),
            (0u64..2_000, any::<bool>()).prop_map(|(ns, waited)| Event::Halted { now_ns: 0, ns, waited }),
            (1u32..5).prop_map(|why| Event::SwitchedOut { now_ns: 0, why: Off(why) }),
            Just(Event::SwitchedIn { now_ns: 0 }),
            Just(Event::Woken { now_ns: 0 }),
        ];
        (time, kind)
    }

    fn at(event: Event, t: u64) -> Event {
        match event {
            Event::Exit { isa, code, vcpu, .. } => Event::Exit { now_ns: t, isa, code, vcpu },
            Event::Entry { .. } => Event::Entry { now_ns: t },
            Event::LeftKvm { reason, errno, .. } => Event::LeftKvm { now_ns: t, reason, errno },
            Event::EnteredKvm { .. } => Event::EnteredKvm { now_ns: t },
            Event::Halted { ns, waited, .. } => Event::Halted { now_ns: t, ns, waited },
            Event::SwitchedOut { why, .. } => Event::SwitchedOut { now_ns: t, why },
            Event::SwitchedIn { .. } => Event::SwitchedIn { now_ns: t },
            Event::Woken { .. } => Event::Woken { now_ns: t },
            Event::Lost | Event::Death | Event::Cause { .. } => event,
        }
    }

    proptest! {
        /// Whatever the order of events, every nanosecond is in exactly one place: those of each exit
        /// in its parts, those of the thread in guest, parts or what was lost.
        #[test]
        fn no_nanosecond_is_lost_or_counted_twice(events in proptest::collection::vec(event(), 1..60)) {
            let mut replay = Replay::new(1, 1_000);
            let mut now_ns = 1_000;
            for (later_ns, event) in events {
                now_ns += later_ns;
                replay.event(7, at(event, now_ns));
                for vcpu in &replay.tables.vcpus {
                    prop_assert_eq!(accounted_ns(vcpu), stamp_ns(vcpu));
                    for idle in [false, true] {
                        let times = accounting::add_up(vcpu, idle, true, now_ns);
                        let sum_ns = times.guest_ns + times.parts.total_ns() + vcpu.lost_ns;
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
}
