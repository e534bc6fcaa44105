//! Reads KVM's own counters: those of VMs from debugfs, those of vCPUs also from descriptors that VMMs hold.
//!
//! **What a look costs.** A file is opened, read and closed, which is three system calls; a VM has some
//! sixty. [`PER_SECOND`] bounds the files, by turns: on a host with many VMs each look reads some of them.
//! Nothing stays open between looks. What cannot be read is told once, and never fails a trace.

mod check;
mod debugfs;
mod held;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Display,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::check::Before;
use self::{
    debugfs::{Said, VmDir},
    held::{Held, Process},
};
use crate::{
    decode::counters::{Kind, Unit, binary::Statistic, meaning},
    model::{Counter, CounterId},
};

/// Files that are read in a second, and at once at most: those of sixty VMs.
const PER_SECOND: i64 = 4096;
/// A process's descriptors, and a VM whose name was not wanted, are looked at again after this many looks at
/// it.
const SELDOM: u32 = 16;
/// Descriptors of a process that are charged at most.
const MOST_CHARGED: usize = 512;

/// Whose counters are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Of VMs.
    Vm,
    /// Also those of each vCPU.
    Vcpu,
}

/// What is known of the processes that have VMs.
pub trait Host {
    /// The process of the VM that this thread made, by the number of its descriptor then.
    fn process(&self, tid: u32, fd: u32) -> Option<u32>;

    /// The name of a process's VM; [`None`] if its counters are not wanted.
    fn name(&self, pid: u32) -> Option<String>;

    /// The processes that have VMs.
    fn processes(&self) -> Vec<u32>;
}

/// A VM's counters so far.
#[derive(Debug, Default)]
struct Vm {
    pid: u32,
    /// [`None`] if its counters are not wanted.
    name: Option<String>,
    looks: u32,
    /// When it was read last.
    read_ns: Option<u64>,
    counters: HashMap<(Option<u32>, String), Last>,
    held: Vec<Held>,
}

/// The last reading of a counter.
#[derive(Debug)]
struct Last {
    id: Arc<CounterId>,
    value: Option<i128>,
    /// The look at its VM in which it was read.
    look: u32,
}

/// Reads counters.
#[derive(Debug)]
pub struct Counters {
    detail: Detail,
    vms: BTreeMap<VmDir, Vm>,
    /// By process, where debugfs does not tell of VMs.
    processes: BTreeMap<u32, Vm>,
    /// The VM that was read last: the next look begins behind it.
    turn: Option<VmDir>,
    /// The process that was read last, where debugfs tells nothing.
    process_turn: u32,
    /// The process that the self-check looked at last.
    checked: u32,
    /// Files that may be read; below zero if the last VM had more.
    credit: i64,
    credited_ns: u64,
    /// Files of unknown names that hold no number.
    odd: HashSet<String>,
    /// Why not everything can be read, until it was told.
    why: Option<String>,
    told: HashSet<&'static str>,
}

impl Counters {
    /// Nothing was read yet.
    pub fn new(detail: Detail) -> Self {
        Self {
            detail,
            vms: BTreeMap::new(),
            processes: BTreeMap::new(),
            turn: None,
            process_turn: 0,
            checked: 0,
            credit: PER_SECOND,
            credited_ns: 0,
            odd: HashSet::new(),
            why: None,
            told: HashSet::new(),
        }
    }

    /// Appends the counters of as many VMs as may be read at `now_ns`.
    pub fn look(&mut self, now_ns: u64, host: &impl Host, out: &mut Vec<Counter>) {
        self.earn(now_ns);
        match debugfs::find() {
            Ok(kvm) => self.look_at_debugfs(&kvm, now_ns, host, out),
            Err(why) => {
                self.complain("VMs", why);
                self.look_at_processes(now_ns, host, out);
            }
        }
    }

    /// Adds the files that may be read since the last look.
    fn earn(&mut self, now_ns: u64) {
        let earned =
            i128::from(now_ns.saturating_sub(self.credited_ns)) * i128::from(PER_SECOND) / 1_000_000_000;
        self.credited_ns = now_ns;
        self.credit = self.credit.saturating_add(earned as i64).min(PER_SECOND);
    }

