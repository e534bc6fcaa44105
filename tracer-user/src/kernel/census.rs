//! Which vCPUs are open, in the descriptors of the host's processes, to name those that never had an exit.
//!
//! Looking into a process costs a system call for each of its descriptors. A host with a thousand VMs has a
//! hundred thousand of them, so a look takes a part of the processes only, and looks again at those that may
//! have changed: VMs, and processes that were met lately.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::{
    kernel::vms::{self, Told, Vm},
    model::{Known, Threads, Unseen},
};

/// Descriptors that one look may read, or one process more.
const DESCRIPTORS: usize = 512;
/// Looks from the end of a round to the next one: ten seconds.
const PAUSE: u32 = 100;
/// A process without a VM is looked at in this many rounds, then in every [`SELDOM`]-th round only: it may
/// open a VM late.
const TIMES: u8 = 3;
const SELDOM: u32 = 16;

/// Where open vCPUs are looked for.
pub trait Processes {
    /// All processes.
    fn pids(&self) -> Vec<u32>;

    /// The numbers of the vCPUs that a process has open, [`None`] if it has no VM, and how many descriptors
    /// were read.
    fn open_vcpus(&self, pid: u32) -> (Option<Vec<u32>>, usize);

    /// The VM of a process; [`None`] if the process has ended.
    fn ask(&self, pid: u32) -> Option<Told>;
}

/// The processes of this host.
#[derive(Debug)]
pub struct ThisHost;

impl Processes for ThisHost {
    fn pids(&self) -> Vec<u32> {
        vms::pids()
    }

    fn open_vcpus(&self, pid: u32) -> (Option<Vec<u32>>, usize) {
        vms::open_vcpus(pid)
    }

    fn ask(&self, pid: u32) -> Option<Told> {
        vms::ask(pid)
    }
}

/// A VM and its open vCPUs.
#[derive(Debug)]
struct Open {
    name: String,
    known: Known,
    vcpus: Vec<u32>,
    /// vCPUs of which exits were seen.
    seen: HashSet<u32>,
    /// Threads of the VM whose events carry no vCPU number.
    nameless: HashSet<u32>,
}

/// The open vCPUs, as far as they have been looked for.
#[derive(Debug, Default)]
pub struct Census {
    vms: BTreeMap<u32, Open>,
    /// Processes without a VM, and how often they were looked at.
    others: HashMap<u32, u8>,
    /// The processes of this round that are still to be looked at.
    queue: VecDeque<u32>,
    pause: u32,
    rounds: u32,
}

impl Census {
    /// Looks at some processes.
    pub fn look(&mut self, host: &impl Processes) {
        if self.queue.is_empty() {
            if self.pause != 0 {
                self.pause -= 1;
                return;
            }
            self.begin(host.pids());
        }
        let mut left = DESCRIPTORS;
        while let Some(pid) = self.queue.pop_front() {
            left = left.saturating_sub(self.look_at(host, pid));
            if left == 0 {
                break;
            }
        }
        if self.queue.is_empty() {
            self.pause = PAUSE;
        }
    }

    /// Looks at all processes.
    pub fn look_at_all(&mut self, host: &impl Processes) {
        self.begin(host.pids());
        while let Some(pid) = self.queue.pop_front() {
            self.look_at(host, pid);
        }
        self.pause = PAUSE;
    }

    /// How many vCPUs are open.
    pub fn open(&self) -> usize {
        self.vms.values().map(|vm| vm.vcpus.len()).sum()
    }

    /// The VMs, by pid. Without the right to look into other processes' descriptors the list is short.
    pub fn running(&self) -> Vec<Vm> {
        let vm = |(pid, open): (&u32, &Open)| Vm {
            pid: *pid,
            name: if open.name.is_empty() { format!("pid {pid}") } else { open.name.clone() },
            known: open.known.clone(),
            vcpus: open.vcpus.len(),
        };
        self.vms.iter().map(vm).collect()
    }

    /// Begins a round.
    fn begin(&mut self, pids: Vec<u32>) {
        let living: HashSet<u32> = pids.iter().copied().collect();
        self.vms.retain(|pid, _| living.contains(pid));
        self.others.retain(|pid, _| living.contains(pid));
        self.rounds = self.rounds.wrapping_add(1);
        let all = self.rounds.is_multiple_of(SELDOM);
        let wanted = |pid: &u32| all || self.others.get(pid).is_none_or(|times| *times < TIMES);
        self.queue = pids.into_iter().filter(wanted).collect();
    }

    fn look_at(&mut self, host: &impl Processes, pid: u32) -> usize {
        let (vcpus, read) = host.open_vcpus(pid);
        match vcpus {
            Some(vcpus) => {
                self.others.remove(&pid);
                let fresh = || {
                    let (name, known) = host.ask(pid).map(|told| (told.name, told.known)).unwrap_or_default();
                    Open { name, known, vcpus: Vec::new(), seen: HashSet::new(), nameless: HashSet::new() }
                };
                self.vms.entry(pid).or_insert_with(fresh).vcpus = vcpus;
            }
            None => {
                self.vms.remove(&pid);
                let times = self.others.entry(pid).or_default();
                *times = times.saturating_add(1);
            }
        }
        read
    }

