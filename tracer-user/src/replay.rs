//! Events through the same pairing as in the kernel, without a kernel: the tables of the BPF side as plain
//! vectors. For recorded events, and for tests that hold the two sides against each other.

use std::collections::HashMap;

use tracer_ebpf::{
    abi::{Slot, SlotKey, Vcpu, state},
    breakdown::{self, Trip},
    loss::PerVcpu,
    pairing::{self, Entry},
    part::Part,
    slot,
    subkey::{self, kind},
};

use crate::{
    decode::Isa,
    model::{Cell, Interval, Loss, Losses, OpenExit, Parts, Thread, Threads, kinds, losses},
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
        /// See [`tracer_ebpf::breakdown::off`].
        why: u32,
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
            Self::Death | Self::Cause { .. } => None,
        }
    }
}

/// The tables.
#[derive(Debug)]
pub struct Replay {
    max_vcpus: usize,
    max_slots: usize,
    of: HashMap<u64, usize>,
    vcpus: Vec<Vcpu>,
    slots: Vec<Slot>,
    details: HashMap<SlotKey, usize>,
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
            max_vcpus,
            max_slots,
            of: HashMap::new(),
            vcpus: Vec::new(),
            slots: Vec::new(),
            details: HashMap::new(),
            losses: Losses::default(),
            vcpus_full: false,
            first_ns: None,
            last_ns: 0,
        }
    }

    /// Takes an event.
    pub fn event(&mut self, pid_tgid: u64, event: Event) {
        if let Some(now_ns) = event.now_ns() {
            self.clock(now_ns);
        }
        let known = self.of.get(&pid_tgid).copied();
        let index = match (event, known) {
            (Event::Exit { now_ns, isa, vcpu, .. }, _) => {
                match self.find_or_enrol(pid_tgid, now_ns, isa, vcpu) {
                    Some(index) => index,
                    None => {
                        self.vcpus_full = true;
                        return self.losses.add(Loss::VcpuTableFull, 1);
                    }
                }
            }
            (_, Some(index)) => index,
            (Event::Entry { .. }, None) if !self.vcpus_full => {
                return self.losses.add(Loss::EarlyEntries, 1);
            }
            (_, None) => return,
        };
        let vcpu = &mut self.vcpus[index];
        match event {
            Event::Exit { now_ns, isa, code, .. } => {
                vcpu.open_subkey = 0;
                pairing::on_exit(vcpu, now_ns, isa, code);
            }
            Event::Entry { now_ns } => self.entry(index, now_ns),
            Event::Death => {
                self.of.remove(&pid_tgid);
                vcpu.state = state::DEAD;
                self.losses.add(Loss::DiedInExit, u64::from(vcpu.open_ns != 0));
            }
            Event::LeftKvm { now_ns, reason, errno } => {
                let trip = breakdown::left_kvm(vcpu, now_ns, breakdown::user_reason(reason, errno));
                self.end_trip(index, trip);
            }
            Event::EnteredKvm { now_ns } => {
                let trip = breakdown::entered_kvm(vcpu, now_ns);
                self.end_trip(index, trip);
            }
            Event::Halted { now_ns, ns, waited } => breakdown::halted(vcpu, now_ns, ns, waited, true),
            Event::SwitchedOut { now_ns, why } => breakdown::switched_out(vcpu, now_ns, why),
            Event::SwitchedIn { now_ns } => breakdown::switched_in(vcpu, now_ns),
            Event::Woken { now_ns } => breakdown::woken(vcpu, now_ns),
            Event::Cause { subkey } => {
                if vcpu.open_ns != 0 {
                    vcpu.open_subkey = subkey;
                }
            }
        }
    }

    fn entry(&mut self, index: usize, now_ns: u64) {
        let trip = breakdown::entered_kvm(&mut self.vcpus[index], now_ns);
        self.end_trip(index, trip);
        let vcpu = &mut self.vcpus[index];
        let Entry::Closed(ns) = pairing::on_entry(vcpu, now_ns) else { return };
        let parts = vcpu.breakdown.parts;
        let cause = vcpu.open_subkey;
        let idle_ns = parts[Part::Halt as usize] + parts[Part::Stopped as usize];
        let handled_ns = ns - idle_ns;
        breakdown::close(vcpu);
        let slot = if idle_ns == 0 {
            self.plain(index)
        } else {
            if let Some(whole) = self.subkey_slot(index, subkey::new(kind::WHOLE, 0)) {
                slot::record(&mut self.slots[whole], ns);
            }
            self.subkey_slot(index, subkey::new(kind::HALTED, 0))
        };
        if let Some(slot) = slot {
            slot::record_parts(&mut self.slots[slot], handled_ns, &parts);
        }
        if cause != 0
            && let Some(slot) = self.subkey_slot(index, cause)
        {
            slot::record(&mut self.slots[slot], handled_ns);
        }
    }

    fn end_trip(&mut self, index: usize, trip: Option<Trip>) {
        if let Some(Trip { reason, ns }) = trip
            && let Some(slot) = self.subkey_slot(index, subkey::new(kind::USER_EXIT, u64::from(reason)))
        {
            slot::record(&mut self.slots[slot], ns);
        }
    }

    fn clock(&mut self, now_ns: u64) {
        self.first_ns.get_or_insert(now_ns);
        self.last_ns = self.last_ns.max(now_ns);
    }

    fn find_or_enrol(&mut self, pid_tgid: u64, now_ns: u64, isa: u32, vcpu_id: u32) -> Option<usize> {
        if let Some(&index) = self.of.get(&pid_tgid) {
            // Where only entries carry the number it may come late.
            let known = &mut self.vcpus[index].vcpu_id;
            *known = if *known == tracer_ebpf::abi::ABSENT { vcpu_id } else { *known };
            return Some(index);
        }
        if self.vcpus.len() == self.max_vcpus {
            return None;
        }
        let vcpu = Vcpu {
            pid_tgid,
            pid: (pid_tgid >> 32) as u32,
            tid: pid_tgid as u32,
            first_ns: now_ns,
            isa,
            vcpu_id,
            state: state::LIVE,
            ..Vcpu::UNUSED
        };
        self.vcpus.push(vcpu);
        self.of.insert(pid_tgid, self.vcpus.len() - 1);
        Some(self.vcpus.len() - 1)
    }

    fn take_slot(&mut self, index: usize, subkey: u64) -> Option<usize> {
        let vcpu = &mut self.vcpus[index];
        if self.slots.len() == self.max_slots {
            vcpu.lost[PerVcpu::SlotTableFull as usize] += 1;
            return None;
        }
        let (isa, code) = (vcpu.open_isa, vcpu.open_code);
        self.slots.push(Slot { vcpu: index as u32, isa, code, subkey, epoch: 1, ..Slot::UNUSED });
        Some(self.slots.len() - 1)
    }

    fn plain(&mut self, index: usize) -> Option<usize> {
        let vcpu = &mut self.vcpus[index];
        let (isa, code) = (vcpu.open_isa, vcpu.open_code);
        let number = slot::find(vcpu, isa, code);
        if number != 0 {
            return Some(number as usize - 1);
        }
        if !slot::has_place(vcpu, isa, code) {
            vcpu.lost[PerVcpu::RareCodesFull as usize] += 1;
            return None;
        }
        let slot = self.take_slot(index, 0)?;
        slot::note(&mut self.vcpus[index], isa, code, slot as u32 + 1);
        Some(slot)
    }

    fn subkey_slot(&mut self, index: usize, subkey: u64) -> Option<usize> {
        let Vcpu { open_isa: isa, open_code: code, .. } = self.vcpus[index];
        let key = SlotKey { vcpu: index as u32, isa, code, pad: 0, subkey };
        if let Some(&slot) = self.details.get(&key) {
            return Some(slot);
        }
        let slot = self.take_slot(index, subkey)?;
        self.details.insert(key, slot);
        Some(slot)
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
        for (thread, vcpu) in self.vcpus.iter().enumerate() {
            threads.add(Thread {
                pid: vcpu.pid,
                tid: vcpu.tid,
                vcpu: (vcpu.vcpu_id != tracer_ebpf::abi::ABSENT).then_some(vcpu.vcpu_id),
                vm: format!("pid {}", vcpu.pid),
                host: None,
            });
            for (cause, loss) in losses::PER_VCPU {
                interval.losses.add(loss, vcpu.lost[cause as usize]);
            }
            if vcpu.state == state::LIVE && vcpu.open_ns != 0 {
                let age_ns = self.last_ns.saturating_sub(vcpu.open_ns);
                interval.open.push(OpenExit {
                    thread,
                    isa: Isa(vcpu.open_isa),
                    code: vcpu.open_code,
                    age_ns,
                });
            }
        }
        for slot in &self.slots {
            let start = interval.buckets.len();
            let filled = slot.buckets.iter().enumerate().filter(|(_, count)| **count != 0);
            interval.buckets.extend(filled.map(|(bucket, count)| (bucket as u16, *count)));
            let extremes = slot.extremes[1];
            interval.cells.push(Cell {
                thread: slot.vcpu as usize,
                isa: Isa(slot.isa),
                code: slot.code,
                subkey: slot.subkey,
                count: slot.done,
                sum_ns: slot.sum_ns,
                min_ns: extremes.min_ns,
                max_ns: extremes.max_ns,
                parts: parts(slot),
                buckets: start..interval.buckets.len(),
            });
        }
        (interval, threads)
    }
}

