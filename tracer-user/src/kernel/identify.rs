//! Asks everybody who knows a VM: its process, its threads, libvirt, KVM's debugfs.
//!
//! A source that cannot be read costs what only it knows, and is named. Nothing here fails a trace.

mod files;
#[cfg(test)]
mod tests;
mod threads;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{
    identity::{
        Identity, Kind, Source, argv, cgroup, debugfs,
        debugfs::VmDirectory,
        descriptor::Descriptor,
        process,
        status_xml::{self, Status},
    },
    kernel::namespaces,
};

pub use files::Outcome;
pub use threads::VmThread;
use threads::{SMALL, Told};

/// Limit on a command line in bytes. Linux allows some megabytes, and whoever starts a VM chooses them.
const CMDLINE: usize = 64 << 10;
/// Limit on the descriptors of a process.
const DESCRIPTORS: usize = 16_384;
/// Limit on a list of mounts in bytes.
const MOUNTS: usize = 1 << 20;
/// Limit on the entries of a directory in debugfs: a VM has some for each vCPU.
const ENTRIES: usize = 65_536;

/// Where the sources are.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/run`.
    pub run: PathBuf,
    /// `/sys/kernel/debug`.
    pub debugfs: PathBuf,
}

impl Roots {
    /// Those below a directory: `/` is this host, any other a tree that was made up or copied.
    pub fn below(root: &Path) -> Self {
        Self { proc: root.join("proc"), run: root.join("run"), debugfs: root.join("sys/kernel/debug") }
    }

    /// Whether they are those of this host, and no copies.
    fn is_this_host(&self) -> bool {
        self.proc == Path::new("/proc")
    }
}

/// What is the same for all VMs at one look.
#[derive(Debug)]
pub struct Host {
    roots: Roots,
    /// VMs as debugfs has them.
    kvm: OnceLock<Result<Vec<VmDirectory>, Outcome>>,
    /// vhost's threads of the kernel, by the thread that they work for.
    vhosts: OnceLock<HashMap<u32, Vec<u32>>>,
    boot_unix_s: Option<u64>,
}

/// What a VM is called, and which process it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// Start of the process, as [`VmProcess::start_unix_ms`].
    pub start_unix_ms: Option<u64>,
    /// What it is called.
    pub identity: Identity,
}

/// What is known about a VM's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmProcess {
    /// The process.
    pub pid: u32,
    /// Start of the process in clock ticks since the system started. With the pid it is unique until the
    /// system starts again; the time of day is not, since clocks are set.
    pub start_ticks: u64,
    /// Start of the process, to the second: the system's start is known no better.
    pub start_unix_ms: Option<u64>,
    /// What it is called.
    pub identity: Identity,
    /// Descriptors of its VMs, by debugfs.
    pub vm_fds: Vec<u32>,
    /// Names of their directories in debugfs.
    pub vm_dirs: Vec<String>,
    /// Numbers of its vCPUs, by its descriptors.
    pub vcpus: Vec<u32>,
    /// Its threads, and those of the kernel that work for it.
    pub threads: Vec<VmThread>,
    /// What came of asking each source. A source that was not needed is not in it.
    pub asked: BTreeMap<Source, Outcome>,
}

impl Host {
    /// Looks at what is the same for all VMs.
    pub fn look(roots: Roots) -> Self {
        let stat = fs::read_to_string(roots.proc.join("stat")).unwrap_or_default();
        let boot_unix_s = process::boot_unix_s(&stat);
        Self { kvm: OnceLock::new(), vhosts: OnceLock::new(), boot_unix_s, roots }
    }

    fn kvm(&self) -> &Result<Vec<VmDirectory>, Outcome> {
        self.kvm.get_or_init(|| {
            if self.roots.is_this_host() && namespaces::is_pid_namespace() {
                return Err(Outcome::Failed(namespaces::PIDS_DO_NOT_FIT.to_owned()));
            }
            // What else may be mounted there knows nothing of KVM.
            if self.roots.is_this_host() && !files::is_debugfs(&self.roots.debugfs) {
                return Err(Outcome::Absent);
            }
            let names = files::names(&self.roots.debugfs.join("kvm"), ENTRIES);
            let vms = names.map(|names| names.iter().filter_map(|name| debugfs::vm(name)).collect());
            vms.map_err(|error| Outcome::of(&error))
        })
    }

