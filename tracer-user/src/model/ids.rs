//! Who was measured: hosts, VMs and vCPU threads. One order and one label for each.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use crate::identity::{Identity, Kind, Source};

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

/// Which VM of a process number: the kernel gives the number to another process later, and a process may
/// have several VMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// When the process started, where that is known.
    pub start_unix_ms: Option<u64>,
    /// Its place among the VMs of the process, in the order of their first exits; the first is 0. Where
    /// events do not tell the VMs of a process apart, they are one.
    pub number: u32,
}

/// What is known about a VM. It goes with the VM and does not tell it from another: all are equal.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Identity>);

impl Known {
    /// A VM of which no more is known than its name.
    pub fn name(name: &str) -> Self {
        let mut identity = Identity::default();
        identity.offer(Kind::Name, Source::Comm, name);
        Self(Arc::new(identity))
    }
}

impl From<Identity> for Known {
    fn from(identity: Identity) -> Self {
        Self(Arc::new(identity))
    }
}

impl Deref for Known {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.0
    }
}

impl PartialEq for Known {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Known {}

impl PartialOrd for Known {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Known {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl Hash for Known {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A VM. The pid alone does not tell, see [`Origin`]; and two hosts may share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId {
    /// Where it ran.
    pub host: HostId,
    /// Its process; [`None`] for [`ENDED_VMS`], which are many.
    pub pid: Option<u32>,
    /// Which VM of that number.
    pub origin: Origin,
    /// The guest's name, else that of the process.
    pub name: Arc<str>,
    /// What else is known about it.
    pub known: Known,
}

impl VmId {
    /// All VMs of a host that ended and are no longer told apart.
    pub fn ended(host: HostId) -> Self {
        Self { host, pid: None, origin: Origin::default(), name: ENDED_VMS.into(), known: Known::default() }
    }

    /// Tells VMs of a host and of a recording apart: `PID-START`, with the start in ms of Unix time where it
    /// is known, and `.N` for a further VM of the process. [`None`] for VMs that ended and are one.
    pub fn key(&self) -> Option<String> {
        let mut key = self.pid?.to_string();
        let Origin { start_unix_ms, number } = self.origin;
        if let Some(start_unix_ms) = start_unix_ms {
            key.push_str(&format!("-{start_unix_ms}"));
        }
        if number != 0 {
            key.push_str(&format!(".{number}"));
        }
        Some(key)
    }
}

/// `name[pid]`, without the host. Names come from tenants: escape it for the place where it is shown.
impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.write_process(f)
    }
}

impl VmId {
    /// Writes what stands behind the name: the process in brackets, with `.N` for a further VM of it.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write_process(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match (self.pid, self.origin.number) {
            (Some(pid), 0) => write!(out, "[{pid}]"),
            (Some(pid), number) => write!(out, "[{pid}.{number}]"),
            (None, _) => Ok(()),
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
        let vm = VmId { pid: Some(7), name: "web".into(), ..VmId::ended(HostId::default()) };
        assert_eq!(vm.to_string(), "web[7]");
        assert_eq!(vm.key().unwrap(), "7");
        let second = VmId { origin: Origin { start_unix_ms: Some(99), number: 1 }, ..vm.clone() };
        assert_eq!((second.to_string(), second.key().unwrap()), ("web[7.1]".into(), "7-99.1".into()));
        assert_eq!(VmId::ended(HostId::default()).key(), None);
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