/// The parts of a slot's samples. Causes have none of their own.
fn parts(slot: &Slot) -> Parts {
    if !kinds::is_exit(slot.subkey) {
        return Parts::default();
    }
    let mut parts = Parts(slot.parts);
    let unhandled_ns = parts.get(Part::Halt) + parts.get(Part::Stopped);
    parts.add(Part::Kernel, breakdown::rest_ns(&slot.parts, slot.sum_ns + unhandled_ns));
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_ebpf::pairing::{accounted_ns, stamp_ns};

    use super::*;
    use crate::kernel::accounting;

    fn event() -> impl Strategy<Value = (u64, Event)> {
        let time = 0u64..1_000;
        let kind = prop_oneof![
            (0u32..3).prop_map(|code| Event::Exit { now_ns: 0, isa: 2, code, vcpu: 0 }),
            Just(Event::Entry { now_ns: 0 }),
            Just(Event::Entry { now_ns: 0 }),
            (2u32..7, -5i32..1).prop_map(|(reason, errno)| Event::LeftKvm { now_ns: 0, reason, errno }),
            Just(Event::EnteredKvm { now_ns: 0 }),
            (0u64..2_000, any::<bool>()).prop_map(|(ns, waited)| Event::Halted { now_ns: 0, ns, waited }),
            (1u32..5).prop_map(|why| Event::SwitchedOut { now_ns: 0, why }),
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
            Event::Death | Event::Cause { .. } => event,
        }
    }

    proptest! {
        /// Whatever the order of events, every nanosecond is in exactly one place: those of each exit in its parts,
        /// those of the thread in guest, parts or what was lost.
        #[test]
        fn no_nanosecond_is_lost_or_counted_twice(events in proptest::collection::vec(event(), 1..60)) {
            let mut replay = Replay::new(1, 1_000);
            let mut now_ns = 1_000;
            for (later_ns, event) in events {
                now_ns += later_ns;
                replay.event(7, at(event, now_ns));
                for vcpu in &replay.vcpus {
                    prop_assert_eq!(accounted_ns(vcpu), stamp_ns(vcpu));
                    for idle in [false, true] {
                        let times = accounting::add_up(vcpu, idle, true, now_ns);
                        let sum_ns = times.guest_ns + times.parts.total_ns() + vcpu.lost_ns;
                        prop_assert_eq!(sum_ns, now_ns - vcpu.first_ns, "{:?}", vcpu.breakdown);
                    }
                }
            }
            let exits_ns: u64 = replay.vcpus.iter().map(|vcpu| vcpu.exit_ns).sum();
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
