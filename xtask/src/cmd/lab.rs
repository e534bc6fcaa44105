//! `cargo xtask lab`: from arguments to a guest.

use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::build::{EXITLAT, LAB_TESTS, Profile, SIE_WORKLOAD, WORKLOAD, build};
use crate::cli::{LabArgs, split_with};
use crate::lab::kernels::{Arch, Cpu, Matrix};
use crate::lab::{Spec, boot, libs};
use crate::process::{Output, quote};
use crate::setup::{self, Purpose};

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
    let cpu = match args.arch {
        Arch::X86_64 => args.cpu,
        Arch::S390x => Cpu::S390x,
    };
    setup::run_for(Purpose::of_lab(cpu.arch()))?;
    if args.icount && args.cpu == Cpu::Intel {
        bail!("--icount is QEMU's; under Bochs (--cpu intel) time is always the number of instructions");
    }
    let matrix = Matrix::load()?;
    let mut spec = Spec::new(matrix.kernel(cpu.arch(), args.kernel.as_deref())?, cpu);
    spec.smp = args.smp.unwrap_or(spec.smp);
    spec.icount = args.icount;
    spec.append = args.append;
    spec.silence = args.silence;
    if args.with_perf {
        if cpu == Cpu::S390x {
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
    let arch = spec.cpu.arch();
    for (program, to) in programs(arch) {
        spec.files.push((build(program, &Profile::lab(arch), output)?, to.to_owned()));
    }
    spec.env.extend([("EXITLAT", "/bin/exitlat"), ("WORKLOAD", "/bin/workload")].map(owned));
    Ok(())
}

/// Builds the lab tests and takes them along.
pub fn add_tests(spec: &mut Spec, output: Output<'_>) -> Result<()> {
    let (program, to) = TESTS;
    spec.files.push((build(program, &Profile::lab(spec.cpu.arch()), output)?, to.to_owned()));
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
