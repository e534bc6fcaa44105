//! Reads the counter of the self-check before and after a reading of the maps: two files of each VM.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use super::{
    Counters,
    debugfs::{self, Said, VmDir},
};
use crate::model::self_check::{COMPARABLE, Look};

/// Limit on the files that are read before a reading, and again after it; a process with more VMs than that
/// is not compared. With more VMs processes take turns.
const FILES: usize = 512;

/// KVM's counts before a reading of the maps.
#[derive(Debug)]
pub struct Before {
    kvm: PathBuf,
    looks: Vec<(Vec<VmDir>, Look)>,
    /// The processes that have VMs.
    pub living: HashSet<u32>,
}

impl Counters {
    /// Reads KVM's counts before a reading of the maps, of VMs that the last look at counters has found.
    pub fn before(&mut self) -> Option<Before> {
        debugfs::find().ok().map(|kvm| self.before_at(kvm))
    }

    /// The same with KVM's directory at a place.
    pub(super) fn before_at(&mut self, kvm: PathBuf) -> Before {
        let mut processes: BTreeMap<u32, (&str, Vec<VmDir>)> = BTreeMap::new();
        for (dir, vm) in &self.vms {
            let Some(name) = &vm.name else { continue };
            processes.entry(vm.pid).or_insert((name, Vec::new())).1.push(*dir);
        }
        let living = processes.keys().copied().collect();
        let (mut looks, mut files) = (Vec::new(), 0);
        let start = self.checked;
        let turns = processes.range(start + 1..).chain(processes.range(..=start));
        for (&pid, (name, dirs)) in turns.filter(|(_, (_, dirs))| dirs.len() <= FILES) {
            files += dirs.len();
            if files > FILES {
                break;
            }
            self.checked = pid;
            let Some(before) = sum(&kvm, dirs) else { continue };
            let sources = dirs.iter().map(|dir| (dir.tid, dir.fd)).collect();
            let look = Look { pid, vm: (*name).to_owned(), sources, before, after: before };
            looks.push((dirs.clone(), look));
        }
        Before { kvm, looks, living }
    }
}

impl Before {
    /// Reads KVM's counts after it. A VM that ended in between has none.
    pub fn after(self) -> Vec<Look> {
        let Self { kvm, looks, .. } = self;
        let of = |(dirs, look): (Vec<VmDir>, Look)| Some(Look { after: sum(&kvm, &dirs)?, ..look });
        looks.into_iter().filter_map(of).collect()
    }
}

/// KVM's count of all of a process's VMs; [`None`] if one of them cannot be read.
fn sum(kvm: &Path, dirs: &[VmDir]) -> Option<u64> {
    let of = |dir: &VmDir| match debugfs::read(&dir.path(kvm).join(COMPARABLE.name), COMPARABLE.name) {
        Ok(Said::Number(number)) => u64::try_from(number).ok(),
        _ => None,
    };
    dirs.iter().map(of).try_fold(0u64, |sum, count| sum.checked_add(count?))
}
