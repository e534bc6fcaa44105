//! KVM's directory in debugfs: a directory for each VM, called after the thread that made it and the number
//! of its descriptor, and below it one for each vCPU.
//!
//! No file stays open: an open one keeps the VM's memory in the kernel after the VM has ended
//! (`kvm_debugfs_open` in virt/kvm/kvm_main.c takes a reference).

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::decode::counters::{Kind, meaning, number};

/// Longer than any number with its line feed.
const NUMBER: usize = 32;
/// More files of a VM or vCPU are not looked at. The kernel has some sixty.
const FILES: usize = 1024;
/// More vCPUs than KVM allows (KVM_MAX_VCPUS of 4096 on x86) are not looked at.
const VCPUS: usize = 4096;

/// Where KVM's directory is.
///
/// # Errors
/// What is missing and what to do about it, for people.
pub fn find() -> Result<PathBuf, String> {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let places = places(&mounts);
    if places.is_empty() {
        return Err("debugfs is not mounted; mount it: mount -t debugfs debugfs /sys/kernel/debug".into());
    }
    let mut why = None;
    for place in places {
        match fs::read_dir(&place) {
            Ok(_) => return Ok(place),
            Err(error) => _ = why.get_or_insert((place, error)),
        }
    }
    let (place, error) = why.expect("there is a place");
    Err(match error.kind() {
        io::ErrorKind::NotFound => format!("there is no {}: KVM is not loaded", place.display()),
        _ => cannot_read(&place, &error),
    })
}

/// Why a file or directory cannot be read, for people.
pub fn cannot_read(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.raw_os_error() {
        // The kernel's debugfs_locked_down().
        Some(libc::EPERM) => format!("the kernel does not let {path} be read: it is locked down"),
        Some(libc::EACCES) => format!("{path} cannot be read; run as root, or with CAP_DAC_READ_SEARCH"),
        _ => format!("{path} cannot be read: {error}"),
    }
}

/// KVM's directories by a text like /proc/self/mountinfo. Only what is really debugfs counts, wherever it is
/// mounted, and also if it is KVM's directory alone.
fn places(mounts: &[u8]) -> Vec<PathBuf> {
    let place = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, unescaped(fields.next()?));
        let below = match root {
            "/" => "kvm",
            "/kvm" => "",
            _ => return None,
        };
        (kind.split(' ').next() == Some("debugfs")).then(|| Path::new(&point).join(below))
    };
    String::from_utf8_lossy(mounts).lines().filter_map(place).collect()
}

/// A path in which space, tab, line feed and backslash are octal numbers.
fn unescaped(path: &str) -> String {
    let (mut parts, mut out) = (path.split('\\'), String::new());
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&part[3..]);
            }
            None => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

/// A VM's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmDir {
    /// The thread that made the VM.
    pub tid: u32,
    /// The number of the VM's descriptor.
    pub fd: u32,
}

impl VmDir {
    /// The directory of this name.
    fn of(name: &str) -> Option<Self> {
        let (tid, fd) = name.split_once('-')?;
        Some(Self { tid: tid.parse().ok()?, fd: fd.parse().ok()? })
    }

    /// Its path below KVM's.
    pub fn path(&self, kvm: &Path) -> PathBuf {
        kvm.join(format!("{}-{}", self.tid, self.fd))
    }
}

/// The VMs, in order.
///
/// # Errors
/// If KVM's directory cannot be read.
pub fn vms(kvm: &Path) -> io::Result<Vec<VmDir>> {
    let entries = fs::read_dir(kvm)?.flatten();
    let mut vms: Vec<_> = entries.filter_map(|entry| VmDir::of(entry.file_name().to_str()?)).collect();
    vms.sort_unstable();
    Ok(vms)
}

