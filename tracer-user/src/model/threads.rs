//! The threads that intervals name by index.
//!
//! A reader's list has a place for each thread that is alive, and for those that ended since the reading
//! before: a place is given back at the reading after. So it is bounded by the kernel side's table of vCPUs,
//! however many threads come and go. A recording's list has all of its threads; they are in its lines anyway.

use std::{collections::HashSet, fmt};

use crate::model::{Crowded, Disagreement, HostId, Known, Origin, ThreadId, VmId};

/// A vCPU thread, as a reader finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Thread {
    /// The VM's process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The kernel's vCPU number, where the events carry it.
    pub vcpu: Option<u32>,
    /// Which VM of that process number.
    pub origin: Origin,
    /// Name of the VM: the guest's name, else that of the process.
    pub vm: String,
    /// What else is known about the VM.
    pub known: Known,
    /// The host it ran on, where several are told apart: in a merged recording.
    pub host: Option<String>,
}

impl Thread {
    /// Its VM.
    pub fn vm_id(&self) -> VmId {
        VmId {
            host: HostId::new(self.host.as_deref()),
            pid: Some(self.pid),
            origin: self.origin,
            name: self.vm.as_str().into(),
            known: self.known(),
        }
    }

    /// What is known about its VM: the name at least.
    pub fn known(&self) -> Known {
        if self.known.name().is_empty() { Known::name(&self.vm) } else { self.known.clone() }
    }

    /// The thread itself.
    pub fn id(&self) -> ThreadId {
        ThreadId { vm: self.vm_id(), vcpu: self.vcpu, tid: Some(self.tid) }
    }

    /// The vCPU as people write it: its number, else its thread.
    pub fn vcpu_label(&self) -> String {
        self.id().to_string()
    }

    fn same_vm(&self, other: &Self) -> bool {
        (self.pid, self.origin, &self.vm, &self.host) == (other.pid, other.origin, &other.vm, &other.host)
    }
}

/// A VM that has vCPUs of which no exit was seen yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// The VM's process.
    pub pid: u32,
    /// Name of the VM.
    pub vm: String,
    /// How many vCPUs it has open.
    pub open: usize,
    /// How many of them had an exit.
    pub seen: usize,
    /// The numbers of the others, where the events carry such numbers.
    pub vcpus: Vec<u32>,
}

/// The most vCPUs that are named.
const NAMED: usize = 8;

impl fmt::Display for Unseen {
    /// In words, without the name of the VM.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, seen, vcpus, .. } = self;
        let s = |count: usize| if count == 1 { "" } else { "s" };
        write!(f, "{open} vCPU{} open, {seen} seen", s(*open))?;
        for (at, vcpu) in vcpus.iter().take(NAMED).enumerate() {
            match at {
                0 => write!(f, ": vCPU{} {vcpu}", s(vcpus.len()))?,
                _ => write!(f, ", {vcpu}")?,
            }
        }
        match vcpus.len() {
            0 => Ok(()),
            count if count > NAMED => write!(f, " and {} more had no exit yet", count - NAMED),
            _ => f.write_str(" had no exit yet"),
        }
    }
}

/// How many VMs and vCPU threads there have been, those that ended included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// VMs.
    pub vms: usize,
    /// vCPU threads.
    pub threads: usize,
}

/// State of a list of threads: while it is unchanged, every index keeps its meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Places of the list.
    pub len: usize,
    /// How often a place was given to another thread.
    pub replaced: u64,
}

/// The threads that an interval may name. A place keeps its meaning until its thread is retired.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    /// By index, in the order of their first sight as long as none was retired.
    pub list: Vec<Thread>,
    free: Vec<usize>,
    /// By index, whether the place is free; places beyond the end are in use.
    gone: Vec<bool>,
    replaced: u64,
    /// VMs and threads whose places were given back.
    retired: Seen,
    /// VMs with vCPUs that had no exit yet, by pid, as far as the reader can look for them.
    pub unseen: Vec<Unseen>,
    /// Tables that refused places within the newest interval.
    pub crowded: Vec<Crowded>,
    /// Counts of KVM's that ours do not agree with.
    pub disagreements: Vec<Disagreement>,
}

