//! Descriptors of KVM's statistics that a VMM holds. QEMU has one for each vCPU.
//!
//! Nobody but the VMM itself can ask KVM for one: ioctls of VMs and vCPUs are for the process that made them
//! (virt/kvm/kvm_main.c). But who may trace a process may copy its descriptors, and read them. A copy is
//! closed at once, because it keeps the VM in the kernel.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _, unix::fs::FileExt as _},
};

use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use crate::decode::counters::binary::{Statistic, parse};

/// Limit on the descriptors of a process that are looked at.
const DESCRIPTORS: usize = 16_384;
/// The most bytes of statistics. Linux 7.2 has some eight thousand.
const BYTES: usize = 64 << 10;

/// A descriptor of statistics in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its number there.
    fd: i32,
    /// Of which vCPU; [`None`] for the VM itself.
    pub vcpu: Option<u32>,
}

/// Those of a process, and how many of its descriptors were looked at. None if two are of the same vCPU: then
/// the process has several VMs, or copies, and nobody can tell.
pub fn of_process(pid: u32) -> (Vec<Held>, usize) {
    let (mut held, mut looked) = (Vec::new(), 0);
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return (held, 1) };
    for entry in entries.flatten().take(DESCRIPTORS) {
        looked += 1;
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let (Some(vcpu), Some(fd)) =
            (whose(target.as_os_str().as_bytes()), entry.file_name().to_str().and_then(|it| it.parse().ok()))
        else {
            continue;
        };
        held.push(Held { fd, vcpu });
    }
    let mut vcpus: Vec<_> = held.iter().map(|held| held.vcpu).collect();
    vcpus.sort_unstable();
    if vcpus.windows(2).any(|pair| pair[0] == pair[1]) {
        held.clear();
    }
    (held, looked)
}

/// Of which vCPU the statistics of a link in /proc/PID/fd are, of the VM itself, or of nothing.
fn whose(target: &[u8]) -> Option<Option<u32>> {
    if target == b"anon_inode:kvm-vm-stats" {
        return Some(None);
    }
    let number = target.strip_prefix(b"anon_inode:kvm-vcpu-stats:")?;
    str::from_utf8(number).ok()?.parse().ok().map(Some)
}

/// A process whose descriptors are read.
pub struct Process(OwnedFd);

impl Process {
    /// Opens it.
    ///
    /// # Errors
    /// If it has ended.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Reads statistics.
    ///
    /// # Errors
    /// If this process may not, if the descriptor is another one by now, or if its bytes make no sense.
    pub fn read(&self, held: Held) -> io::Result<Vec<Statistic>> {
        let file = File::from(pidfd_getfd(&self.0, held.fd, PidfdGetfdFlags::empty())?);
        let target = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if whose(target.as_os_str().as_bytes()) != Some(held.vcpu) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut bytes = vec![0; BYTES];
        let mut length = 0;
        // The kernel may give less than was asked for.
        while length < BYTES {
            match file.read_at(&mut bytes[length..], length as u64)? {
                0 => break,
                more => length += more,
            }
        }
        parse(&bytes[..length]).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_told_by_their_links() {
        assert_eq!(whose(b"anon_inode:kvm-vm-stats"), Some(None));
        assert_eq!(whose(b"anon_inode:kvm-vcpu-stats:12"), Some(Some(12)));
        for other in ["anon_inode:kvm-vcpu:1", "anon_inode:kvm-vcpu-stats:", "/memfd:kvm-vm-stats", ""] {
            assert_eq!(whose(other.as_bytes()), None, "{other}");
        }
    }

    /// This process may copy its own descriptors, and none of them is KVM's.
    #[test]
    fn another_descriptor_of_the_same_number_is_not_read() {
        let file = File::open("/proc/self/stat").unwrap();
        let this = Process::open(std::process::id()).unwrap();
        let error = this.read(Held { fd: file.as_raw_fd(), vcpu: Some(0) }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        assert!(Process::open(u32::MAX).is_err());
        assert_eq!(of_process(std::process::id()).0, []);
    }
}
