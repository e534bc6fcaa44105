//! Building our own programs and finding out where cargo put them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::lab::kernels::Arch;
use crate::process::{Output, capture};
use crate::toolchain::{MUSL, S390X, cargo};

/// A program of ours: the arguments that select it, and its target's name.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    select: &'static [&'static str],
    name: &'static str,
}

/// The tracer.
pub const EXITLAT: Program = Program { select: &["build", "-p", "tracer-user"], name: "exitlat" };
/// The tiny VMM whose exits are known exactly.
pub const WORKLOAD: Program =
    Program { select: &["build", "-p", "exitlat-tests", "--bin", "workload"], name: "workload" };
/// The tiny VMM whose SIE exits are scripted.
pub const SIE_WORKLOAD: Program =
    Program { select: &["build", "-p", "exitlat-tests", "--bin", "sie-workload"], name: "sie-workload" };
/// The tests that run in the lab's guest.
pub const LAB_TESTS: Program =
    Program { select: &["test", "-p", "exitlat-tests", "--test", "lab", "--no-run"], name: "lab" };

/// Attaches programs that do nothing, for the bench.
pub const FLOOR: Program =
    Program { select: &["build", "-p", "exitlat-tests", "--bin", "floor"], name: "floor" };
/// Makes context switches of threads that are no vCPUs, for the bench.
pub const SWITCHES: Program = Program {
    select: &["build", "-p", "exitlat-bench", "--bin", "context-switches"],
    name: "context-switches",
};
/// Measures the reading side, for the bench.
pub const REFRESH: Program =
    Program { select: &["build", "-p", "exitlat-bench", "--bin", "bench-reader"], name: "bench-reader" };

/// Cargo's optimised profile.
pub const RELEASE: &str = "release";

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Cargo's name for it; its usual one if not given.
    pub name: Option<&'static str>,
    /// The target, if it is not this host.
    pub target: Option<String>,
}

impl Profile {
    /// What is shipped.
    pub fn shipped(arch: Arch) -> Self {
        Self { name: Some(RELEASE), target: Some(triple(arch).to_owned()) }
    }

    /// What goes into guests: the same BPF programs, user space built in a fraction of the time.
    pub fn lab(arch: Arch) -> Self {
        Self { name: Some("lab"), target: Some(triple(arch).to_owned()) }
    }
}

fn triple(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => MUSL,
        Arch::S390x => S390X,
    }
}

/// What matters in cargo's messages.
#[derive(Debug, Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

/// Builds a program; returns its path.
pub fn build(program: Program, profile: &Profile, output: Output<'_>) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(program.select).arg("--message-format=json-render-diagnostics");
    apply(&mut command, profile);
    let messages = capture(&mut command, output)?;
    executable(&messages, program.name)
        .with_context(|| format!("cargo built no program {} ({})", program.name, program.select.join(" ")))
}

fn apply(command: &mut Command, profile: &Profile) {
    command.args(profile.name.iter().flat_map(|name| ["--profile", name]));
    command.args(profile.target.iter().flat_map(|triple| ["--target", triple]));
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let ours = parsed.filter(|message| message.target.as_ref().is_some_and(|target| target.name == name));
    ours.filter_map(|message| message.executable).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"exitlat","kind":["lib"]},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"exitlat","kind":["bin"]},"executable":"/t/exitlat"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n",
        );
        assert_eq!(executable(messages, "exitlat"), Some(PathBuf::from("/t/exitlat")));
        assert_eq!(executable(messages, "workload"), None);
    }
}
