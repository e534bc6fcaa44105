//! The programs that read what exitlat exports: where they are, and the Python among them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::needs::HDRHISTOGRAM;
use super::say_and_run;
use crate::paths;

/// The Python packages, each in one version.
const REQUIREMENTS: &str = "tests/foreign/requirements.txt";

/// What the tests are told, as environment variables.
pub fn environment() -> [(&'static str, PathBuf); 2] {
    [("EXITLAT_FOREIGN_PYTHON", python()), ("EXITLAT_FOREIGN_HDRHISTOGRAM", HDRHISTOGRAM.into())]
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
