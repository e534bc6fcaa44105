//! Names and contents below `/sys/kernel/debug/kvm`.

use crate::identity::text::number;

/// A directory of a VM, called `TID-FD` (`kvm_create_vm_debugfs`, virt/kvm/kvm_main.c): the thread that made
/// the VM, in the first pid namespace, and the descriptor that it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmDirectory {
    /// The thread that made the VM. It need not be the first thread of its process.
    pub creator: u32,
    /// Descriptor of the VM.
    pub fd: u32,
}

/// Reads the name of a directory.
///
/// ```
/// # use tracer_user::identity::debugfs::{VmDirectory, vcpu, vm};
/// assert_eq!(vm("4711-13"), Some(VmDirectory { creator: 4711, fd: 13 }));
/// assert_eq!(vm("exits"), None);
/// assert_eq!(vcpu("vcpu12"), Some(12));
/// assert_eq!(vcpu("vcpu0-plane1"), None);
/// ```
pub fn vm(name: &str) -> Option<VmDirectory> {
    let (creator, fd) = name.split_once('-')?;
    Some(VmDirectory { creator: number(creator)?, fd: number(fd)? })
}

/// The number of the vCPU in the name of a directory below that of a VM.
pub fn vcpu(name: &str) -> Option<u32> {
    number(name.strip_prefix("vcpu")?)
}

/// The thread in a file `vcpuN/pid`, the last one that ran the vCPU. It is zero if none did.
pub fn thread(contents: &str) -> Option<u32> {
    number(contents.trim_end()).filter(|thread| *thread != 0)
}
