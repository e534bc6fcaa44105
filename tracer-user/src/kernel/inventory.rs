//! The VMs that run on this host: two looks, and what changed between them.

use std::{collections::HashMap, fs, path::Path};

use crate::{
    identity::process::Schedstat,
    kernel::{
        host,
        identify::{Roots, VmProcess},
        vms,
    },
    model::{HostId, ListedThread, ListedVm, Origin, VmId},
};

/// One look at all VMs.
#[derive(Debug)]
pub struct Look {
    /// Each with the time at which it was looked at.
    vms: Vec<(u64, VmProcess)>,
    /// KVM's count of exits, by process.
    exits: HashMap<u32, u64>,
}

impl Look {
    /// Looks at all processes that have a VM open, as far as this user may see them.
    pub fn now() -> Self {
        let debugfs = Roots::below(Path::new("/")).debugfs.join("kvm");
        let look = vms::this_host();
        let vms: Vec<_> =
            vms::running(&look).filter_map(|pid| Some((host::monotonic_ns(), look.identify(pid)?))).collect();
        // Absent without debugfs, or before a VM has run.
        let count = |vm: &VmProcess| -> Option<u64> {
            let counts = vm.vm_dirs.iter().map(|dir| {
                let text = fs::read_to_string(debugfs.join(dir).join("exits")).ok()?;
                text.trim().parse::<u64>().ok()
            });
            counts.collect::<Option<Vec<_>>>().filter(|counts| !counts.is_empty()).map(|it| it.iter().sum())
        };
        let exits = vms.iter().filter_map(|(_, vm)| Some((vm.pid, count(vm)?))).collect();
        Self { vms, exits }
    }

    /// The VMs of this look, with what changed since an earlier one.
    pub fn since(self, before: &Self) -> Vec<ListedVm> {
        let mut listed: Vec<_> = self
            .vms
            .into_iter()
            .map(|(at_ns, vm)| {
                let same =
                    |(_, old): &&(u64, VmProcess)| (old.pid, old.start_ticks) == (vm.pid, vm.start_ticks);
                let old = before.vms.iter().find(same);
                let elapsed_ns = old.map_or(0, |(before_ns, _)| at_ns.saturating_sub(*before_ns));
                let old = old.map(|(_, old)| old);
                let exits_total = self.exits.get(&vm.pid).copied();
                let exits = exits_total
                    .zip(before.exits.get(&vm.pid).filter(|_| old.is_some()))
                    .and_then(|(now, before)| now.checked_sub(*before));
                list(vm, old, elapsed_ns, exits, exits_total)
            })
            .collect();
        listed.sort_by(|one, other| one.vm.name.cmp(&other.vm.name).then(one.vm.cmp(&other.vm)));
        listed
    }
}

fn list(
    vm: VmProcess,
    old: Option<&VmProcess>,
    elapsed_ns: u64,
    exits: Option<u64>,
    exits_total: Option<u64>,
) -> ListedVm {
    let before: HashMap<u32, Schedstat> = old
        .iter()
        .flat_map(|old| &old.threads)
        .filter_map(|thread| Some((thread.tid, thread.time?)))
        .collect();
    let may_see = !vm.vcpus.is_empty();
    let threads: Vec<_> = vm
        .threads
        .into_iter()
        .map(|thread| {
            let old = before.get(&thread.tid);
            let gain = |of: fn(&Schedstat) -> u64| {
                thread.time.zip(old).and_then(|(now, old)| of(&now).checked_sub(of(old)))
            };
            ListedThread {
                cpu_ns: gain(|time| time.cpu_ns),
                wait_ns: gain(|time| time.wait_ns),
                cpu_total_ns: thread.time.map(|time| time.cpu_ns),
                wait_total_ns: thread.time.map(|time| time.wait_ns),
                tid: thread.tid,
                comm: thread.comm,
                role: thread.role,
                vcpu: thread.vcpu,
            }
        })
        .collect();
    let mut seen: Vec<u32> = threads.iter().filter_map(|thread| Some(thread.vcpu?.0)).collect();
    seen.sort_unstable();
    seen.dedup();
    let name = vm.identity.name().into_owned().into();
    let origin = Origin { start_unix_ms: vm.start_unix_ms, number: 0 };
    ListedVm {
        vm: VmId { host: HostId::default(), pid: Some(vm.pid), origin, name, known: vm.identity.into() },
        vm_fds: vm.vm_fds,
        open: may_see.then_some(vm.vcpus),
        seen,
        unnumbered: 0,
        threads,
        elapsed_ns,
        exits,
        exits_total,
    }
}
