//! Set-up: finds missing programs, names them, and installs them or prints how.
//!
//! It is safe to repeat, and quick when nothing is missing. Every other command begins with it. Toolchains
//! are installed for the user; packages need root, and a distribution with apt.

pub mod foreign;
mod needs;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use which::{which, which_in};

pub use needs::Purpose;

use crate::process::{Output, probe, run};
use crate::toolchain::{BPF_LINKER, BPF_NIGHTLY, CARGO_DENY, CARGO_FUZZ, installed_bpf};
use lab::{first_that_works, is_static};
use needs::{COMPONENTS, PACKAGES, Package, Probe, TARGETS};

/// Installs what is missing.
pub fn run_for(purpose: Purpose) -> Result<()> {
    packages(purpose)?;
    if purpose.includes(Purpose::Foreign) {
        foreign::venv()?;
        foreign::programs()?;
    }
    rust(purpose)
}

fn packages(purpose: Purpose) -> Result<()> {
    let wanted = |package: &&Package| package.purposes.iter().any(|part| purpose.includes(*part));
    let missing = PACKAGES.iter().filter(wanted).filter(|package| !present(package)).collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|package| package.names[0]).collect::<Vec<_>>().join(" ");
    eprintln!("setup: missing packages: {names}");
    let root = probe("id", &["-u"]).is_some_and(|id| id.trim() == "0");
    if !root || !in_path("apt-get") {
        bail!(
            "cannot install packages {}. On Debian or Ubuntu type:\n  \
             sudo apt-get update\n  sudo apt-get install --no-install-recommends {names}\n\
             On other distributions install the same programs. Then repeat the command.",
            if root { "without apt-get" } else { "without being root" }
        );
    }
    say_and_run(apt().arg("update"))?;
    let (simple, special): (Vec<_>, Vec<_>) =
        missing.into_iter().partition(|package| package.fallback.is_none());
    let together = match simple.is_empty() {
        true => Ok(()),
        false => say_and_run(install().args(simple.iter().map(|package| known_name(package)))),
    };
    match together {
        Ok(()) => special.into_iter().try_for_each(install_one),
        Err(error) => {
            eprintln!("setup: {error}; installing the packages one at a time");
            simple.into_iter().chain(special).try_for_each(install_one)
        }
    }
}

/// Installs one package, under the first name or by the first list of packages that works.
fn install_one(package: &Package) -> Result<()> {
    let names = package.names.iter().filter(|name| is_known(name)).map(|name| name.to_string());
    let mut ways = names.chain(package.fallback.map(|words| words.join(" "))).collect::<Vec<_>>();
    if ways.is_empty() {
        ways.push(package.names[0].to_owned());
    }
    first_that_works(&ways, &mut |line| eprintln!("setup: {line}"), |way, _| {
        say_and_run(install().args(way.split(' ')))
    })
}

/// Looks for the program or file first, which is quick and works everywhere. Then asks the package manager.
fn present(package: &Package) -> bool {
    let found = match package.probe {
        Probe::Program(name) => in_path(name),
        Probe::File(places) => places.iter().any(|place| Path::new(place).exists()),
        Probe::Static(places) => {
            places.iter().any(|place| fs::read(place).is_ok_and(|bytes| is_static(&bytes).unwrap_or(false)))
        }
        Probe::Runs(program, args) => probe(program, args).is_some(),
    };
    let installed = |name: &&str| {
        let state = probe("dpkg-query", &["-W", "-f", "${db:Status-Status}", name]);
        state.is_some_and(|state| state == "installed")
    };
    found || package.names.iter().any(installed)
}

/// Whether a program can be run. Programs for root may be outside of PATH.
fn in_path(program: &str) -> bool {
    which(program).is_ok() || which_in(program, Some("/usr/sbin:/sbin"), "/").is_ok()
}

