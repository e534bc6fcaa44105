//! Names of threads: which runs a vCPU, and what the others do.

use crate::identity::text::number;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Runs a vCPU.
    Vcpu,
    /// The VMM's main loop: the first thread of the process.
    Emulator,
    /// I/O of the VMM.
    Io,
    /// Moves data of the guest within the kernel.
    Vhost,
    /// Serves the VMM's API or monitor.
    Api,
    /// Work of KVM itself.
    Kvm,
    /// Anything else.
    Other,
}

impl Role {
    /// Its name in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Self::Vcpu => "vcpu",
            Self::Emulator => "emulator",
            Self::Io => "io",
            Self::Vhost => "vhost",
            Self::Api => "api",
            Self::Kvm => "kvm",
            Self::Other => "other",
        }
    }
}

/// What a thread's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// What the thread does.
    pub role: Role,
    /// The vCPU's number.
    pub vcpu: Option<u32>,
    /// The VMM that calls its threads so.
    pub vmm: Option<&'static str>,
}

/// Names of vCPU threads: what is before and behind the number, and whose they are.
static VCPUS: [(&str, &str, Option<&str>); 5] = [
    // accel/kvm/kvm-accel-ops.c
    ("CPU ", "/KVM", Some("qemu")),
    // src/vmm/src/vstate/vcpu.rs
    ("fc_vcpu ", "", Some("firecracker")),
    // src/crosvm/sys/linux/vcpu.rs
    ("crosvm_vcpu", "", Some("crosvm")),
    // builtin-run.c
    ("kvm-vcpu-", "", Some("kvmtool")),
    // vmm/src/cpu.rs of Cloud Hypervisor; other VMMs of rust-vmm call theirs so, too.
    ("vcpu", "", None),
];

/// How the names of other threads begin.
static OTHERS: [(&str, Role, Option<&str>); 5] = [
    // iothread.c
    ("IO ", Role::Io, Some("qemu")),
    ("fc_api", Role::Api, Some("firecracker")),
    // drivers/vhost/vhost.c. A thread of the VMM since Linux 6.4, a thread of the kernel before.
    ("vhost-", Role::Vhost, None),
    // arch/x86/kvm/mmu/mmu.c, cut by the kernel. A thread of the VMM in later kernels.
    ("kvm-nx-lpage-re", Role::Kvm, None),
    // arch/x86/kvm/i8254.c
    ("kvm-pit/", Role::Kvm, None),
];

/// What a thread's name says; [`None`] if it says nothing.
///
/// ```
/// # use tracer_user::identity::thread::{Role, named};
/// assert_eq!(named("CPU 3/KVM").unwrap().vcpu, Some(3));
/// assert_eq!(named("fc_vcpu 0").unwrap().vmm, Some("firecracker"));
/// assert_eq!(named("IO iothread0").unwrap().role, Role::Io);
/// assert_eq!(named("CPU 3/TCG"), None);
/// ```
pub fn named(name: &str) -> Option<Named> {
    let vcpu = VCPUS.iter().find_map(|(before, behind, vmm)| {
        let number = number(name.strip_prefix(before)?.strip_suffix(behind)?)?;
        Some(Named { role: Role::Vcpu, vcpu: Some(number), vmm: *vmm })
    });
    vcpu.or_else(|| {
        let other = OTHERS.iter().find(|(begins, _, _)| name.starts_with(begins));
        other.map(|(_, role, vmm)| Named { role: *role, vcpu: None, vmm: *vmm })
    })
}

/// The thread that a vhost thread works for, by its name `vhost-TID`: the one that became the owner of the
/// device, in the first pid namespace.
pub fn vhost_owner(name: &str) -> Option<u32> {
    number(name.strip_prefix("vhost-")?)
}
