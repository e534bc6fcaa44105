//! Which hosts, VMs, vCPUs and reasons are looked at.

use std::collections::HashMap;

use regex::Regex;

use crate::{
    decode::{Isa, decode},
    model::{CounterId, HostId, Known, NameList, NamedInterval, OpenExit, Thread, ThreadId, VmId, VmList},
};

/// Which cells are looked at.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// vCPU numbers; empty for all.
    pub vcpus: Vec<u32>,
    /// Processes; empty for all.
    pub pids: Vec<u32>,
    /// Hosts; empty for all. Intervals of other hosts are not looked at.
    pub hosts: Vec<NameList>,
    /// VMs by what is known about them, beside those of `pids`.
    pub guests: Vec<VmList>,
    /// Matched against the reason's label, and the names of counters.
    pub fields: Option<Regex>,
    /// What is known about the VMs that were noticed, by host and process.
    pub noticed: HashMap<(HostId, u32), Vec<Known>>,
}

impl Selection {
    /// Whether names mean the same whatever VMs and hosts there are; see [`NameList`].
    pub fn is_settled(&self) -> bool {
        // A VM may have other names than the one that its counters have.
        self.hosts.iter().all(NameList::is_settled) && self.guests.is_empty()
    }

    /// Notes that the VM and host of this thread exist.
    pub fn notice(&mut self, thread: &Thread) {
        let known = thread.known();
        self.guests.iter_mut().for_each(|wanted| wanted.notice(&known));
        if !self.guests.is_empty() {
            // Counters may be asked for with their host or without.
            for host in [HostId::new(thread.host.as_deref()), HostId::default()] {
                let of_process = self.noticed.entry((host, thread.pid)).or_default();
                if !of_process.iter().any(|other| **other == *known) {
                    of_process.push(known.clone());
                }
            }
        }
        thread.host.iter().for_each(|host| self.notice_host(host));
    }

    /// Notes that a VM exists.
    pub fn notice_vm(&mut self, vm: &VmId) {
        self.guests.iter_mut().for_each(|wanted| wanted.notice(&vm.known));
    }

    /// Notes that a host of this name exists.
    pub fn notice_host(&mut self, host: &str) {
        self.hosts.iter_mut().for_each(|wanted| wanted.notice(host));
    }

    /// Whether intervals of this host are looked at.
    pub fn wants_host(&self, host: Option<&str>) -> bool {
        self.hosts.is_empty() || host.is_some_and(|host| self.hosts.iter().any(|wanted| wanted.matches(host)))
    }

    /// Whether this thread is looked at, whatever its host.
    pub fn wants_thread(&self, thread: &Thread) -> bool {
        let known = thread.known();
        let named = |wanted: &VmList| wanted.matches(&known);
        let any_vm = self.pids.is_empty() && self.guests.is_empty();
        (any_vm || self.pids.contains(&thread.pid) || self.guests.iter().any(named))
            && (self.vcpus.is_empty() || thread.vcpu.is_some_and(|vcpu| self.vcpus.contains(&vcpu)))
    }

    /// Whether this thread is looked at, and its host. VMs that ended and are no longer told apart are no VM
    /// that was asked for by pid or name.
    pub fn wants(&self, id: &ThreadId) -> bool {
        let ThreadId { vm, vcpu, tid: _ } = id;
        self.wants_vm(vm) && (self.vcpus.is_empty() || vcpu.is_some_and(|vcpu| self.vcpus.contains(&vcpu)))
    }

    /// Whether this VM is looked at, and its host; see [`Selection::wants`].
    pub fn wants_vm(&self, vm: &VmId) -> bool {
        let VmId { host, pid, known, .. } = vm;
        let named =
            |pid: &u32| self.pids.contains(pid) || self.guests.iter().any(|wanted| wanted.matches(known));
        let any_vm = self.pids.is_empty() && self.guests.is_empty();
        (any_vm || pid.as_ref().is_some_and(named)) && self.wants_host(host.name())
    }

    /// Whether this open exit is looked at.
    pub fn wants_open(&self, open: &OpenExit, of: NamedInterval<'_>) -> bool {
        self.wants_thread(of.thread(open.thread)) && self.wants_reason(open.isa, open.code)
    }

    /// Whether this counter is looked at, whatever its host. One of a whole VM is, whatever vCPUs were
    /// chosen.
    pub fn wants_counter(&self, host: &HostId, id: &CounterId) -> bool {
        let by_name = Known::name(&id.vm);
        // A counter has the VM's name only: what else is known was noticed with the VM's threads.
        let noticed = self.noticed.get(&(host.clone(), id.pid)).into_iter().flatten();
        let mut known = noticed.chain([&by_name]);
        let any_vm = self.pids.is_empty() && self.guests.is_empty();
        (any_vm
            || self.pids.contains(&id.pid)
            || known.any(|known| self.guests.iter().any(|wanted| wanted.matches(known))))
            && (self.vcpus.is_empty() || id.vcpu.is_none_or(|vcpu| self.vcpus.contains(&vcpu)))
            && self.fields.as_ref().is_none_or(|regex| regex.is_match(&id.name))
    }

    /// Whether exits of this reason are looked at.
    pub fn wants_reason(&self, isa: Isa, code: u32) -> bool {
        self.fields.as_ref().is_none_or(|regex| regex.is_match(&decode(isa, code).to_string()))
    }
}
