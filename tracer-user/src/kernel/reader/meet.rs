//! Whose vCPU an entry is: its thread, its VM and what is known about that.

use tracer_ebpf::abi::{Vcpu, state};

use super::{Owner, Reader};
use crate::{
    kernel::vms::{self, Told},
    model::{Known, Thread},
    snapshot::{self, accounting::Times},
};

impl Reader {
    /// The thread of a vCPU entry, a new one if the entry has a new owner.
    pub(super) fn meet(&mut self, index: usize) -> usize {
        let (_, generation) = self.vcpus.state(index);
        if self.owners[index].generation != generation {
            let vcpu = self.vcpus.copy(index);
            let told = self.told_of(&vcpu);
            let origin = self.origins.of(vcpu.pid, told.start_unix_ms, vcpu.kvm);
            let mut thread = Thread { origin, known: told.known, ..snapshot::thread(&vcpu, told.name) };
            if thread.vcpu.is_none() && self.pids_fit {
                thread.vcpu = vms::vcpu_of(vcpu.pid, vcpu.tid);
            }
            self.owners[index] = Owner {
                generation,
                pid: vcpu.pid,
                thread: self.threads.add(thread),
                lost: Default::default(),
                times: Times { until_ns: vcpu.first_ns, ..Times::default() },
                gone: false,
                skipped: false,
            };
        }
        self.owners[index].thread
    }

    /// The VM, from the first source that knows it: a live vCPU of the process, since pids are reused;
    /// the process, or the thread if the first thread of the process has ended; an ended vCPU of the process;
    /// the name of the thread as the kernel noted it.
    fn told_of(&self, vcpu: &Vcpu) -> Told {
        // One that has ended was met at this same look, or it would be gone.
        let sibling = |has_ended: bool| {
            let known = self.owners.iter().enumerate().filter(|(_, owner)| owner.generation != 0);
            let mut siblings = known.map(|(index, owner)| (index, &self.threads.list[owner.thread]));
            let (_, thread) = siblings.find(|(index, thread)| {
                thread.pid == vcpu.pid && (has_ended || self.vcpus.state(*index).0 == state::LIVE)
            })?;
            let start_unix_ms = thread.origin.start_unix_ms;
            Some(Told { name: thread.vm.clone(), start_unix_ms, known: thread.known.clone() })
        };
        let thread = || {
            let comm = vcpu.comm.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(comm).into_owned();
            Told { known: Known::name(&name), name, start_unix_ms: None }
        };
        let told = || self.asked(vcpu.pid).or_else(|| self.asked(vcpu.tid));
        sibling(false).or_else(told).or_else(|| sibling(true)).unwrap_or_else(thread)
    }

    /// What a process or thread says of its VM. In a pid namespace nobody is asked: the kernel's pids
    /// are not those of /proc.
    pub(super) fn asked(&self, id: u32) -> Option<Told> {
        if self.pids_fit { vms::ask(id) } else { None }
    }
}
