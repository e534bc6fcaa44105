//! Guests of the lab with programs of this repository in them.

use std::io::{self, IsTerminal};

use anyhow::Result;
use lab::target::Arch;
use lab::{Lab, Sink, Spec};
use terminal_size::{Height, Width, terminal_size};

use crate::build::{EXITLAT, LAB_TESTS, Profile, Program, SIE_WORKLOAD, WORKLOAD, build};
use crate::paths;
use crate::process::Output;

/// Boots a guest, runs the command and passes its output on. Returns the command's status.
///
/// # Errors
/// If the kernel is not available, or the guest does not end as it should.
pub fn boot(spec: &Spec, sink: Sink<'_>) -> Result<u8> {
    here()?.boot(spec, sink)
}

/// Makes sure that the guest's kernel is here.
///
/// # Errors
/// If none of its sources works.
pub fn fetch(spec: &Spec) -> Result<()> {
    here()?.fetch(&spec.kernel)
}

fn here() -> Result<Lab> {
    Ok(Lab { cache: paths::cache()?, work: paths::target().join("lab") })
}

/// Programs to build, and their paths in the guest.
fn programs(arch: Arch) -> [(Program, &'static str); 2] {
    let workload = match arch {
        Arch::X86_64 => WORKLOAD,
        Arch::S390x => SIE_WORKLOAD,
    };
    [(EXITLAT, "/bin/exitlat"), (workload, "/bin/workload")]
}
/// The lab tests and their path in the guest.
const TESTS: (Program, &str) = (LAB_TESTS, "/bin/lab-tests");

/// Builds exitlat and workload as they are shipped, and puts them into the guest.
pub fn add_programs(spec: &mut Spec, output: Output<'_>) -> Result<()> {
    let arch = spec.machine.arch;
    for (program, to) in programs(arch) {
        spec.files.push((build(program, &Profile::lab(arch), output)?, to.to_owned()));
    }
    spec.env.extend([("EXITLAT", "/bin/exitlat"), ("WORKLOAD", "/bin/workload")].map(owned));
    Ok(())
}

/// Builds the lab tests and puts them into the guest.
pub fn add_tests(spec: &mut Spec, output: Output<'_>) -> Result<()> {
    let (program, to) = TESTS;
    spec.files.push((build(program, &Profile::lab(spec.machine.arch), output)?, to.to_owned()));
    Ok(())
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Rows and columns of the terminal, if the output is one.
pub fn terminal() -> Option<(u16, u16)> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = terminal_size().map(|(Width(columns), Height(rows))| (rows, columns));
    Some(size.filter(|(rows, columns)| *rows > 0 && *columns > 0).unwrap_or((24, 80)))
}
