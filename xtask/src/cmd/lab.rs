//! `cargo xtask lab`: from arguments to a guest.

use std::io;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use lab::target::{Arch, Emulator, Machine, Vendor};
use lab::{SILENCE, Spec, libs};

use crate::guest::{add_programs, add_tests, boot, terminal};
use crate::matrix::Matrix;
use crate::process::Output;
use crate::setup::{self, Purpose};

/// Arguments of `lab`.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// A kernel of tests/kernels.toml.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Architecture. On s390x the exits of the guests are scripted.
    #[arg(long, value_enum, default_value = "x86_64")]
    pub arch: Arch,
    /// CPU vendor on x86_64. QEMU emulates amd, Bochs intel.
    #[arg(long, value_enum, default_value = "amd", conflicts_with = "arch")]
    pub cpu: Vendor,
    /// Number of CPUs [default: 2, or 1 for intel or with a Linux guest].
    #[arg(long, value_name = "N")]
    pub smp: Option<u32>,
    /// Memory in MiB [default: 1024, or 512 for intel].
    #[arg(long, value_name = "MIB")]
    pub mem: Option<u32>,
    /// Count guest time in instructions, one nanosecond each (not on intel; amd then has one CPU).
    #[arg(long)]
    pub icount: bool,
    /// More kernel parameters; `lab.nokvm` leaves KVM's modules unloaded.
    #[arg(long, value_name = "PARAMETERS", default_value = "", allow_hyphen_values = true)]
    pub append: String,
    /// Put perf and its libraries into the guest.
    #[arg(long)]
    pub with_perf: bool,
    /// Put QEMU and a Linux guest into the lab; `linux-guest NAME` starts them there (amd).
    #[arg(long)]
    pub with_linux_guest: bool,
    /// Copy a file into the guest, by default to /bin.
    #[arg(long, value_name = "FILE[:DEST]")]
    pub with: Vec<String>,
    /// Copy the program of the lab tests into the guest, as /bin/lab-tests.
    #[arg(long)]
    pub with_tests: bool,
    /// Leave exitlat and workload out; nothing is built.
    #[arg(long)]
    pub bare: bool,
    /// Stop a guest that prints nothing for this long.
    #[arg(long, value_name = "SECONDS", default_value_t = SILENCE)]
    pub silence: u64,
    /// The command and its arguments; a shell if there is none.
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Boots the guest and runs the command; returns its status.
pub fn run(args: LabArgs) -> Result<u8> {
    let vendor = (args.arch == Arch::X86_64).then_some(args.cpu);
    let machine = Machine::of(args.arch, vendor)?;
    setup::run_for(Purpose::of_lab(machine.arch))?;
    if args.icount && machine.emulator == Emulator::Bochs {
        bail!(
            "--icount needs QEMU. With --cpu intel (Bochs), guest time is always the number of instructions"
        );
    }
    let matrix = Matrix::load()?;
    let mut spec = Spec::new(matrix.kernel(machine.arch, args.kernel.as_deref())?, machine);
    spec.icount = args.icount;
    spec.append = args.append;
    spec.silence = args.silence;
    if args.with_perf {
        if machine.arch == Arch::S390x {
            bail!("this host's perf cannot run in an s390x guest");
        }
        spec.take(libs::perf()?);
    }
    if args.with_linux_guest {
        spec.take_linux_guest()?;
    }
    spec.smp = args.smp.unwrap_or(spec.smp);
    spec.mem = args.mem.unwrap_or(spec.mem);
    if !args.bare {
        add_programs(&mut spec, Output::Terminal)?;
    }
    if args.with_tests {
        add_tests(&mut spec, Output::Terminal)?;
    }
    spec.files.extend(args.with.iter().map(|argument| split_with(argument)));
    spec.terminal = terminal();
    if !args.command.is_empty() {
        spec.command = Some(shell_words::join(&args.command));
    }
    boot(&spec, &mut io::stdout())
}

/// Splits `FILE[:DEST]`.
fn split_with(argument: &str) -> (PathBuf, String) {
    match argument.rsplit_once(':') {
        Some((file, to)) if to.starts_with('/') => (PathBuf::from(file), to.to_owned()),
        _ => {
            let file = PathBuf::from(argument);
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            (file, format!("/bin/{name}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_to_bin_unless_told() {
        assert_eq!(split_with("/a/b.txt"), (PathBuf::from("/a/b.txt"), "/bin/b.txt".to_owned()));
        assert_eq!(split_with("b:/etc/b"), (PathBuf::from("b"), "/etc/b".to_owned()));
        assert_eq!(split_with("odd:name"), (PathBuf::from("odd:name"), "/bin/odd:name".to_owned()));
    }
}
