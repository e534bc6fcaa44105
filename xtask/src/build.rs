//! Builds the programs of this repository and finds where cargo put them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::Message;

use crate::process::{Output, capture};
use crate::toolchain::{MUSL, S390X, cargo};
use lab::target::Arch;

/// A program of this repository: the arguments that select it, and its target's name.
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
pub const NULL_PROGRAMS: Program =
    Program { select: &["build", "-p", "exitlat-tests", "--bin", "null-programs"], name: "null-programs" };
/// Makes context switches of threads that are no vCPUs, for the bench.
pub const SWITCHES: Program = Program {
    select: &["build", "-p", "exitlat-bench", "--bin", "context-switches"],
    name: "context-switches",
};
/// Measures the reading side, for the bench.
pub const REFRESH: Program =
    Program { select: &["build", "-p", "exitlat-bench", "--bin", "bench-reader"], name: "bench-reader" };
/// Makes the recordings that the bench reads.
pub const LARGE_RECORDING: Program = Program {
    select: &["build", "-p", "exitlat-bench", "--bin", "large-recording"],
    name: "large-recording",
};

/// Cargo's optimised profile.
pub const RELEASE: &str = "release";

/// Options of a build.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Cargo's profile; the usual one if not given.
    pub name: Option<&'static str>,
    /// The target triple, if it is not this host's.
    pub target: Option<String>,
}

impl Profile {
    /// The options of a release.
    pub fn shipped(arch: Arch) -> Self {
        Self { name: Some(RELEASE), target: Some(triple(arch).to_owned()) }
    }

    /// The options for guests: the BPF programs of a release, and user space that builds in a fraction of the
    /// time.
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

/// The path of a program among cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let artifacts = Message::parse_stream(messages.as_bytes()).filter_map(|message| match message {
        Ok(Message::CompilerArtifact(artifact)) => Some(artifact),
        _ => None,
    });
    let ours = artifacts.filter(|artifact| artifact.target.name == name);
    ours.filter_map(|artifact| artifact.executable).last().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_the_messages() {
        let artifact = |kind: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///x#exitlat@0.1.0",
                "manifest_path":"/x/Cargo.toml","target":{{"kind":["{kind}"],"crate_types":["{kind}"],
                "name":"exitlat","src_path":"/x/main.rs","edition":"2024","doc":true,"doctest":false,
                "test":true}},"profile":{{"opt_level":"0","debuginfo":0,"debug_assertions":true,
                "overflow_checks":true,"test":false}},"features":[],"filenames":["/t/exitlat"],
                "executable":{executable},"fresh":true}}"#
            )
            .replace('\n', "")
        };
        let end = r#"{"reason":"build-finished","success":true}"#;
        let messages =
            [artifact("lib", "null"), artifact("bin", r#""/t/exitlat""#), end.to_owned()].join("\n");
        let messages = messages.as_str();
        assert_eq!(executable(messages, "exitlat"), Some(PathBuf::from("/t/exitlat")));
        assert_eq!(executable(messages, "workload"), None);
    }
}
