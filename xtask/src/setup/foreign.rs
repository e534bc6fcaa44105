//! The programs that read what exitlat exports: where they are, and the Python among them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use lab::apt::{Suite, Trust};
use lab::target::Arch;

use super::needs::HDRHISTOGRAM;
use super::say_and_run;
use crate::paths;

/// The Python packages, each in one version.
const REQUIREMENTS: &str = "tests/foreign/requirements.txt";

/// The suite of [`PROGRAMS`]: the only one that has HdrHistogram in C.
const SUITE: &str = "sid";

/// Packages with programs that are unpacked and not installed, so that no service starts: Prometheus'
/// checker, node_exporter, HdrHistogram in C. The last one needs a newer C library than a stable host has.
const PROGRAMS: [&str; 6] = [
    "promtool",
    "prometheus-node-exporter",
    "libhdr-histogram-examples",
    "libhdr-histogram6",
    "libc6",
    "zlib1g",
];

/// What the tests are told, as environment variables.
pub fn environment() -> [(&'static str, PathBuf); 3] {
    [
        ("EXITLAT_FOREIGN_PYTHON", python()),
        ("EXITLAT_FOREIGN_HDRHISTOGRAM", HDRHISTOGRAM.into()),
        ("EXITLAT_FOREIGN_PROGRAMS", programs_directory()),
    ]
}

fn programs_directory() -> PathBuf {
    paths::target().join("foreign-programs")
}

fn directory() -> PathBuf {
    paths::target().join("foreign-venv")
}

fn python() -> PathBuf {
    directory().join("bin/python")
}

/// Makes a Python environment with the packages, unless it is there with just these.
pub fn venv() -> Result<()> {
    let requirements = paths::root().join(REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    // Written last: what is there without it is half of an environment.
    let stamp = directory().join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("setup: Python packages for the foreign tests are missing");
    say_and_run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(directory()))?;
    let mut pip = Command::new(python());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements);
    say_and_run(&mut pip).context("the packages come from Python's package index, through pip")?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Unpacks [`PROGRAMS`], unless just these are there.
pub fn programs() -> Result<()> {
    let (directory, wanted) = (programs_directory(), PROGRAMS.join("\n"));
    // Written last: it is there only if everything was unpacked.
    let stamp = directory.join("unpacked.txt");
    if fs::read_to_string(&stamp).is_ok_and(|unpacked| unpacked == wanted) {
        return Ok(());
    }
    eprintln!("setup: programs for the foreign tests are missing: {}", PROGRAMS.join(" "));
    let apt = paths::target().join("foreign-apt");
    let suite = Suite::open(SUITE, None, Trust::Keyring, Arch::X86_64, &apt)?;
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for name in PROGRAMS {
        let package = suite.download(name)?;
        say_and_run(Command::new("dpkg-deb").arg("-x").arg(&package.file).arg(&directory))?;
    }
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}
