//! Who was measured: hosts, VMs and vCPU threads. One order and one label for each.

use std::{fmt, sync::Arc};

/// The name of the VMs that ended and whose rows were joined. The number of them is told beside it.
pub const ENDED_VMS: &str = "VMs that ended";

/// A host, where several are told apart; else no name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(Option<Arc<str>>);

impl HostId {
    /// The host of this name; [`None`] where hosts are not told apart.
    pub fn new(name: Option<&str>) -> Self {
        Self(name.map(Arc::from))
    }

    /// Its name, where hosts are told apart.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// A VM. The pid alone does not tell: the kernel gives it to another process later, and two hosts may share
/// it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId {
    /// Where it ran.
    pub host: HostId,
    /// Its process; [`None`] for [`ENDED_VMS`], which are many.
    pub pid: Option<u32>,
    /// The guest's name, else that of the process.
    pub name: Arc<str>,
}

impl VmId {
    /// All VMs of a host that ended and are no longer told apart.
    pub fn ended(host: HostId) -> Self {
        Self { host, pid: None, name: ENDED_VMS.into() }
    }
}

/// `name[pid]`, without the host. Names come from tenants: escape it for the place where it is shown.
impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{}[{pid}]", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A vCPU thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId {
    /// Its VM.
    pub vm: VmId,
    /// The kernel's vCPU number, where the events carry it.
    pub vcpu: Option<u32>,
    /// The thread; [`None`] for all threads of VMs that ended, and for those of this vCPU that ended in a VM
    /// which runs on.
    pub tid: Option<u32>,
}

/// The vCPU as people write it: its number, else its thread.
impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.vcpu, self.tid) {
            (Some(vcpu), None) if self.vm.pid.is_some() => write!(f, "{vcpu} (ended)"),
            (Some(vcpu), _) => write!(f, "{vcpu}"),
            (None, Some(tid)) => write!(f, "tid {tid}"),
            (None, None) => f.write_str(if self.vm.pid.is_some() { "(ended)" } else { "-" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let vm = VmId { host: HostId::default(), pid: Some(7), name: "web".into() };
        assert_eq!(vm.to_string(), "web[7]");
        assert_eq!(VmId::ended(HostId::new(Some("a"))).to_string(), "VMs that ended");
        let thread = |vcpu, tid| ThreadId { vm: vm.clone(), vcpu, tid }.to_string();
        assert_eq!(
            [thread(Some(3), Some(9)), thread(None, Some(9)), thread(Some(3), None), thread(None, None)],
            ["3", "tid 9", "3 (ended)", "(ended)"]
        );
        let ended = |vcpu| ThreadId { vm: VmId::ended(HostId::default()), vcpu, tid: None }.to_string();
        assert_eq!([ended(Some(3)), ended(None)], ["3", "-"]);
    }
}