    /// Why KVM's directory in debugfs cannot be read, if it cannot.
    pub fn debugfs_refuses(&self) -> Option<Outcome> {
        self.kvm().as_ref().err().cloned()
    }

    /// Whether KVM says that a process has made a VM.
    pub fn has_created(&self, pid: u32) -> bool {
        self.kvm().as_ref().is_ok_and(|vms| vms.iter().any(|vm| vm.creator == pid))
    }

    fn vhosts(&self) -> &HashMap<u32, Vec<u32>> {
        self.vhosts.get_or_init(|| threads::of_the_kernel(&self.roots.proc))
    }

    /// Asks what a process is called, and no more: some ten files. [`None`] as [`Host::identify`].
    pub fn brief(&self, pid: u32) -> Option<Brief> {
        let mut look = Look::new(self, pid);
        let start_ticks = start(&look.path)?;
        look.process();
        look.status_xml();
        look.root();
        let Look { path, identity, .. } = look;
        let start_unix_ms = self.start_unix_ms(start_ticks);
        (start(&path) == Some(start_ticks)).then_some(Brief { start_unix_ms, identity })
    }

    fn start_unix_ms(&self, start_ticks: u64) -> Option<u64> {
        let since_boot_ms = start_ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1);
        self.boot_unix_s.map(|boot| boot.saturating_mul(1000).saturating_add(since_boot_ms))
    }

    /// The number of the vCPU that a thread runs, by whoever tells it: debugfs, libvirt, the thread's control
    /// group or its name. For events that carry no number.
    pub fn vcpu_of(&self, pid: u32, tid: u32) -> Option<u32> {
        let mut look = Look::new(self, pid);
        look.process();
        let (debugfs, _) = look.debugfs(&threads::tids(&look.path));
        let told = Told { debugfs, xml: look.status_xml(), grouped: look.is_grouped() };
        let (thread, _) = threads::look(&look.path.join(format!("task/{tid}")), tid, false, &told)?;
        thread.vcpu.map(|(vcpu, _)| vcpu)
    }

    /// Asks all sources about a process; [`None`] if it has ended or was replaced meanwhile.
    pub fn identify(&self, pid: u32) -> Option<VmProcess> {
        let mut look = Look::new(self, pid);
        let start_ticks = start(&look.path)?;
        look.process();
        let tids = threads::tids(&look.path);
        let (debugfs, vms) = look.debugfs(&tids);
        let vm_fds = vms.iter().map(|vm| vm.fd).collect();
        let vm_dirs = vms.iter().map(|vm| format!("{}-{}", vm.creator, vm.fd)).collect();
        let told = Told { debugfs, xml: look.status_xml(), grouped: look.is_grouped() };
        let vcpus = look.descriptors();
        let threads = look.threads(&tids, &told);
        look.root();
        let Look { path, identity, asked, .. } = look;
        if start(&path) != Some(start_ticks) {
            return None;
        }
        let start_unix_ms = self.start_unix_ms(start_ticks);
        Some(VmProcess { pid, start_ticks, start_unix_ms, identity, vm_fds, vm_dirs, vcpus, threads, asked })
    }
}

/// Start of a process; [`None`] if it has ended, also if nobody has waited for it yet.
fn start(process: &Path) -> Option<u64> {
    let stat = process::stat(&files::text(&process.join("stat"), SMALL).ok()?)?;
    (!matches!(stat.state, 'Z' | 'X')).then_some(stat.start_ticks)
}

/// One VM being asked about.
struct Look<'a> {
    host: &'a Host,
    pid: u32,
    /// Its directory in /proc.
    path: PathBuf,
    identity: Identity,
    asked: BTreeMap<Source, Outcome>,
}