    /// The VMs of which some vCPUs had no exit among these threads, now or before, as far as `wanted`.
    pub fn unseen(&mut self, threads: &Threads, wanted: impl Fn(u32, &Known) -> bool) -> Vec<Unseen> {
        for (_, thread) in threads.present() {
            let Some(open) = self.vms.get_mut(&thread.pid) else {
                // It has exits, so it has a VM by now.
                self.others.remove(&thread.pid);
                continue;
            };
            match thread.vcpu {
                Some(vcpu) => open.seen.insert(vcpu),
                // The set never outgrows the open vCPUs, however many threads come and go.
                None => open.nameless.len() < open.vcpus.len() && open.nameless.insert(thread.tid),
            };
        }
        let unseen = |(pid, vm): (&u32, &Open)| {
            let (open, numbered) = (vm.vcpus.len(), vm.nameless.is_empty());
            let mut vcpus: Vec<u32> = vm.vcpus.iter().copied().filter(|id| !vm.seen.contains(id)).collect();
            vcpus.sort_unstable();
            let seen = if numbered { open - vcpus.len() } else { vm.nameless.len().min(open) };
            if !numbered {
                vcpus.clear();
            }
            (seen < open).then(|| Unseen { pid: *pid, vm: vm.name.clone(), open, seen, vcpus })
        };
        self.vms.iter().filter(|(pid, vm)| wanted(**pid, &vm.known)).filter_map(unseen).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::Thread;

    /// Processes with their vCPUs; others have none, and ten descriptors each.
    struct Made {
        pids: Vec<u32>,
        vms: BTreeMap<u32, Vec<u32>>,
        looked: Cell<usize>,
    }

    impl Processes for Made {
        fn pids(&self) -> Vec<u32> {
            self.pids.clone()
        }

        fn open_vcpus(&self, pid: u32) -> (Option<Vec<u32>>, usize) {
            self.looked.set(self.looked.get() + 1);
            (self.vms.get(&pid).cloned(), 10)
        }

        fn ask(&self, pid: u32) -> Option<Told> {
            let name = format!("vm{pid}");
            Some(Told { known: Known::name(&name), name, start_unix_ms: None })
        }
    }

    fn made(vms: &[(u32, &[u32])], others: u32) -> Made {
        let vms: BTreeMap<_, _> = vms.iter().map(|(pid, vcpus)| (*pid, vcpus.to_vec())).collect();
        let pids = vms.keys().copied().chain(10_000..10_000 + others).collect();
        Made { pids, vms, looked: Cell::new(0) }
    }

    fn thread(pid: u32, tid: u32, vcpu: Option<u32>) -> Thread {
        Thread { pid, tid, vcpu, ..Thread::default() }
    }

    #[test]
    fn vcpus_without_an_exit_are_named() {
        let host = made(&[(1, &[0, 1]), (2, &[0]), (3, &[0, 1])], 3);
        let mut census = Census::default();
        census.look(&host);
        assert_eq!(census.open(), 5);
        let mut threads: Threads =
            vec![thread(1, 11, Some(0)), thread(2, 21, Some(0)), thread(3, 31, None)].into();
        let told = |unseen: Vec<Unseen>| -> Vec<String> {
            unseen.iter().map(|it| format!("{} {it}", it.vm)).collect()
        };
        let expected = ["vm1 2 vCPUs open, 1 seen: vCPU 1 had no exit yet", "vm3 2 vCPUs open, 1 seen"];
        assert_eq!(told(census.unseen(&threads, |_, _| true)), expected);
        assert_eq!(told(census.unseen(&threads, |pid, _| pid == 3)), expected[1..]);
        // A vCPU whose thread has ended had its exits.
        threads.add(thread(1, 12, Some(1)));
        census.unseen(&threads, |_, _| true);
        threads.retire(3);
        assert_eq!(told(census.unseen(&threads, |_, _| true)), expected[1..]);
    }

    #[test]
    fn a_look_takes_a_bounded_number_of_processes() {
        let host = made(&[(1, &[0, 1])], 1000);
        let mut census = Census::default();
        let mut most = 0;
        for _ in 0..3000 {
            let before = host.looked.get();
            census.look(&host);
            most = most.max(host.looked.get() - before);
        }
        assert_eq!(most, DESCRIPTORS.div_ceil(10));
        // The first rounds take all, later ones the VM alone, and one in between all again.
        assert!((4000..4100).contains(&host.looked.get()), "{}", host.looked.get());
    }

    #[test]
    fn a_vm_that_opens_late_is_found() {
        let late = |threads: &Threads, looks: u32| {
            let mut host = made(&[], 2);
            let mut census = Census::default();
            let mut look = |host: &Made, times| {
                for _ in 0..times {
                    census.look(host);
                    census.unseen(threads, |_, _| true);
                }
                census.open()
            };
            look(&host, 10 * (PAUSE + 1));
            host.vms = [(10_000, vec![0, 1])].into();
            look(&host, looks)
        };
        assert_eq!(late(&Threads::default(), PAUSE + 1), 0);
        assert_eq!(late(&Threads::default(), SELDOM * (PAUSE + 1)), 2);
        // Its exits tell at once.
        assert_eq!(late(&vec![thread(10_000, 7, Some(0))].into(), PAUSE + 1), 2);
    }

    #[test]
    fn vms_come_and_go() {
        let mut host = made(&[(1, &[0])], 1);
        let mut census = Census::default();
        census.look_at_all(&host);
        host.vms = [(10_000, vec![0, 1, 2])].into();
        host.pids.remove(0);
        census.look_at_all(&host);
        assert_eq!(census.open(), 3);
        let [Vm { pid, name, vcpus, .. }] = &census.running()[..] else { panic!("one VM runs") };
        assert_eq!((*pid, name.as_str(), *vcpus), (10_000, "vm10000", 3));
    }
}
