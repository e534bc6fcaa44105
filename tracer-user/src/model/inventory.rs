//! The VMs of a host or of a recording, and what their threads do.

use crate::{
    identity::{Source, thread::Role},
    model::VmId,
};

/// A VM.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedVm {
    /// Who it is.
    pub vm: VmId,
    /// Descriptors of its VMs in the process, where KVM's debugfs tells.
    pub vm_fds: Vec<u32>,
    /// Numbers of the vCPUs that are open; [`None`] if nobody may know.
    pub open: Option<Vec<u32>>,
    /// Numbers of the vCPUs that have a thread, or had exits.
    pub seen: Vec<u32>,
    /// How many of its threads had exits without a vCPU number.
    pub unnumbered: usize,
    /// Its threads, on a living host.
    pub threads: Vec<ListedThread>,
    /// How long rates were measured.
    pub elapsed_ns: u64,
    /// Exits in that time, by KVM's counter or by the recording.
    pub exits: Option<u64>,
    /// Exits since the VM began, by KVM's counter.
    pub exits_total: Option<u64>,
}

/// A thread of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedThread {
    /// The thread.
    pub tid: u32,
    /// Its name. Tenants may have chosen it.
    pub comm: String,
    /// What it does.
    pub role: Role,
    /// The vCPU's number, and who told it.
    pub vcpu: Option<(u32, Source)>,
    /// On CPUs, since the thread began.
    pub cpu_total_ns: Option<u64>,
    /// Runnable, waiting for a CPU, since the thread began.
    pub wait_total_ns: Option<u64>,
    /// On CPUs while rates were measured.
    pub cpu_ns: Option<u64>,
    /// Waiting for a CPU while rates were measured.
    pub wait_ns: Option<u64>,
}

impl ListedVm {
    /// Numbers of open vCPUs without a thread and without exits.
    pub fn unseen(&self) -> impl Iterator<Item = u32> {
        self.open.iter().flatten().copied().filter(|vcpu| !self.seen.contains(vcpu))
    }

    /// How many vCPUs it has, as far as is known.
    pub fn vcpus(&self) -> usize {
        self.open.as_ref().map_or(self.seen.len() + self.unnumbered, Vec::len)
    }

    /// Time of the threads with this role, or of all, while rates were measured: on CPUs, and waiting for
    /// one. [`None`] where it is not known of any.
    pub fn times(&self, role: Option<Role>) -> Option<(u64, u64)> {
        let threads = self.threads.iter().filter(|thread| role.is_none_or(|role| thread.role == role));
        let times = threads.filter_map(|thread| thread.cpu_ns.zip(thread.wait_ns));
        times.reduce(|(cpu, wait), (more_cpu, more_wait)| {
            (cpu.saturating_add(more_cpu), wait.saturating_add(more_wait))
        })
    }

    /// The roles of its threads, in the order of [`Role`], with the number of threads.
    pub fn roles(&self) -> Vec<(Role, usize)> {
        let mut roles: Vec<_> = self.threads.iter().map(|thread| thread.role).collect();
        roles.sort_unstable();
        roles.chunk_by(|one, other| one == other).map(|alike| (alike[0], alike.len())).collect()
    }

    /// Exits per second.
    pub fn exits_per_s(&self) -> Option<f64> {
        self.exits.filter(|_| self.elapsed_ns != 0).map(|exits| exits as f64 * 1e9 / self.elapsed_ns as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostId;

    #[test]
    fn threads_are_summed_by_role() {
        let thread = |tid, role, cpu_ns| ListedThread {
            tid,
            comm: String::new(),
            role,
            vcpu: None,
            cpu_total_ns: None,
            wait_total_ns: None,
            cpu_ns,
            wait_ns: cpu_ns.map(|ns: u64| ns / 10),
        };
        let vm = ListedVm {
            vm: VmId::ended(HostId::default()),
            vm_fds: Vec::new(),
            open: Some(vec![0, 1, 5]),
            seen: vec![0, 5],
            unnumbered: 0,
            threads: vec![
                thread(1, Role::Emulator, Some(100)),
                thread(2, Role::Vcpu, Some(1000)),
                thread(3, Role::Vcpu, Some(2000)),
                thread(4, Role::Vcpu, None),
            ],
            elapsed_ns: 500_000_000,
            exits: Some(50),
            exits_total: None,
        };
        assert_eq!(vm.times(Some(Role::Vcpu)), Some((3000, 300)));
        assert_eq!(vm.times(None), Some((3100, 310)));
        assert_eq!(vm.times(Some(Role::Io)), None);
        assert_eq!(vm.roles(), [(Role::Vcpu, 3), (Role::Emulator, 1)]);
        assert_eq!(vm.unseen().collect::<Vec<_>>(), [1]);
        assert_eq!(vm.exits_per_s(), Some(100.0));
    }
}