impl<'a> Look<'a> {
    fn new(host: &'a Host, pid: u32) -> Self {
        let path = host.roots.proc.join(pid.to_string());
        Self { host, pid, path, identity: Identity::default(), asked: BTreeMap::new() }
    }

    fn told(&mut self, source: Source, has_told: bool) {
        self.asked.insert(source, if has_told { Outcome::Told } else { Outcome::Silent });
    }

    fn failed(&mut self, source: Source, error: &io::Error) {
        self.asked.insert(source, Outcome::of(error));
    }

    /// Control groups, command line, and name of the process.
    fn process(&mut self) {
        match files::text(&self.path.join("cgroup"), CMDLINE) {
            Ok(text) => {
                let facts = cgroup::facts(&text);
                self.identity.take(Source::Cgroup, &facts);
                self.told(Source::Cgroup, !facts.is_empty());
            }
            Err(error) => self.failed(Source::Cgroup, &error),
        }
        match files::bytes(&self.path.join("cmdline"), CMDLINE) {
            Ok(line) => {
                let line = line.strip_suffix(&[0]).unwrap_or(&line);
                let arguments: Vec<String> = line
                    .split(|byte| *byte == 0)
                    .map(|word| String::from_utf8_lossy(word).into_owned())
                    .collect();
                let facts = argv::facts(&arguments);
                self.identity.take(Source::CommandLine, &facts);
                self.told(Source::CommandLine, !facts.is_empty());
            }
            Err(error) => self.failed(Source::CommandLine, &error),
        }
        match files::text(&self.path.join("comm"), SMALL) {
            Ok(comm) => {
                let comm = comm.trim_end_matches('\n');
                self.identity.offer(Kind::Name, Source::Comm, comm);
                self.identity.offer(Kind::Vmm, Source::Comm, argv::vmm_of_comm(comm).unwrap_or_default());
                self.told(Source::Comm, !comm.is_empty());
            }
            Err(error) => self.failed(Source::Comm, &error),
        }
    }

    /// Threads of vCPUs and descriptors of VMs, by KVM itself. A process can have several VMs; then a
    /// thread's number is that in the first one.
    fn debugfs(&mut self, tids: &[u32]) -> (HashMap<u32, u32>, Vec<VmDirectory>) {
        let (mut numbers, mut found) = (HashMap::new(), Vec::new());
        let vms = match self.host.kvm() {
            Ok(vms) => vms,
            Err(outcome) => {
                self.asked.insert(Source::Debugfs, outcome.clone());
                return (numbers, found);
            }
        };
        for vm in vms.iter().filter(|vm| tids.binary_search(&vm.creator).is_ok()) {
            let path = self.host.roots.debugfs.join(format!("kvm/{}-{}", vm.creator, vm.fd));
            let names = files::names(&path, ENTRIES).unwrap_or_default();
            found.push(*vm);
            for (name, vcpu) in names.iter().filter_map(|name| Some((name, debugfs::vcpu(name)?))) {
                // Linux before 5.18 has no such file.
                let thread = files::text(&path.join(name).join("pid"), SMALL).unwrap_or_default();
                if let Some(thread) = debugfs::thread(&thread) {
                    numbers.entry(thread).or_insert(vcpu);
                }
            }
        }
        self.told(Source::Debugfs, !found.is_empty());
        (numbers, found)
    }

    /// libvirt's file about the domain, of the system's libvirt or of the user's.
    fn status_xml(&mut self) -> HashMap<u32, u32> {
        let name = self.identity.value(Kind::Domain).or(self.identity.value(Kind::Name)).unwrap_or_default();
        // A tenant's name leads to no other directory.
        if name.is_empty() || name.contains(['/', '\0']) {
            return HashMap::new();
        }
        let file = format!("{name}.xml");
        let run = &self.host.roots.run;
        let mut found = read_status(&run.join("libvirt/qemu").join(&file), self.pid);
        let status = files::text(&self.path.join("status"), SMALL).unwrap_or_default();
        if let Some(user) = process::user(&status).filter(|user| *user != 0 && found == Err(Outcome::Absent))
        {
            let session = run.join(format!("user/{user}/libvirt/qemu/run")).join(&file);
            found = read_status(&session, self.pid);
        }
        match found {
            Ok(status) => {
                self.identity.take(Source::StatusXml, &status.facts());
                self.told(Source::StatusXml, true);
                status.vcpus.iter().map(|(vcpu, thread)| (*thread, *vcpu)).collect()
            }
            Err(outcome) => {
                self.asked.insert(Source::StatusXml, outcome);
                HashMap::new()
            }
        }
    }