/// The package's name in this distribution.
fn known_name(package: &Package) -> &'static str {
    package.names.iter().find(|name| is_known(name)).unwrap_or(&package.names[0])
}

/// Whether apt has a package of that name.
fn is_known(name: &str) -> bool {
    probe("apt-cache", &["show", name]).is_some()
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["-q", "-y", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=600"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn install() -> Command {
    let mut install = apt();
    install.args(["install", "--no-install-recommends"]);
    install
}

fn rust(purpose: Purpose) -> Result<()> {
    if !in_path("rustup") {
        bail!(
            "rustup is missing (https://rustup.rs): exitlat needs a stable toolchain, and a nightly for BPF"
        );
    }
    let bpf = match installed_bpf() {
        Some(name) => name,
        None => {
            let nightly = ["toolchain", "install", BPF_NIGHTLY, "--profile", "minimal", "-c", "rust-src"];
            say_and_run(Command::new("rustup").args(nightly))
                .context("BPF programs need a nightly toolchain")?;
            BPF_NIGHTLY
        }
    };
    let targets = rustup(None, &["target", "list", "--installed"])?;
    for (target, part) in TARGETS {
        if purpose.includes(*part) && !targets.lines().any(|installed| installed == *target) {
            say_and_run(Command::new("rustup").args(["target", "add", target]))?;
        }
    }
    for toolchain in [None, Some(bpf)] {
        let installed = rustup(toolchain, &["component", "list", "--installed"])?;
        for component in COMPONENTS {
            let here = component.bpf == toolchain.is_some() && purpose.includes(component.purpose);
            if here && !installed.lines().any(|line| names_component(line, component.name)) {
                let mut add = Command::new("rustup");
                add.args(["component", "add", component.name]);
                say_and_run(add.args(toolchain.iter().flat_map(|name| ["--toolchain", name])))?;
            }
        }
    }
    tool("bpf-linker", BPF_LINKER, &[])?;
    if purpose.includes(Purpose::Fuzz) {
        tool("cargo-fuzz", CARGO_FUZZ, &[])?;
    }
    if purpose.includes(Purpose::Deny) {
        // Its release profile takes four times as long to build, and it runs for seconds.
        tool("cargo-deny", CARGO_DENY, &["--debug"])?;
    }
    Ok(())
}

/// `clippy-x86_64-unknown-linux-gnu` is clippy; `rust-src` is rust-src.
fn names_component(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("-x86_64"))
}

fn rustup(toolchain: Option<&str>, args: &[&str]) -> Result<String> {
    let toolchain = toolchain.iter().flat_map(|name| ["--toolchain", name]);
    let args = args.iter().copied().chain(toolchain).collect::<Vec<_>>();
    probe("rustup", &args).with_context(|| format!("`rustup {}` failed", args.join(" ")))
}

/// Installs a program with cargo, in exactly that version.
fn tool(name: &str, version: &str, options: &[&str]) -> Result<()> {
    let found = probe(name, &["--version"]).unwrap_or_default();
    if found.split_whitespace().nth(1) == Some(version) {
        return Ok(());
    }
    let found = if found.is_empty() { "no version" } else { found.trim() };
    eprintln!("setup: {name} {version} is needed, {found} is installed");
    let mut install = Command::new("cargo");
    // Not into our build directory, and not with the settings of our workspace.
    install.args(["install", name, "--version", version, "--locked"]).args(options).current_dir("/");
    install.env_remove("CARGO_TARGET_DIR");
    say_and_run(&mut install)
}

/// Shows the command as it is run.
fn say_and_run(command: &mut Command) -> Result<()> {
    eprintln!("setup: {}", crate::process::display(command));
    run(command, Output::Terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_told_from_their_namesakes() {
        assert!(names_component("clippy-x86_64-unknown-linux-gnu", "clippy"));
        assert!(names_component("rust-src", "rust-src"));
        assert!(!names_component("rust-src", "rust"));
    }
}
