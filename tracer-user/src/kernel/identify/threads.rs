//! The threads of a VM: which vCPU they run or what else they do, and their time.

use std::{collections::HashMap, path::Path};

use crate::{
    identity::{
        Source, cgroup,
        cgroup::Part,
        process::{Schedstat, schedstat},
        text::number,
        thread::{Named, Role, named, vhost_owner},
    },
    kernel::identify::files,
};

/// Limit on the threads of a process that are looked at.
pub(super) const THREADS: usize = 8192;
/// Limit on a small file of /proc, in bytes.
pub(super) const SMALL: usize = 4096;

/// A thread of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmThread {
    /// The thread.
    pub tid: u32,
    /// Its name, not escaped. The VM's owner may have chosen it.
    pub comm: String,
    /// What it does.
    pub role: Role,
    /// The vCPU's number, and who told it.
    pub vcpu: Option<(u32, Source)>,
    /// Its time so far; [`None`] if it has ended, or if the kernel keeps none.
    pub time: Option<Schedstat>,
}

/// Numbers of vCPUs by thread, as one source tells them.
pub(super) type Numbers = HashMap<u32, u32>;

/// Who tells the numbers of vCPUs, by thread.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// KVM in debugfs.
    pub debugfs: Numbers,
    /// libvirt.
    pub xml: Numbers,
    /// Whether libvirt has put the threads into groups of their own.
    pub grouped: bool,
}

/// The threads of a process, at most [`THREADS`].
pub(super) fn tids(process: &Path) -> Vec<u32> {
    let names = files::names(&process.join("task"), THREADS).unwrap_or_default();
    let mut tids: Vec<u32> = names.iter().filter_map(|name| number(name)).collect();
    tids.sort_unstable();
    tids
}

/// Looks at a thread, by its directory; [`None`] if it has ended.
pub(super) fn look(task: &Path, tid: u32, is_first: bool, told: &Told) -> Option<(VmThread, Option<Named>)> {
    let comm = files::text(&task.join("comm"), SMALL).ok()?.trim_end_matches('\n').to_owned();
    let named = named(&comm);
    let known = [(&told.debugfs, Source::Debugfs), (&told.xml, Source::StatusXml)];
    let mut vcpu = known.into_iter().find_map(|(numbers, source)| Some((*numbers.get(&tid)?, source)));
    let mut part = None;
    if vcpu.is_none() && told.grouped {
        part = cgroup::part(&files::text(&task.join("cgroup"), SMALL).unwrap_or_default());
    }
    vcpu = vcpu.or(match part {
        Some(Part::Vcpu(number)) => Some((number, Source::Cgroup)),
        _ => None,
    });
    vcpu = vcpu.or_else(|| named?.vcpu.map(|number| (number, Source::ThreadName)));
    let role = match (vcpu, named, part) {
        (Some(_), _, _) => Role::Vcpu,
        (None, Some(named), _) => named.role,
        (None, None, Some(Part::Io)) => Role::Io,
        _ if is_first => Role::Emulator,
        _ => Role::Other,
    };
    let time = files::text(&task.join("schedstat"), SMALL).ok().and_then(|text| schedstat(&text));
    Some((VmThread { tid, comm, role, vcpu, time }, named))
}

/// vhost's threads of the kernel, by the thread of the VMM that they work for. Since Linux 6.4 they are
/// threads of the VMM (commit 6e890c5d5021); since 6.17 whoever opens the device can have it the old way
/// again.
pub(super) fn of_the_kernel(proc: &Path) -> HashMap<u32, Vec<u32>> {
    /// Bytes of a list of children: those of a host with thousands of CPUs.
    const CHILDREN: usize = 1 << 20;
    // All are children of kthreadd.
    let children = files::text(&proc.join("2/task/2/children"), CHILDREN).unwrap_or_default();
    let mut vhosts = HashMap::<_, Vec<_>>::new();
    for tid in children.split_ascii_whitespace().filter_map(number) {
        let comm = files::text(&proc.join(format!("{tid}/comm")), SMALL).unwrap_or_default();
        if let Some(owner) = vhost_owner(comm.trim_end()) {
            vhosts.entry(owner).or_default().push(tid);
        }
    }
    vhosts
}
