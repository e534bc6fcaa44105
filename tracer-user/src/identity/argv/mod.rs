//! Command lines: which VMM it is, and what its options say about the VM.

mod options;
pub mod qemu;

use crate::identity::{
    fact::Kind,
    known::Facts,
    text::{is_id, uuid},
};
use options::{last_value, list_value};

/// How the file of a VMM's program is called.
enum Program {
    /// Exactly so.
    Is(&'static str),
    /// So, with a version or an architecture behind it.
    Begins(&'static str),
}

/// A VMM.
struct Vmm {
    /// The value of [`Kind::Vmm`].
    id: &'static str,
    programs: &'static [Program],
    /// What its arguments say, without the program.
    facts: fn(&[&str]) -> Facts,
}

use Program::{Begins, Is};

/// VMMs by their programs. `kvm` is QEMU's on Proxmox and in Debian's `qemu-kvm`.
static VMMS: [Vmm; 5] = [
    Vmm {
        id: "qemu",
        programs: &[Begins("qemu-system-"), Begins("qemu-kvm"), Is("qemu"), Is("kvm")],
        facts: qemu::facts,
    },
    Vmm { id: "firecracker", programs: &[Begins("firecracker")], facts: firecracker },
    Vmm { id: "cloud-hypervisor", programs: &[Begins("cloud-hypervisor")], facts: cloud_hypervisor },
    Vmm { id: "crosvm", programs: &[Is("crosvm")], facts: crosvm },
    Vmm { id: "kvmtool", programs: &[Is("lkvm"), Is("lkvm-static")], facts: kvmtool },
];

/// Bytes that the kernel keeps of a thread's name (`TASK_COMM_LEN` without the zero, include/linux/sched.h).
const COMM_BYTES: usize = 15;

/// What the arguments of a process say. Those of a program that is not known are read as QEMU's: whoever
/// wraps QEMU may call it anything.
///
/// ```
/// # use tracer_user::identity::{Kind, argv::facts};
/// let line = |text: &str| facts(&text.split(' ').map(String::from).collect::<Vec<_>>());
/// let jailed = [(Kind::Vmm, "firecracker".into()), (Kind::Id, "fc-7".into())];
/// assert_eq!(line("./firecracker --id=fc-7"), jailed);
/// assert_eq!(line("emulator -name web01"), [(Kind::Name, "web01".into())]);
/// ```
pub fn facts(arguments: &[String]) -> Facts {
    let Some((program, options)) = arguments.split_first() else { return Facts::new() };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    match VMMS.iter().find(|vmm| vmm.is(file_name(program), usize::MAX)) {
        Some(vmm) => {
            let mut facts = vec![(Kind::Vmm, vmm.id.to_owned())];
            facts.extend((vmm.facts)(&options));
            facts
        }
        None => qemu::facts(&options),
    }
}

/// The VMM by the name of its process, which the kernel has cut.
///
/// ```
/// # use tracer_user::identity::argv::vmm_of_comm;
/// assert_eq!(vmm_of_comm("cloud-hyperviso"), Some("cloud-hypervisor"));
/// assert_eq!(vmm_of_comm("qemu-system-x86"), Some("qemu"));
/// assert_eq!(vmm_of_comm("kvmd"), None);
/// ```
pub fn vmm_of_comm(comm: &str) -> Option<&'static str> {
    VMMS.iter().find(|vmm| vmm.is(comm, COMM_BYTES)).map(|vmm| vmm.id)
}

impl Vmm {
    /// Whether a program's name is its own, of which so many bytes are known.
    fn is(&self, name: &str, bytes: usize) -> bool {
        let cut = |text: &'static str| text.get(..bytes).unwrap_or(text);
        self.programs.iter().any(|program| match *program {
            Is(own) => name == cut(own),
            Begins(own) => name.starts_with(cut(own)),
        })
    }
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `--id ID`, or `--id=ID` from the jailer. Without one all are called `anonymous-instance`, which is no
/// identity.
fn firecracker(options: &[&str]) -> Facts {
    let id = last_value(options, "--id").filter(|id| is_id(id));
    id.map(|id| (Kind::Id, id.to_owned())).into_iter().collect()
}

/// Files and directories of API sockets that name no VM.
const GENERIC_SOCKETS: [&str; 8] =
    ["api", "api-socket", "ch", "ch-api", "cloud-hypervisor", "clh-api", "socket", "vmm"];

/// A Cloud Hypervisor VM has no name: its API socket's file names it, or Kata's directory around it.
fn cloud_hypervisor(options: &[&str]) -> Facts {
    let mut facts = Facts::new();
    if let Some(id) =
        last_value(options, "--platform").and_then(|platform| uuid(list_value(platform, "uuid")?))
    {
        facts.push((Kind::Uuid, id));
    }
    let Some(socket) = last_value(options, "--api-socket") else { return facts };
    // `path=/run/x.sock` or `/run/x.sock`; `fd=3` is no path.
    let path = list_value(socket, "path").unwrap_or(socket);
    if let Some(id) = kata_sandbox(path) {
        facts.push((Kind::Id, id.to_owned()));
        return facts;
    }
    let file = file_name(path);
    let stem = file.strip_suffix(".sock").or_else(|| file.strip_suffix(".socket"));
    if let Some(stem) = stem.filter(|stem| !GENERIC_SOCKETS.contains(stem)) {
        facts.push((Kind::Name, stem.to_owned()));
    }
    facts
}

/// `crosvm run --name NAME`.
fn crosvm(options: &[&str]) -> Facts {
    name_of_run(options)
}

/// `lkvm run --name NAME`. There is no short form: `-n` is the network (builtin-run.c).
fn kvmtool(options: &[&str]) -> Facts {
    name_of_run(options)
}

fn name_of_run(options: &[&str]) -> Facts {
    let Some(run) = options.iter().position(|option| *option == "run") else { return Facts::new() };
    let name = last_value(&options[run + 1..], "--name");
    name.map(|name| (Kind::Name, name.to_owned())).into_iter().collect()
}

/// The sandbox in a path below Kata's directory of VMs, `/run/vc/vm/ID/...`.
fn kata_sandbox(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/vc/vm/")?;
    rest.split('/').next().filter(|id| is_id(id))
}

#[cfg(test)]
mod tests;
