//! The lab: a small guest in which a distribution's own kernel runs real KVM, without special hardware.
//!
//! [`Lab::boot`] takes a kernel from the cache and makes an initramfs of busybox, KVM's modules and programs
//! of the caller. Then it runs one command under an emulator: QEMU for AMD and s390x, Bochs for Intel.

pub mod apt;
pub mod bochs;
mod elf;
mod fetch;
mod guest;
mod initramfs;
mod kernel;
pub mod libs;
mod linux_guest;
mod modules;
pub mod process;
mod qemu;
mod running;
mod serial;
mod sie;
mod sources;
pub mod target;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use target::{Emulator, Machine};

pub use elf::is_static;
pub use guest::BUSYBOX;
pub use kernel::Kernel;
pub use sources::{Source, first_that_works};

/// Where the guest's output goes.
pub type Sink<'a> = &'a mut dyn Write;

/// The usual limit of silence, in seconds. No working guest is silent for that long.
pub const SILENCE: u64 = 600;

/// A guest to boot, and the command to run there.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The kernel.
    pub kernel: Kernel,
    /// The machine it boots on.
    pub machine: &'static Machine,
    /// How many CPUs.
    pub smp: u32,
    /// Memory in MiB.
    pub mem: u32,
    /// Guest time is instructions, not seconds.
    pub icount: bool,
    /// More kernel parameters.
    pub append: String,
    /// Files of the host and where they go.
    pub files: Vec<(PathBuf, String)>,
    /// Programs of the host that go with their libraries, at their own paths.
    pub programs: Vec<PathBuf>,
    /// QEMU and a Linux guest for it are there, and `linux-guest NAME` starts them (x86-64 only).
    pub linux_guest: bool,
    /// Environment of the command.
    pub env: Vec<(String, String)>,
    /// The command, as text for `sh`; without one a shell.
    pub command: Option<String>,
    /// How many seconds the guest may be silent.
    pub silence: u64,
    /// The terminal's rows and columns, if the output goes to one.
    pub terminal: Option<(u16, u16)>,
}

impl Spec {
    /// The usual guest.
    pub fn new(kernel: &Kernel, machine: &'static Machine) -> Self {
        Self {
            kernel: kernel.clone(),
            machine,
            smp: machine.cpus,
            mem: machine.memory_mib,
            icount: false,
            append: String::new(),
            files: Vec::new(),
            programs: Vec::new(),
            linux_guest: false,
            env: Vec::new(),
            command: None,
            silence: SILENCE,
            terminal: None,
        }
    }

    /// Adds a program of the host with its libraries, and the memory that takes.
    pub fn take(&mut self, program: PathBuf) {
        self.programs.push(program);
        self.mem = self.mem.max(self.machine.memory_with_programs_mib);
    }

    /// Adds QEMU and a Linux guest for it, and the memory that takes. The lab then has one CPU.
    ///
    /// After VMRUN with an event to inject, QEMU 7.2 keeps the event's vector as an exception to deliver. If
    /// the emulator is asked to leave its loop before the next exit, the guest gets the interrupt once more,
    /// even with interrupts off: Linux then waits for ever for a lock that the interrupted code holds. One
    /// emulator thread for two CPUs is asked so whenever it changes CPUs or one of them gets an interrupt.
    /// With one CPU, only an interrupt of that CPU does it, which ends the guest's run first.
    ///
    /// # Errors
    /// If the machine's kernel cannot run the host's QEMU, or its KVM is too slow for it.
    pub fn take_linux_guest(&mut self) -> Result<()> {
        if self.machine != target::AMD {
            bail!("only the AMD machine has a Linux guest, not {}", self.machine.name);
        }
        self.linux_guest = true;
        self.smp = 1;
        self.mem = self.mem.max(self.machine.memory_with_programs_mib);
        Ok(())
    }
}

/// Where the lab keeps its files.
#[derive(Debug)]
pub struct Lab {
    /// Kernels are kept below this directory, in `lab`.
    pub cache: PathBuf,
    /// Files of a running guest are below this directory. They are deleted when it ends.
    pub work: PathBuf,
}

impl Lab {
    /// Makes sure that a kernel is here.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn fetch(&self, kernel: &Kernel) -> Result<()> {
        fetch::Files::get(kernel, &self.cache).map(drop)
    }

    /// Boots a guest, runs the command, passes its output on; returns its status.
    ///
    /// # Errors
    /// If the kernel cannot be had, the emulator does not start, or the guest is lost.
    pub fn boot(&self, spec: &Spec, sink: Sink<'_>) -> Result<u8> {
        let files = fetch::Files::get(&spec.kernel, &self.cache)?;
        let scratch = scratch(&self.work, "boot")?;
        let initramfs = scratch.path().join("initramfs.cpio");
        let out =
            File::create(&initramfs).with_context(|| format!("cannot write {}", initramfs.display()))?;
        guest::root(spec, &files, scratch.path())?.write(BufWriter::new(out))?;
        let mut attempt = || match (spec.machine.emulator, &spec.command) {
            (Emulator::Qemu, Some(_)) => {
                qemu::run(spec, &files.image(), &initramfs, scratch.path(), &mut *sink)
            }
            (Emulator::Qemu, None) => qemu::interactive(spec, &files.image(), &initramfs),
            (Emulator::Bochs, Some(_)) => {
                bochs::run(spec, &files.image(), &initramfs, scratch.path(), &mut *sink)
            }
            (Emulator::Bochs, None) => {
                bail!("the Intel lab has no shell, as Bochs has no input: give a command after --")
            }
        };
        // QEMU without KVM now and then loses a kernel early in its boot. One more try is fair, because the
        // command has not begun by then. A later failure counts.
        match attempt() {
            Err(error) if error.is::<running::LostInBoot>() => {
                eprintln!(
                    "lab: kernel {} did not boot; trying once more. {error:#}",
                    spec.kernel.full_name()
                );
                attempt()
            }
            result => result,
        }
    }
}

/// A directory `parent/NAME-...` that is deleted when the value is dropped.
///
/// # Errors
/// If it cannot be made.
pub fn scratch(parent: &Path, name: &str) -> Result<TempDir> {
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let prefix = format!("{name}-");
    let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
    dir.with_context(|| format!("cannot make a directory in {}", parent.display()))
}
