//! What exitlat exports, read by the programs it is meant for: HdrHistogram in Java, Python and C, the
//! parsers of Prometheus' own client, promtool, node_exporter, spreadsheets' CSV, a browser. And the files
//! that GitHub reads, by its schemas.
//!
//! `cargo xtask test foreign` installs these programs and passes their paths.

mod browser;
mod prometheus;
mod readers;
mod repository;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use exitlat_tests::{
    program::{exitlat, text},
    synthetic::Synthetic,
};

/// The output directory of one test. It stays, for inspection.
fn directory(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign").join(test);
    if dir.exists() {
        fs::remove_dir_all(&dir).unwrap();
    }
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A path from an environment variable that set-up gives the tests.
fn prepared(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("{variable} is not set: run this by `cargo xtask test foreign`"),
    }
}

/// A program that set-up has unpacked.
fn unpacked(name: &str) -> PathBuf {
    prepared("EXITLAT_FOREIGN_PROGRAMS").join("usr/bin").join(name)
}

/// Runs a script of this directory with the readers' Python.
fn python(script: &str, arguments: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign").join(script);
    run(Command::new(prepared("EXITLAT_FOREIGN_PYTHON")).arg(script).args(arguments))
}

/// Runs a command that must succeed; its standard output.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (status, out, err) = text(output);
    assert_eq!(status, Some(0), "{command:?}\n{out}\n{err}");
    out
}

/// A dump in a file.
fn dump(dir: &Path, name: &str, what: Synthetic) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, what.dump()).unwrap();
    path
}

/// Exports a dump.
fn export(dump: &Path, output: &Path, options: &[&str]) {
    run(exitlat().arg("export").arg(dump).arg("-o").arg(output).args(options));
}

/// A recording without parts.
const PLAIN: Synthetic = Synthetic { split: false, incident: true };
/// A recording with parts, causes and the time of vCPUs.
const SPLIT: Synthetic = Synthetic { split: true, incident: true };
