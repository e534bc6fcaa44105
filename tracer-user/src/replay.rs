//! Events through the same pairing as in the kernel, without a kernel: the tables of the BPF side as plain
//! vectors. For recorded events, and for tests that hold the two sides against each other.

use std::collections::HashMap;

use tracer_ebpf::{
    abi::{Slot, Vcpu, state},
    lost::PerVcpu,
    pairing::{self, Entry},
    slot,
};

use crate::{
    decode::Isa,
    model::{Cell, Interval, Loss, Losses, OpenExit, Parts, Roster, Thread, losses},
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
}

/// The tables.
#[derive(Debug)]
pub struct Replay {
    max_vcpus: usize,
    max_slots: usize,
    of: HashMap<u64, usize>,
    vcpus: Vec<Vcpu>,
    slots: Vec<Slot>,
    losses: Losses,
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
            losses: Losses::default(),
            first_ns: None,
            last_ns: 0,
        }
    }

    /// Takes an event.
    pub fn event(&mut self, pid_tgid: u64, event: Event) {
        match event {
            Event::Exit { now_ns, isa, code, vcpu } => {
                self.clock(now_ns);
                let Some(index) = self.find_or_enrol(pid_tgid, now_ns, isa, vcpu) else {
                    return self.losses.add(Loss::VcpuTableFull, 1);
                };
                pairing::on_exit(&mut self.vcpus[index], now_ns, isa, code);
            }
            Event::Entry { now_ns } => {
                self.clock(now_ns);
                let Some(&index) = self.of.get(&pid_tgid) else {
                    return self.losses.add(Loss::EarlyEntries, 1);
                };
                if let Entry::Closed(ns) = pairing::on_entry(&mut self.vcpus[index], now_ns) {
                    self.sample(index, ns);
                }
            }
            Event::Death => {
                if let Some(index) = self.of.remove(&pid_tgid) {
                    self.vcpus[index].state = state::DEAD;
                    self.losses.add(Loss::DiedInExit, u64::from(self.vcpus[index].open_ns != 0));
                }
            }
        }
    }

    fn clock(&mut self, now_ns: u64) {
        self.first_ns.get_or_insert(now_ns);
        self.last_ns = self.last_ns.max(now_ns);
    }

    fn find_or_enrol(&mut self, pid_tgid: u64, now_ns: u64, isa: u32, vcpu_id: u32) -> Option<usize> {
        if let Some(&index) = self.of.get(&pid_tgid) {
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

    fn sample(&mut self, index: usize, ns: u64) {
        let vcpu = &mut self.vcpus[index];
        let (isa, code) = (vcpu.open_isa, vcpu.open_code);
        let mut number = slot::find(vcpu, isa, code);
        if number == 0 {
            let cause = if !slot::has_place(vcpu, isa, code) {
                PerVcpu::RareCodesFull
            } else if self.slots.len() == self.max_slots {
                PerVcpu::SlotTableFull
            } else {
                self.slots.push(Slot { vcpu: index as u32, isa, code, epoch: 1, ..Slot::UNUSED });
                number = self.slots.len() as u32;
                slot::note(vcpu, isa, code, number);
                return slot::record(&mut self.slots[number as usize - 1], ns);
            };
            vcpu.lost[cause as usize] += 1;
            return;
        }
        slot::record(&mut self.slots[number as usize - 1], ns);
    }

    /// All that has come, as one interval, and the threads it speaks of.
    pub fn finish(self) -> (Interval, Roster) {
        let mut interval = Interval {
            number: 1,
            start_ns: self.first_ns.unwrap_or(0),
            end_ns: self.last_ns,
            losses: self.losses,
            ..Interval::default()
        };
        let mut roster = Roster::default();
        for (thread, vcpu) in self.vcpus.iter().enumerate() {
            roster.threads.push(Thread {
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
            interval.buckets.extend(filled.map(|(bucket, count)| (bucket as u16, u64::from(*count))));
            let extremes = slot.extremes[1];
            interval.cells.push(Cell {
                thread: slot.vcpu as usize,
                isa: Isa(slot.isa),
                code: slot.code,
                detail: 0,
                count: slot.done,
                sum_ns: slot.sum_ns,
                min_ns: extremes.min_ns,
                max_ns: extremes.max_ns,
                parts: Parts::default(),
                buckets: start..interval.buckets.len(),
            });
        }
        (interval, roster)
    }
}