    /// What cannot be read and why, if that has not been told.
    pub fn complaint(&mut self) -> Option<String> {
        self.why.take()
    }

    /// Takes down whose counters are missing, once for each of these.
    fn complain(&mut self, whose: &'static str, why: impl Display) {
        if self.told.insert(whose) {
            self.why = Some(format!("KVM's own counters of {whose} are missing: {why}"));
        }
    }

    fn look_at_debugfs(&mut self, kvm: &Path, now_ns: u64, host: &impl Host, out: &mut Vec<Counter>) {
        let dirs = match debugfs::vms(kvm) {
            Ok(dirs) => dirs,
            Err(error) => return self.complain("VMs", debugfs::cannot_read(kvm, &error)),
        };
        let living: HashSet<_> = dirs.iter().copied().collect();
        self.vms.retain(|dir, _| living.contains(dir));
        // All of them before any is read: a process may have several.
        for dir in &dirs {
            let vm = self.vms.entry(*dir).or_default();
            // A process may not have its name yet, and is asked for it now and then.
            if vm.name.is_none() && vm.looks.is_multiple_of(SELDOM) {
                vm.pid = host.process(dir.tid, dir.fd).unwrap_or(0);
                vm.name = (vm.pid != 0).then(|| host.name(vm.pid)).flatten();
            }
        }
        let start = self.turn.map_or(0, |last| dirs.partition_point(|dir| *dir <= last));
        for dir in dirs[start..].iter().chain(&dirs[..start]).copied() {
            if self.credit <= 0 {
                return;
            }
            self.turn = Some(dir);
            let mut vm = self.vms.remove(&dir).unwrap_or_default();
            if vm.name.is_some() {
                self.read_dir(&dir.path(kvm), dir.fd, &mut vm, now_ns, out);
            }
            vm.looks = vm.looks.wrapping_add(1);
            self.vms.insert(dir, vm);
        }
    }

    fn read_dir(&mut self, path: &Path, fd: u32, vm: &mut Vm, now_ns: u64, out: &mut Vec<Counter>) {
        let (files, vcpus) = debugfs::list(path);
        let vcpus = if self.detail == Detail::Vcpu { vcpus } else { Vec::new() };
        let over_ns = vm.over(now_ns);
        let of_vm = files.into_iter().map(|file| (None, path.join(&file), file));
        let of_vcpu = |(vcpu, path): (u32, PathBuf)| {
            let files = debugfs::list(&path).0.into_iter();
            files.map(move |file| (Some(vcpu), path.join(&file), file))
        };
        for (vcpu, path, file) in of_vm.chain(vcpus.into_iter().flat_map(of_vcpu)) {
            let Some(value) = self.read_file(&path, &file) else { continue };
            let (kind, unit) = meaning(&file);
            out.push(vm.reading(Some(fd), vcpu, file, (kind, unit, 0), value, over_ns));
        }
        if self.detail == Detail::Vcpu {
            self.read_held(vm, Some(fd), over_ns, out);
        }
    }

