//! The self-check: exitlat's count of exits held against KVM's own.
//!
//! Both grow while they are read, so KVM's is read before and after a reading of ours. Growth is counted from
//! a base that was read in the same way. If nothing is missing, ours is within KVM's bracket, but for exits
//! that were under way: one for each vCPU.

use std::collections::{HashMap, HashSet};

use crate::{
    decode::Isa,
    model::{Disagreement, NamedInterval, kinds},
};

/// A counter of KVM's that counts what exitlat counts.
#[derive(Debug)]
pub struct Comparable {
    /// Its name in debugfs.
    pub name: &'static str,
    /// Exits of other instruction sets are counted by other rules; a VM that has some is not compared.
    pub isas: &'static [Isa],
    /// The first kernel on which both count the same: major and minor version.
    pub since: (u32, u32),
    /// Why both count the same from there on.
    pub why: &'static str,
}

/// The counter that is compared. docs/counters.md says why others are not.
pub static COMPARABLE: Comparable = Comparable {
    name: "exits",
    isas: &[Isa::VMX, Isa::SVM],
    since: (6, 5),
    why: "vcpu_enter_guest() counts each return from the guest, just after the kvm_exit event. Until 6.4 it left \
        out exits that were answered without leaving its loop, and until 6.5 kvm_amd had no event for these",
};

/// Looks in a row that must find a difference before it is shown. A slot that was being written to at one
/// reading is counted at the next.
const LOOKS: u32 = 3;

/// Readings of KVM's count around a reading of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The process.
    pub pid: u32,
    /// Name of its VM.
    pub vm: String,
    /// Its VMs by thread and descriptor: KVM's count is their sum, ours is that of the process.
    pub sources: Vec<(u32, u32)>,
    /// KVM's count before the reading.
    pub before: u64,
    /// KVM's count after it.
    pub after: u64,
}

/// Where growth is counted from.
#[derive(Clone, Debug)]
struct Base {
    look: Look,
    ours: u64,
    lost: u64,
}

/// A process with VMs.
#[derive(Debug, Default)]
struct Process {
    /// Its exits so far.
    ours: u64,
    /// The most vCPUs that it had at a time.
    vcpus: u64,
    /// It had exits of another instruction set.
    is_foreign: bool,
    base: Option<Base>,
    /// KVM's last count.
    last: u64,
    /// Whether the last looks found too few, and how many in a row did.
    row: (bool, u32),
    shown: Option<Disagreement>,
}

/// Compares counts, look by look.
#[derive(Debug)]
pub struct SelfCheck {
    /// Every process is traced, also one that no exit was seen of.
    all: bool,
    processes: HashMap<u32, Process>,
    lost: u64,
}

impl SelfCheck {
    /// Nothing was compared yet. Unless `all` processes are traced, one is compared from its first vCPU on.
    pub fn new(all: bool) -> Self {
        Self { all, processes: HashMap::new(), lost: 0 }
    }

    /// Adds our counts of an interval. Every interval must be added.
    pub fn count(&mut self, of: NamedInterval<'_>) {
        let NamedInterval { interval, threads } = of;
        let missing = interval.losses.nonzero().filter(|(info, _)| info.missing).map(|(_, count)| count);
        self.lost = missing.fold(self.lost, u64::saturating_add);
        let mut vcpus = HashMap::new();
        for (_, thread) in threads.present() {
            *vcpus.entry(thread.pid).or_insert(0) += 1;
        }
        for (pid, vcpus) in vcpus {
            let process = self.processes.entry(pid).or_default();
            process.vcpus = process.vcpus.max(vcpus);
        }
        let exits = interval.cells.iter().filter(|cell| kinds::is_exit(cell.subkey));
        let exits = exits.map(|cell| (cell.thread, cell.isa, cell.count));
        // The exit in which a thread ended never became a sample.
        let last = interval.last_exits.iter().map(|last| (last.thread, Isa::NONE, last.count));
        for (thread, isa, count) in exits.chain(last) {
            let process = self.processes.entry(of.thread(thread).pid).or_default();
            process.ours = process.ours.saturating_add(count);
            process.is_foreign |= isa != Isa::NONE && !COMPARABLE.isas.contains(&isa);
        }
    }

    /// Forgets the processes that have no VM any more.
    pub fn retain(&mut self, living: &HashSet<u32>) {
        self.processes.retain(|pid, _| living.contains(pid));
    }

    /// Compares, after the reading that `looks` are around was added. A process without a look is as it was.
    pub fn compare(&mut self, looks: Vec<Look>) {
        for look in looks {
            let process = self.processes.entry(look.pid).or_default();
            if self.all || process.vcpus > 0 {
                process.compare(look, self.lost);
            }
        }
    }

    /// The differences that did not go away, by process.
    pub fn disagreements(&self) -> Vec<Disagreement> {
        let mut all: Vec<_> = self.processes.values().filter_map(|process| process.shown.clone()).collect();
        all.sort_by_key(|it| it.pid);
        all
    }
}

impl Process {
    fn compare(&mut self, look: Look, lost: u64) {
        // KVM's count is another one if a VM came or went, or if somebody set it to zero.
        let is_same = |base: &Base| base.look.sources == look.sources && self.last <= look.before;
        let base = self.base.take().filter(is_same);
        self.last = look.after;
        let Some(base) = base.filter(|_| look.before <= look.after && !self.is_foreign) else {
            (self.row, self.shown) = ((false, 0), None);
            self.base = Some(Base { look, ours: self.ours, lost });
            return;
        };
        let found = Disagreement {
            pid: look.pid,
            vm: look.vm,
            counter: COMPARABLE.name,
            ours: self.ours.saturating_sub(base.ours),
            kvm_low: look.before.saturating_sub(base.look.after),
            kvm_high: look.after.saturating_sub(base.look.before),
            lost: lost.saturating_sub(base.lost),
            slack: self.vcpus,
        };
        self.base = Some(base);
        let is_short = found.ours.saturating_add(found.lost).saturating_add(found.slack) < found.kvm_low;
        let is_long = found.ours > found.kvm_high.saturating_add(found.slack);
        self.row = match self.row {
            (_, _) if !is_short && !is_long => (false, 0),
            (before, looks) if before == is_short => (is_short, looks.saturating_add(1)),
            _ => (is_short, 1),
        };
        self.shown = (self.row.1 >= LOOKS).then_some(found);
    }
}

#[cfg(test)]
mod tests;