    /// Whether libvirt has put the threads into groups of their own.
    fn is_grouped(&self) -> bool {
        self.identity.get(Kind::DomainId).is_some() || self.identity.get(Kind::Domain).is_some()
    }

    /// Numbers of the vCPUs that the process has open.
    fn descriptors(&mut self) -> Vec<u32> {
        let mut vcpus = Vec::new();
        let entries = match fs::read_dir(self.path.join("fd")) {
            Ok(entries) => entries,
            Err(error) => {
                self.failed(Source::Descriptors, &error);
                return vcpus;
            }
        };
        let mut is_vm = false;
        for entry in entries.flatten().take(DESCRIPTORS) {
            let Ok(link) = fs::read_link(entry.path()) else { continue };
            let of_kvm = Descriptor::of(link.as_os_str().as_bytes());
            is_vm |= of_kvm.is_some();
            vcpus.extend(match of_kvm {
                Some(Descriptor::Vcpu(number)) => Some(number),
                _ => None,
            });
        }
        vcpus.sort_unstable();
        vcpus.dedup();
        self.told(Source::Descriptors, is_vm);
        vcpus
    }

    /// Its threads, and vhost's.
    fn threads(&mut self, tids: &[u32], told: &Told) -> Vec<VmThread> {
        let (mut list, mut named) = (Vec::new(), false);
        let none = Told::default();
        let own = tids.iter().map(|tid| (*tid, self.path.join(format!("task/{tid}")), told));
        let known: HashSet<u32> = tids.iter().copied().collect();
        let vhosts = tids.iter().filter_map(|tid| self.host.vhosts().get(tid)).flatten();
        let vhosts = vhosts.filter(|tid| !known.contains(tid));
        let of_the_kernel = vhosts.map(|tid| (*tid, self.host.roots.proc.join(tid.to_string()), &none));
        for (tid, path, told) in own.chain(of_the_kernel).collect::<Vec<_>>() {
            let Some((thread, name)) = threads::look(&path, tid, tid == self.pid, told) else { continue };
            named |= name.is_some();
            if let Some(vmm) = name.and_then(|name| name.vmm) {
                self.identity.offer(Kind::Vmm, Source::ThreadName, vmm);
            }
            list.push(thread);
        }
        self.told(Source::ThreadName, named);
        list
    }

    /// The root directory of a jail, where nothing else tells the id.
    fn root(&mut self) {
        if self.identity.value(Kind::Vmm) != Some("firecracker") || self.identity.get(Kind::Id).is_some() {
            return;
        }
        match files::text(&self.path.join("mountinfo"), MOUNTS) {
            Ok(mounts) => {
                let facts =
                    process::root(&mounts).map(|root| process::facts_of_root(&root)).unwrap_or_default();
                self.identity.take(Source::Root, &facts);
                self.told(Source::Root, !facts.is_empty());
            }
            Err(error) => self.failed(Source::Root, &error),
        }
    }
}

/// The status of the domain in a process.
fn read_status(path: &Path, pid: u32) -> Result<Status, Outcome> {
    let file = files::bytes(path, status_xml::MAX_BYTES + 1).map_err(|error| Outcome::of(&error))?;
    let status = Status::parse(&file).map_err(|error| Outcome::Failed(error.to_string()))?;
    // A file that was left behind is about a process that has ended.
    (status.pid == Some(pid)).then_some(status).ok_or(Outcome::Silent)
}
