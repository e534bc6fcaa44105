//! `cargo xtask lab`: from arguments to a guest.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use clap::Args;

use crate::build::{EXITLAT, LAB_TESTS, Profile, SIE_WORKLOAD, WORKLOAD, build};
use crate::lab::kernels::Matrix;
use crate::lab::{Spec, boot, libs};
use crate::process::{Output, quote};
use crate::setup::{self, Purpose};
use crate::target::{Arch, Emulator, Machine, Vendor};

/// Arguments of `lab`.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// A kernel of tests/kernels.toml.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// The architecture; on s390x the guests' exits are scripted.
    #[arg(long, value_enum, default_value = "x86_64")]
    pub arch: Arch,
    /// Whose CPU, on x86_64: amd is emulated by QEMU, intel by Bochs.
    #[arg(long, value_enum, default_value = "amd", conflicts_with = "arch")]
    pub cpu: Vendor,
    /// How many CPUs [default: 2, or 1 for intel].
    #[arg(long, value_name = "N")]
    pub smp: Option<u32>,
    /// Memory in MiB [default: 1024, or 512 for intel].
    #[arg(long, value_name = "MIB")]
    pub mem: Option<u32>,
    /// Make one instruction one nanosecond of guest time, repeatably (not on intel; amd then has one CPU).
    #[arg(long)]
    pub icount: bool,
    /// More kernel parameters; `lab.nokvm` leaves KVM's modules unloaded.
    #[arg(long, value_name = "PARAMETERS", default_value = "", allow_hyphen_values = true)]
    pub append: String,
    /// Take perf along.
    #[arg(long)]
    pub with_perf: bool,
    /// Take a file along, by default to /bin.
    #[arg(long, value_name = "FILE[:DEST]")]
    pub with: Vec<String>,
    /// Take the program of the lab tests along, as /bin/lab-tests.
    #[arg(long)]
    pub with_tests: bool,
    /// Leave exitlat and workload out, so nothing needs building.
    #[arg(long)]
    pub bare: bool,
    /// How many seconds the guest may be silent.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::lab::SILENCE)]
    pub silence: u64,
    /// The command and its arguments; a shell if there is none.
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Our programs: what to build and where it goes in the guest.
fn programs(arch: Arch) -> [(crate::build::Program, &'static str); 2] {
    let workload = match arch {
        Arch::X86_64 => WORKLOAD,
        Arch::S390x => SIE_WORKLOAD,
    };
    [(EXITLAT, "/bin/exitlat"), (workload, "/bin/workload")]
}
/// The lab tests, likewise.
const TESTS: (crate::build::Program, &str) = (LAB_TESTS, "/bin/lab-tests");

/// Boots what the arguments ask for.
pub fn run(args: LabArgs) -> Result<u8> {
    let vendor = (args.arch == Arch::X86_64).then_some(args.cpu);
    let machine = Machine::of(args.arch, vendor)?;
    setup::run_for(Purpose::of_lab(machine.arch))?;
    if args.icount && machine.emulator == Emulator::Bochs {
        bail!("--icount is QEMU's; under Bochs (--cpu intel) time is always the number of instructions");
    }
    let matrix = Matrix::load()?;
    let mut spec = Spec::new(matrix.kernel(machine.arch, args.kernel.as_deref())?, machine);
    spec.smp = args.smp.unwrap_or(spec.smp);
    spec.icount = args.icount;
    spec.append = args.append;
    spec.silence = args.silence;
    if args.with_perf {
        if machine.arch == Arch::S390x {
            bail!("perf of this host does not run in an s390x guest");
        }
        spec.take(libs::perf()?);
    }
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
        spec.command = Some(args.command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "));
    }
    boot(&spec, &mut io::stdout())
}

/// Builds exitlat and workload as they are shipped and takes them along.
pub fn add_programs(spec: &mut Spec, output: Output<'_>) -> Result<()> {
    let arch = spec.machine.arch;
    for (program, to) in programs(arch) {
        spec.files.push((build(program, &Profile::lab(arch), output)?, to.to_owned()));
    }
    spec.env.extend([("EXITLAT", "/bin/exitlat"), ("WORKLOAD", "/bin/workload")].map(owned));
    Ok(())
}

/// Builds the lab tests and takes them along.
pub fn add_tests(spec: &mut Spec, output: Output<'_>) -> Result<()> {
    let (program, to) = TESTS;
    spec.files.push((build(program, &Profile::lab(spec.machine.arch), output)?, to.to_owned()));
    Ok(())
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Rows and columns, if our output goes to a terminal. stty looks at its input, so that must be one too.
pub fn terminal() -> Option<(u16, u16)> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let stty = Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output().ok();
    let text = stty.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default();
    let size = text
        .trim()
        .split_once(' ')
        .and_then(|(rows, columns)| Some((rows.parse().ok()?, columns.parse().ok()?)));
    Some(size.filter(|(rows, columns)| *rows > 0 && *columns > 0).unwrap_or((24, 80)))
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
