//! The kernel's type information (BTF), as far as tracing KVM needs it: where the exit reason is.
//!
//! `/sys/kernel/btf/vmlinux` describes the kernel, `/sys/kernel/btf/MODULE` what a module adds
//! (`Documentation/ABI/testing/sysfs-kernel-btf`, `kernel/bpf/sysfs_btf.c`). Kernels built without module BTF
//! have only the first, and a built-in KVM is described there too.
//!
//! The reader makes one pass per file that steps from type to type, and compares names only when asked; a
//! start must not wait for maps of 130,000 types of which a dozen matter. It trusts nothing it reads: damaged
//! input is an error, and no walk is without bound.

mod error;
mod offsets;
mod parse;
mod query;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use error::BtfError;
pub use offsets::{EntryArgs, ExitArgs, Offsets, SvmPath, VmxPath, offsets};
pub use parse::{Btf, Kind, TypeId};
pub use query::{Arg, Member, Shape};

/// Where the kernel shows its BTF.
pub const DIR: &str = "/sys/kernel/btf";

/// Derives the offsets for the kernel and the KVM modules that run now.
///
/// # Errors
/// As [`read_dir`].
pub fn read_host() -> Result<Offsets, BtfError> {
    read_dir(Path::new(DIR))
}

/// As [`read_host`], of a directory with files `vmlinux` and, where there are any, `kvm`, `kvm_intel`,
/// `kvm_amd`.
///
/// # Errors
/// If a file cannot be read or is damaged, or as [`offsets()`].
pub fn read_dir(dir: &Path) -> Result<Offsets, BtfError> {
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read(&path).map_err(|source| BtfError::Read { path, source })
    };
    let vmlinux = Arc::new(Btf::parse(None, read("vmlinux")?)?);
    let module = |name| match read(name) {
        Ok(bytes) => Btf::parse(Some(vmlinux.clone()), bytes).map(Some),
        Err(BtfError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let (kvm, intel, amd) = (module("kvm")?, module("kvm_intel")?, module("kvm_amd")?);
    offsets(&vmlinux, kvm.as_ref(), intel.as_ref(), amd.as_ref())
}