    /// The number of a file; an outer [`None`] if it is gone, an inner one if it has not got one.
    fn read_file(&mut self, path: &Path, file: &str) -> Option<Option<i128>> {
        if self.odd.contains(file) {
            return Some(None);
        }
        match debugfs::read(path, file) {
            Ok(said) => {
                self.credit -= i64::from(said != Said::Unread);
                if said == Said::Other && self.odd.len() < 1024 {
                    self.odd.insert(file.to_owned());
                }
                Some(if let Said::Number(number) = said { Some(number) } else { None })
            }
            Err(error) => {
                self.credit -= 1;
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.complain("VMs", debugfs::cannot_read(path.parent().unwrap_or(path), &error));
                }
                None
            }
        }
    }

    /// Without debugfs the VMs are those of the census.
    fn look_at_processes(&mut self, now_ns: u64, host: &impl Host, out: &mut Vec<Counter>) {
        let mut processes = host.processes();
        processes.sort_unstable();
        let living: HashSet<u32> = processes.iter().copied().collect();
        self.processes.retain(|pid, _| living.contains(pid));
        let start = processes.partition_point(|pid| *pid <= self.process_turn);
        for pid in processes[start..].iter().chain(&processes[..start]).copied() {
            if self.credit <= 0 {
                return;
            }
            self.process_turn = pid;
            let mut vm = self.processes.remove(&pid).unwrap_or_default();
            vm.pid = pid;
            if vm.name.is_none() && vm.looks.is_multiple_of(SELDOM) {
                vm.name = host.name(pid);
            }
            if vm.name.is_some() {
                let over_ns = vm.over(now_ns);
                self.read_held(&mut vm, None, over_ns, out);
            }
            vm.looks = vm.looks.wrapping_add(1);
            self.processes.insert(pid, vm);
        }
    }

    /// Reads the descriptors that a VM's process holds. They do not tell of which VM they are, if it has
    /// several.
    fn read_held(&mut self, vm: &mut Vm, fd: Option<u32>, over_ns: u64, out: &mut Vec<Counter>) {
        // The VM itself is not among them while it is read.
        if self.vms.values().any(|other| other.pid == vm.pid) {
            return;
        }
        if vm.looks.is_multiple_of(SELDOM) {
            let (held, looked) = held::of_process(vm.pid);
            vm.held = held;
            // A process may have very many: others are to be read too.
            self.credit -= looked.min(MOST_CHARGED) as i64;
        }
        if vm.held.is_empty() {
            return;
        }
        let Ok(process) = Process::open(vm.pid) else { return };
        for held in vm.held.clone() {
            self.credit -= 1;
            let statistics = match process.read(held) {
                Ok(statistics) => statistics,
                Err(error) => {
                    if error.kind() == io::ErrorKind::PermissionDenied {
                        let why = "descriptors that VMMs hold cannot be copied; run as root, or with CAP_SYS_PTRACE";
                        self.complain("vCPUs", why);
                    }
                    continue;
                }
            };
            for Statistic { name, kind, unit, bucket_size, values } in statistics {
                // What debugfs told of the VM in this look is the same.
                if vm.was_read(held.vcpu, &name) && !kind.is_hist() {
                    continue;
                }
                let meaning = (kind, unit, bucket_size);
                let value = values.first().filter(|_| !kind.is_hist()).copied().map(i128::from);
                let mut counter = vm.reading(fd, held.vcpu, name, meaning, value, over_ns);
                counter.buckets = if kind.is_hist() { values } else { Vec::new() };
                out.push(counter);
            }
        }
    }
}

impl Vm {
    /// The time since the last reading; 0 if there was none.
    fn over(&mut self, now_ns: u64) -> u64 {
        self.read_ns.replace(now_ns).map_or(0, |before_ns| now_ns.saturating_sub(before_ns))
    }

    fn was_read(&self, vcpu: Option<u32>, name: &str) -> bool {
        let last = self.counters.get(&(vcpu, name.to_owned()));
        last.is_some_and(|last| last.look == self.looks)
    }

    fn reading(
        &mut self,
        vm_fd: Option<u32>,
        vcpu: Option<u32>,
        name: String,
        (kind, unit, bucket_size): (Kind, Unit, u32),
        value: Option<i128>,
        over_ns: u64,
    ) -> Counter {
        let (pid, vm, look) = (self.pid, &self.name, self.looks);
        let last = self.counters.entry((vcpu, name)).or_insert_with_key(|(_, name)| {
            let (vm, name) = (vm.clone().unwrap_or_default(), name.clone());
            let id = CounterId { vm, pid, vm_fd, vcpu, name, kind, unit, bucket_size };
            Last { id: Arc::new(id), value: None, look }
        });
        last.look = look;
        let before = std::mem::replace(&mut last.value, value);
        // A value below the last one was set to zero by somebody.
        let grown = before.zip(value).and_then(|(before, now)| u64::try_from(now - before).ok());
        let delta = grown.filter(|_| kind == Kind::Cumulative);
        let over_ns = if delta.is_some() { over_ns } else { 0 };
        Counter { id: last.id.clone(), value, delta, over_ns, buckets: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