/// The files in a VM's or vCPU's directory and, by number, the vCPUs' directories in it.
pub fn list(directory: &Path) -> (Vec<String>, Vec<(u32, PathBuf)>) {
    let (mut files, mut vcpus) = (Vec::new(), Vec::new());
    let Ok(entries) = fs::read_dir(directory) else { return (files, vcpus) };
    for entry in entries.flatten().take(FILES + VCPUS) {
        let Ok(name) = String::from_utf8(entry.file_name().as_bytes().to_vec()) else { continue };
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match name.strip_prefix("vcpu").and_then(|number| number.parse().ok()) {
            Some(vcpu) if is_directory && vcpus.len() < VCPUS => vcpus.push((vcpu, entry.path())),
            _ if !is_directory && files.len() < FILES => files.push(name),
            _ => {}
        }
    }
    files.sort_unstable();
    vcpus.sort_unstable();
    (files, vcpus)
}

/// What a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It holds one number.
    Number(i128),
    /// It is no number, or not the only one.
    Other,
    /// It was not opened, because it holds no number that means something.
    Unread,
}

/// Reads a number. Files that are texts, or show one bucket of a histogram, are not opened: some of them make
/// the kernel walk all of a guest's memory.
///
/// # Errors
/// If the file cannot be read; it goes with its VM.
pub fn read(path: &Path, name: &str) -> io::Result<Said> {
    let (kind, _) = meaning(name);
    if kind == Kind::Text || kind.is_hist() {
        return Ok(Said::Unread);
    }
    let mut text = [0; NUMBER];
    let length = File::open(path)?.read(&mut text)?;
    Ok(number(&text[..length]).map_or(Said::Other, Said::Number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debugfs_counts_wherever_it_is_mounted() {
        let found = |text: &str| places(text.as_bytes());
        let usual = "24 31 0:7 / /sys/kernel/debug rw,relatime shared:12 - debugfs none rw\n";
        assert_eq!(found(usual), [PathBuf::from("/sys/kernel/debug/kvm")]);
        let foreign = "24 31 0:7 / /sys/kernel/debug rw - tmpfs none rw\n\
            25 31 0:8 / /run/my\\040debug rw - debugfs d rw\n26 31 0:8 /kvm /kvm ro - debugfs d rw\n\
            27 31 0:8 /sched /sched ro - debugfs d rw\n";
        assert_eq!(found(foreign), [PathBuf::from("/run/my debug/kvm"), "/kvm/".into()]);
        assert!(found("- - -\n\n1 2 3\n - debugfs").is_empty());
        assert_eq!([unescaped("a\\134b\\"), unescaped("\\9\\0é")], ["a\\b\\", "\\9\\0é"]);
    }

    #[test]
    fn directories_of_vms_and_vcpus_are_told_from_files() {
        let kvm = tempfile::tempdir().unwrap();
        for directory in ["42-11/vcpu1", "42-11/vcpu0", "7-3", "42-x", "note"] {
            fs::create_dir_all(kvm.path().join(directory)).unwrap();
        }
        for (file, text) in [("exits", "5\n"), ("halt_wait_hist", "1\n"), ("vcpu9", "1\n"), ("odd", "1 2\n")]
        {
            fs::write(kvm.path().join("42-11").join(file), text).unwrap();
        }
        let vms = vms(kvm.path()).unwrap();
        assert_eq!(vms, [VmDir { tid: 7, fd: 3 }, VmDir { tid: 42, fd: 11 }]);
        let directory = vms[1].path(kvm.path());
        let (files, vcpus) = list(&directory);
        assert_eq!(files, ["exits", "halt_wait_hist", "odd", "vcpu9"]);
        assert_eq!(vcpus.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1]);
        let said = |name: &str| read(&directory.join(name), name).unwrap();
        assert_eq!(
            ["exits", "halt_wait_hist", "odd"].map(said),
            [Said::Number(5), Said::Unread, Said::Other]
        );
        assert!(read(&directory.join("gone"), "gone").is_err());
    }
}
