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
mod sched;
pub mod stand_in;
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
pub use sched::{Cast, SchedOffsets, cast, sched_offsets};

/// Where the kernel shows its BTF.
pub const DIR: &str = "/sys/kernel/btf";

/// The types of one kernel and its KVM modules.
#[derive(Debug)]
pub struct Types {
    vmlinux: Arc<Btf>,
    kvm: Option<Btf>,
    intel: Option<Btf>,
    amd: Option<Btf>,
}

impl Types {
    /// Reads the types of the running kernel and of its loaded KVM modules.
    ///
    /// # Errors
    /// As [`Types::read_dir`].
    pub fn read_host() -> Result<Self, BtfError> {
        Self::read_dir(Path::new(DIR))
    }

    /// As [`Types::read_host`], of a directory with files `vmlinux` and, where there are any, `kvm`,
    /// `kvm_intel`, `kvm_amd`.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged.
    pub fn read_dir(dir: &Path) -> Result<Self, BtfError> {
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
        Ok(Self { vmlinux, kvm, intel, amd })
    }

    /// What the raw programs on KVM's events need.
    ///
    /// # Errors
    /// As [`offsets()`].
    pub fn kvm(&self) -> Result<Offsets, BtfError> {
        offsets(&self.vmlinux, self.kvm.as_ref(), self.intel.as_ref(), self.amd.as_ref())
    }

    /// What the raw programs on the scheduler's events need.
    ///
    /// # Errors
    /// As [`sched_offsets`].
    pub fn sched(&self) -> Result<SchedOffsets, BtfError> {
        sched_offsets(&self.vmlinux)
    }

    /// The number of the type of a tracepoint of the kernel itself, `group:name`, as its arguments have it.
    pub fn tracepoint_id(&self, event: &str) -> Option<u32> {
        let name = event.rsplit(':').next().unwrap_or_default();
        self.vmlinux.find(&format!("btf_trace_{name}"), Kind::Typedef).map(|id| id.0)
    }

    /// What typed loads need; [`None`] before Linux 6.2.
    pub fn cast(&self) -> Option<Cast> {
        cast(&self.vmlinux)
    }

    /// Whether the raw `kvm_exit` no longer has the exit reason as an argument.
    pub fn exit_has_no_reason(&self) -> bool {
        let kvm = self.kvm.as_ref().unwrap_or(&self.vmlinux);
        let exit = kvm.raw_tracepoint_args("kvm_exit").and_then(|args| offsets::exit_args(kvm, &args));
        exit.is_ok_and(|(args, _)| args.reason.is_none())
    }

    /// Whether a structure of the kernel has a member.
    pub fn has_member(&self, strukt: &str, member: &str) -> bool {
        let kvm = self.kvm.as_ref().unwrap_or(&self.vmlinux);
        kvm.member(strukt, &[member]).is_ok()
    }
}