impl Threads {
    /// Takes a place for a thread.
    pub fn add(&mut self, thread: Thread) -> usize {
        let Some(index) = self.free.pop() else {
            self.list.push(thread);
            return self.list.len() - 1;
        };
        self.replaced += 1;
        self.gone[index] = false;
        self.list[index] = thread;
        index
    }

    /// Gives the place of a thread that ended back. No interval that names it may be in use any more: a
    /// reader retires a thread at the reading after the one that told its end.
    pub fn retire(&mut self, index: usize) {
        if self.gone.len() <= index {
            self.gone.resize(index + 1, false);
        }
        debug_assert!(!self.gone[index], "{index} is retired already");
        self.gone[index] = true;
        self.free.push(index);
        self.retired.threads += 1;
        let thread = &self.list[index];
        if !self.present().any(|(_, other)| other.same_vm(thread)) {
            self.retired.vms += 1;
        }
    }

    /// Copies the list `of`, each thread passed through `change`: once for each, if `of` is always the same
    /// list and only grows.
    pub fn mirror(&mut self, of: &Self, mut change: impl FnMut(&Thread) -> Thread) {
        if self.replaced != of.replaced {
            self.list.clear();
        }
        let new = &of.list[self.list.len()..];
        self.list.extend(new.iter().map(&mut change));
        self.free.clone_from(&of.free);
        self.gone.clone_from(&of.gone);
        (self.replaced, self.retired) = (of.replaced, of.retired);
    }

    /// The revision of the list: while it is unchanged, every index keeps its meaning.
    pub fn revision(&self) -> Revision {
        Revision { len: self.list.len(), replaced: self.replaced }
    }

    /// How many there have been. A VM that has no thread for a while and then one again counts twice.
    pub fn seen(&self) -> Seen {
        let vms: HashSet<_> =
            self.present().map(|(_, thread)| (&thread.host, thread.pid, thread.origin, &thread.vm)).collect();
        Seen {
            vms: self.retired.vms + vms.len(),
            threads: self.retired.threads + self.list.len() - self.free.len(),
        }
    }

    /// The threads that are not retired, with their indices.
    pub fn present(&self) -> impl Iterator<Item = (usize, &Thread)> {
        let gone = |index: usize| self.gone.get(index).copied().unwrap_or(false);
        self.list.iter().enumerate().filter(move |(index, _)| !gone(*index))
    }
}

impl From<Vec<Thread>> for Threads {
    fn from(list: Vec<Thread>) -> Self {
        Self { list, ..Self::default() }
    }
}

impl FromIterator<Thread> for Threads {
    fn from_iter<I: IntoIterator<Item = Thread>>(threads: I) -> Self {
        Vec::from_iter(threads).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vcpus_without_exits_in_words() {
        let text = |open, seen, vcpus: &[u32]| {
            Unseen { open, seen, vcpus: vcpus.to_vec(), ..Unseen::default() }.to_string()
        };
        assert_eq!(text(2, 1, &[1]), "2 vCPUs open, 1 seen: vCPU 1 had no exit yet");
        assert_eq!(text(4, 2, &[1, 3]), "4 vCPUs open, 2 seen: vCPUs 1, 3 had no exit yet");
        assert_eq!(text(1, 0, &[]), "1 vCPU open, 0 seen");
        let many: Vec<u32> = (0..10).collect();
        assert!(text(10, 0, &many).ends_with(": vCPUs 0, 1, 2, 3, 4, 5, 6, 7 and 2 more had no exit yet"));
    }

    #[test]
    fn a_retired_place_is_used_again_and_counts_stay() {
        let thread = |pid, tid| Thread { pid, tid, ..Thread::default() };
        let mut threads = Threads::default();
        let (a, b) = (threads.add(thread(1, 11)), threads.add(thread(1, 12)));
        let before = threads.revision();
        threads.retire(a);
        assert_eq!((threads.revision(), threads.seen()), (before, Seen { vms: 1, threads: 2 }));
        threads.retire(b);
        assert_eq!(threads.seen(), Seen { vms: 1, threads: 2 });
        for pid in 2..1000 {
            let index = threads.add(thread(pid, pid));
            assert_ne!(threads.revision(), before);
            threads.retire(index);
        }
        assert_eq!(threads.list.len(), 2);
        assert_eq!(threads.seen(), Seen { vms: 999, threads: 1000 });
    }
}
