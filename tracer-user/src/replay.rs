//! Sends events through the kernel's own pairing, without a kernel: the tables of the BPF side are plain
//! vectors. For recorded events, and for tests that compare both sides.

use std::collections::HashMap;

use tracer_ebpf::{
    abi::{ABSENT, DEFAULT_CAUSES, Isa, NOBODY, Slot, SlotKey, SlotRef, Tally, Vcpu, parity, state, table},
    breakdown::{self, Off, Sleep},
    event,
    loss::PerVcpu,
    part::Part,
    pause, ring, slot,
    tables::{Place, Tables},
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
        /// Which vCPU of its thread; see [`tracer_ebpf::abi::Vcpu::identity`].
        identity: u64,
    },
    /// A vCPU left its guest; its exit event is still to come. See [`tracer_ebpf::event::stamp`].
    Stamped {
        /// When.
        now_ns: u64,
    },
    /// A vCPU entered its guest.
    Entry {
        /// When.
        now_ns: u64,
        /// Which vCPU of its thread, if the event tells.
        identity: Option<u64>,
    },
    /// Events of the thread were lost here: an open exit stays without its entry.
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
        /// Why it lost its CPU.
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
    /// When it happened; [`None`] for events whose time does not matter.
    pub fn now_ns(self) -> Option<u64> {
        match self {
            Self::Exit { now_ns, .. }
            | Self::Stamped { now_ns }
            | Self::Entry { now_ns, .. }
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
    tallies: Vec<Tally>,
    slot_of: HashMap<SlotKey, SlotRef>,
    /// The entries of each process; those that are dead may still be among them.
    of_process: HashMap<u32, Vec<usize>>,
}

impl Vectors {
    /// Links the entries of a process whose threads live and runs them, as user space does for the kernel.
    fn link(&mut self, pid: u32) {
        let Some(entries) = self.of_process.get_mut(&pid) else { return };
        entries.retain(|entry| self.vcpus[*entry].state != state::DEAD);
        let live = entries.iter().copied().filter(|entry| self.vcpus[*entry].state == state::LIVE);
        let ring: Vec<usize> = live.collect();
        for (at, entry) in ring.iter().enumerate() {
            self.vcpus[*entry].sibling = ring[(at + 1) % ring.len()] as u32;
        }
    }
}

impl Tables for Vectors {
    type Entry = usize;
    type Noted = SlotRef;

    fn index(entry: usize) -> u32 {
        entry as u32
    }

    fn entry_at(&mut self, index: u32) -> Option<usize> {
        let index = index as usize;
        (index != NOBODY as usize && index < self.vcpus.len()).then_some(index)
    }

    fn vcpu(&mut self, entry: usize) -> &mut Vcpu {
        &mut self.vcpus[entry]
    }

    fn noted(&mut self, entry: usize) -> Option<SlotRef> {
        let vcpu = &self.vcpus[entry];
        (vcpu.touched == 0).then(|| slot::find_direct(vcpu, vcpu.open_code))
    }

    fn noted_slot(&mut self, noted: SlotRef) -> Option<(&mut Slot, u32)> {
        let slot = self.slot(noted)?;
        let epoch = slot.tally.epoch;
        Some((slot, epoch))
    }

    fn slot(&mut self, slot: SlotRef) -> Option<&mut Slot> {
        self.slots.get_mut(slot.0 as usize).filter(|_| slot != SlotRef::NONE)
    }

    fn tally(&mut self, tally: SlotRef) -> Option<&mut Tally> {
        self.tallies.get_mut(tally.0 as usize).filter(|_| tally != SlotRef::NONE)
    }

    /// The only source of events has the tables for itself: there is no quota but each vCPU's own.
    fn pop_free(&mut self, table: u32, _pid: u32) -> Place {
        if table == table::TALLIES {
            self.tallies.push(Tally::UNUSED);
            return Place::Free(SlotRef(self.tallies.len() as u32 - 1));
        }
        if self.slots.len() > self.max_slots {
            return Place::Full;
        }
        self.slots.push(Slot::UNUSED);
        Place::Free(SlotRef(self.slots.len() as u32 - 1))
    }

    /// Only after [`Tables::note_key`] failed, which it never does here.
    fn push_free(&mut self, _table: u32, _pid: u32, _slot: SlotRef) {}

    fn find_key(&mut self, key: &SlotKey) -> SlotRef {
        self.slot_of.get(key).copied().unwrap_or(SlotRef::NONE)
    }

    fn note_key(&mut self, key: &SlotKey, slot: SlotRef) -> bool {
        self.slot_of.insert(*key, slot);
        true
    }

    fn has_causes(&self, _: u64) -> bool {
        true
    }

    fn has_guest_histogram(&self, _: u64) -> bool {
        false
    }

    fn max_causes(&self) -> u32 {
        DEFAULT_CAUSES
    }

    /// Recorded events never ask for the ring, and few others do: it is made when it is needed.
    fn paused_ns(&mut self, entry: usize, sleep: Sleep) -> u64 {
        self.link(self.vcpus[entry].pid);
        pause::paused_ns(self, entry, sleep)
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
                // The first of each is nobody's.
                vcpus: vec![Vcpu::UNUSED],
                slots: vec![Slot::UNUSED],
                tallies: vec![Tally::UNUSED],
                slot_of: HashMap::new(),
                of_process: HashMap::new(),
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
            (Event::Exit { now_ns, isa, vcpu, identity, .. }, _) => {
                match self.find_or_register(pid_tgid, now_ns, Isa(isa), vcpu, identity) {
                    Some(entry) => entry,
                    None => {
                        self.vcpus_full = true;
                        return self.losses.add(Loss::VcpuTableFull, 1);
                    }
                }
            }
            (Event::Entry { now_ns, identity: Some(identity) }, Some(entry))
                if !ring::runs(&self.tables.vcpus[entry], identity) =>
            {
                _ = self.change(pid_tgid, entry, identity, now_ns);
                return;
            }
            (_, Some(entry)) => entry,
            (Event::Entry { .. }, None) if !self.vcpus_full => {
                return self.losses.add(Loss::EarlyEntries, 1);
            }
            (_, None) => return,
        };
        let tables = &mut self.tables;
        match event {
            Event::Exit { now_ns, isa, code, .. } => event::exit(tables, entry, now_ns, Some(Isa(isa)), code),
            Event::Stamped { now_ns } => event::stamp(tables, entry, now_ns),
            Event::Entry { now_ns, .. } => event::entry(tables, entry, now_ns),
            Event::Lost => lose(tables.vcpu(entry)),
            Event::Death => {
                self.of.remove(&pid_tgid);
                let losses = &mut self.losses;
                ring::end(tables, entry, |vcpu| {
                    losses.add(Loss::DiedInExit, u64::from(vcpu.open_ns != 0));
                });
            }
            Event::LeftKvm { now_ns, reason, errno } => {
                event::kvm_run_return(tables, entry, now_ns, breakdown::user_reason(reason, errno));
            }
            Event::EnteredKvm { now_ns } => event::kvm_run_entry(tables, entry, now_ns),
            Event::Halted { now_ns, ns, waited } => {
                event::halted(tables, entry, now_ns, ns, waited, true);
            }
            Event::SwitchedOut { now_ns, why } => {
                breakdown::switched_out(tables.vcpu(entry), now_ns, why);
            }
            Event::SwitchedIn { now_ns } => event::switched_in(tables, entry, now_ns),
            Event::Woken { now_ns } => breakdown::woken(tables.vcpu(entry), now_ns),
            Event::Cause { subkey } => event::cause(tables, entry, subkey),
        }
    }

    fn find_or_register(
        &mut self,
        pid_tgid: u64,
        now_ns: u64,
        isa: Isa,
        vcpu_id: u32,
        identity: u64,
    ) -> Option<usize> {
        let before = self.of.get(&pid_tgid).copied();
        if let Some(entry) = before {
            if ring::runs(&self.tables.vcpus[entry], identity) {
                // Where only entries carry the vCPU's number, it may come late.
                let known = &mut self.tables.vcpus[entry].vcpu_id;
                *known = if *known == ABSENT { vcpu_id } else { *known };
                return Some(entry);
            }
            if let Some(entry) = self.change(pid_tgid, entry, identity, now_ns) {
                // The entry that belongs to the exit was not seen.
                self.tables.vcpus[entry].entered_ns = 0;
                return Some(entry);
            }
        }
        let Vectors { vcpus, max_vcpus, of_process, .. } = &mut self.tables;
        if vcpus.len() > *max_vcpus {
            return None;
        }
        let (new, pid) = (vcpus.len(), (pid_tgid >> 32) as u32);
        of_process.entry(pid).or_default().push(new);
        vcpus.push(Vcpu {
            pid_tgid,
            pid,
            tid: pid_tgid as u32,
            first_ns: now_ns,
            isa,
            open_isa: isa,
            vcpu_id,
            identity,
            state: state::LIVE,
            ..Vcpu::UNUSED
        });
        if let Some(before) = before {
            ring::insert(&mut self.tables, before, new);
        }
        self.of.insert(pid_tgid, new);
        Some(new)
    }

    /// The thread runs another vCPU: returns its entry for that, if it has one.
    fn change(&mut self, pid_tgid: u64, entry: usize, identity: u64, now_ns: u64) -> Option<usize> {
        let entry = ring::change(&mut self.tables, entry, identity, now_ns)?;
        self.of.insert(pid_tgid, entry);
        Some(entry)
    }

    /// All events so far as one interval, and the threads that it names.
    pub fn finish(self) -> (Interval, Threads) {
        let mut interval = Interval {
            number: 1,
            start_ns: self.first_ns.unwrap_or(0),
            end_ns: self.last_ns,
            losses: self.losses,
            ..Interval::default()
        };
        let mut threads = Threads::default();
        for (thread, vcpu) in self.tables.vcpus.iter().skip(1).enumerate() {
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
        for slot in self.tables.slots.iter().skip(1) {
            let cell = cell(&slot.tally, slot.parts, interval.buckets.add_span(0, &slot.buckets));
            interval.cells.push(cell);
        }
        let thin = self.tables.tallies.iter().skip(1).map(|tally| cell(tally, [0; Part::COUNT], 0..0));
        interval.cells.extend(thin);
        (interval, threads)
    }
}

/// The samples of a slot or thin record that was never read before.
fn cell(tally: &Tally, parts: [u64; Part::COUNT], buckets: std::ops::Range<usize>) -> Cell {
    let extremes = tally.extremes[parity(tally.epoch)];
    Cell {
        thread: tally.vcpu as usize - 1,
        isa: tally.isa,
        code: tally.code,
        subkey: tally.subkey,
        count: tally.done,
        sum_ns: tally.sum_ns,
        min_ns: extremes.min_ns,
        max_ns: extremes.max_ns,
        parts: snapshot::parts(tally.subkey, parts, tally.sum_ns),
        buckets,
    }
}

/// Drops the open exit, whose end is unknown. The next interval begins at its own first event: an entry has
/// no exit before it.
fn lose(vcpu: &mut Vcpu) {
    if vcpu.open_ns != 0 {
        vcpu.lost[PerVcpu::UnpairedExit as usize] += 1;
        vcpu.entered_ns = std::mem::take(&mut vcpu.open_ns);
        vcpu.open_subkey = 0;
        breakdown::discard(vcpu);
    }
}

#[cfg(test)]
mod tests;
