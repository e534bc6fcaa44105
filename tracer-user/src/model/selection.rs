//! Which hosts, VMs, vCPUs and reasons are looked at.

use regex::Regex;

use crate::{
    decode::{Isa, decode},
    model::{CounterId, NameList, NamedInterval, OpenExit, Thread, ThreadId, VmId},
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
    /// VMs by name, beside those of `pids`.
    pub guests: Vec<NameList>,
    /// Matched against the reason's label, and the names of counters.
    pub fields: Option<Regex>,
}

impl Selection {
    /// Whether names mean the same whatever VMs and hosts there are; see [`NameList`].
    pub fn is_settled(&self) -> bool {
        self.hosts.iter().chain(&self.guests).all(NameList::is_settled)
    }

    /// Notes that the VM and host of this thread exist.
    pub fn notice(&mut self, thread: &Thread) {
        self.guests.iter_mut().for_each(|wanted| wanted.notice(&thread.vm));
        thread.host.iter().for_each(|host| self.notice_host(host));
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
        let named = |wanted: &NameList| wanted.matches(&thread.vm);
        let any_vm = self.pids.is_empty() && self.guests.is_empty();
        (any_vm || self.pids.contains(&thread.pid) || self.guests.iter().any(named))
            && (self.vcpus.is_empty() || thread.vcpu.is_some_and(|vcpu| self.vcpus.contains(&vcpu)))
    }

    /// Whether this thread is looked at, and its host. VMs that ended and are no longer told apart are no VM
    /// that was asked for by pid or name.
    pub fn wants(&self, id: &ThreadId) -> bool {
        let ThreadId { vm: VmId { host, pid, name }, vcpu, tid: _ } = id;
        let named =
            |pid: &u32| self.pids.contains(pid) || self.guests.iter().any(|wanted| wanted.matches(name));
        let any_vm = self.pids.is_empty() && self.guests.is_empty();
        (any_vm || pid.as_ref().is_some_and(named))
            && (self.vcpus.is_empty() || vcpu.is_some_and(|vcpu| self.vcpus.contains(&vcpu)))
            && self.wants_host(host.name())
    }

    /// Whether this open exit is looked at.
    pub fn wants_open(&self, open: &OpenExit, of: NamedInterval<'_>) -> bool {
        self.wants_thread(of.thread(open.thread)) && self.wants_reason(open.isa, open.code)
    }

    /// Whether this counter is looked at, whatever its host. One of a whole VM is, whatever vCPUs were
    /// chosen.
    pub fn wants_counter(&self, id: &CounterId) -> bool {
        let named = |wanted: &NameList| wanted.matches(&id.vm);
        let any_vm = self.pids.is_empty() && self.guests.is_empty();
        (any_vm || self.pids.contains(&id.pid) || self.guests.iter().any(named))
            && (self.vcpus.is_empty() || id.vcpu.is_none_or(|vcpu| self.vcpus.contains(&vcpu)))
            && self.fields.as_ref().is_none_or(|regex| regex.is_match(&id.name))
    }

    /// Whether exits of this reason are looked at.
    pub fn wants_reason(&self, isa: Isa, code: u32) -> bool {
        self.fields.as_ref().is_none_or(|regex| regex.is_match(&decode(isa, code).to_string()))
    }
}
