//! Which processes are VMs, and what they are called. Best effort: a name never fails a trace.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::LazyLock,
};

use crate::{
    identity::descriptor::Descriptor,
    kernel::identify::{Host, Roots},
    model::Known,
};

/// A process that has a VM open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Its process.
    pub pid: u32,
    /// Name of the guest, else of the process.
    pub name: String,
    /// What is known about it.
    pub known: Known,
    /// How many vCPUs it has open.
    pub vcpus: usize,
}

/// All processes.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).collect()
}

/// Limit on the descriptors of a process. A process may have a million, and make copies of one.
const DESCRIPTORS: usize = 16_384;

/// The numbers of the vCPUs that a process has open, [`None`] if it has no VM or may not be looked into, and
/// how many descriptors were looked at.
pub fn open_vcpus(pid: u32) -> (Option<Vec<u32>>, usize) {
    let (mut is_vm, mut vcpus, mut descriptors) = (false, Vec::new(), 0);
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return (None, 1) };
    for entry in entries.flatten().take(DESCRIPTORS) {
        descriptors += 1;
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let of_kvm = Descriptor::of(target.as_os_str().as_bytes());
        if let Some(Descriptor::Vcpu(number)) = of_kvm {
            vcpus.push(number);
        }
        is_vm |= of_kvm.is_some();
    }
    (is_vm.then_some(vcpus), descriptors)
}

/// Whether a process has a VM at this descriptor; [`None`] if it may not be looked into.
pub fn has_vm_at(pid: u32, fd: u32) -> Option<bool> {
    match fs::read_link(format!("/proc/{pid}/fd/{fd}")) {
        Ok(target) => Some(target.as_os_str().as_bytes() == b"anon_inode:kvm-vm"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(_) => Some(false),
    }
}

/// Processes that are asked for a descriptor whose maker has ended.
const CANDIDATES: usize = 64;

/// The process of a VM, by the thread that made it and the number of its descriptor then. The thread may have
/// ended, and its number may be another one's; `running` are the processes that have VMs. A process that is
/// not certain is none: VMs of one VMM have their descriptors at the same numbers.
pub fn process_of_vm(tid: u32, fd: u32, running: &[Vm]) -> Option<u32> {
    let maker = process_of_thread(tid).unwrap_or(tid);
    // The descriptor may have another number by now.
    if has_vm_at(maker, fd) != Some(false) || running.iter().any(|vm| vm.pid == maker) {
        return Some(maker);
    }
    if running.len() > CANDIDATES {
        return None;
    }
    let mut found = running.iter().map(|vm| vm.pid).filter(|pid| has_vm_at(*pid, fd) == Some(true));
    found.next().filter(|_| found.next().is_none())
}

/// Whether a process exists.
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The process of a thread; [`None`] if there is no such thread, or if the number is that of a process.
pub fn process_of_thread(tid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
    (process != tid).then_some(process)
}

/// What a process says of its VM.
#[derive(Clone, Debug)]
pub struct Told {
    /// Name of the VM, else of the process; see [`crate::identity::Identity::name`].
    pub name: String,
    /// Start of the process, as [`crate::kernel::identify::Brief`] has it.
    pub start_unix_ms: Option<u64>,
    /// All that is known.
    pub known: Known,
}

/// This host, as it is now.
pub fn this_host() -> Host {
    Host::look(Roots::below(Path::new("/")))
}

/// The processes that have a VM open, as far as this user may see them.
pub fn running(host: &Host) -> impl Iterator<Item = u32> {
    pids().into_iter().filter(|pid| open_vcpus(*pid).0.is_some() || host.has_created(*pid))
}

/// This host. When the system started is asked for once: clocks are set, and the start of a process tells it
/// from others.
static HOST: LazyLock<Host> = LazyLock::new(this_host);

/// Asks a process for its VM. [`None`] if the process has ended, also if it is still a zombie, which has a
/// name left but no arguments.
pub fn ask(pid: u32) -> Option<Told> {
    let brief = HOST.brief(pid)?;
    let name = brief.identity.name().into_owned();
    if name.is_empty() || !has_arguments(pid) {
        return None;
    }
    Some(Told { name, start_unix_ms: brief.start_unix_ms, known: brief.identity.into() })
}

/// The number of the vCPU that a thread runs, where its events carry none.
pub fn vcpu_of(pid: u32, tid: u32) -> Option<u32> {
    // A look of its own: KVM's directory changes with every VM.
    this_host().vcpu_of(pid, tid)
}

/// A process frees its memory, and with it its arguments, before it closes its files (`do_exit`).
fn has_arguments(pid: u32) -> bool {
    let first = |mut file: File| file.read(&mut [0]);
    File::open(format!("/proc/{pid}/cmdline")).and_then(first).is_ok_and(|read| read != 0)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn a_process_has_a_name_until_it_ends() {
        assert!(ask(std::process::id()).is_some_and(|told| !told.name.is_empty()));
        let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        // Nobody has waited for it: it stays a zombie.
        child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        assert!(exists(child.id()));
        assert!(ask(child.id()).is_none());
        child.wait().unwrap();
        assert!(ask(child.id()).is_none());
    }

    #[test]
    fn a_vm_is_that_of_the_process_with_its_descriptor() {
        let this = std::process::id();
        let file = File::open("/dev/null").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file) as u32;
        assert_eq!(has_vm_at(this, fd), Some(false));
        assert_eq!(has_vm_at(this, 1 << 20), Some(false));
        // No process has this number.
        assert_eq!(process_of_vm(5_000_000, fd, &[]), None);
        // Without the descriptor it is the process of the thread, if that has a VM at all.
        assert_eq!(process_of_vm(this, fd, &[]), None);
        let vm = Vm { pid: this, name: "web".into(), known: Known::name("web"), vcpus: 1 };
        assert_eq!(process_of_vm(this, fd, &[vm]), Some(this));
    }

    /// A command line may be megabytes, and so may a name on it.
    #[test]
    fn what_is_read_of_a_process_is_bounded() {
        let named = |arguments: &[&str]| {
            let mut qemu = Command::new("sh");
            qemu.arg0("qemu").args(["-c", "read line"]).args(arguments).stdin(Stdio::piped());
            let mut child = qemu.spawn().unwrap();
            // A child has its arguments some moments after the parent goes on.
            while !has_arguments(child.id()) {}
            let found = ask(child.id()).map(|told| told.name);
            child.kill().unwrap();
            child.wait().unwrap();
            found
        };
        let long = "n".repeat(100_000);
        assert_eq!(named(&["-name", &long]).unwrap(), "n".repeat(255) + "…");
        // A name beyond the limit is not found: the process's own is left.
        assert_eq!(named(&[&long, "-name", "web"]).as_deref(), Some("sh"));
    }
}
