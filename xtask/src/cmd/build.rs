//! `cargo xtask build` and `cargo xtask run`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::build::{EXITLAT, Profile, RELEASE, build as build_program};
use crate::process::{Output, cannot_start};
use crate::setup::{self, Purpose};
use crate::toolchain::{MUSL, S390X};

/// Arguments of `build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// With optimisation, statically linked.
    #[arg(long)]
    pub release: bool,
    /// For another target than this host, or than static x86-64 Linux with --release.
    #[arg(long, value_name = "TRIPLE")]
    pub target: Option<String>,
}

/// Builds exitlat and prints where it is.
pub fn build(args: BuildArgs) -> Result<u8> {
    println!("{}", exitlat(args)?.display());
    Ok(0)
}

/// Builds exitlat and runs it on this host. Returns its status.
pub fn run(release: bool, args: &[String]) -> Result<u8> {
    let program = exitlat(BuildArgs { release, target: None })?;
    let mut command = Command::new(&program);
    let status = command.args(args).status().with_context(|| cannot_start(&command))?;
    // A program that a signal killed has no status; 255 is a failure in every shell.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

fn exitlat(args: BuildArgs) -> Result<PathBuf> {
    setup::run_for(if args.target.as_deref() == Some(S390X) { Purpose::S390x } else { Purpose::Build })?;
    let target = args.target.or_else(|| args.release.then(|| MUSL.to_owned()));
    build_program(EXITLAT, &Profile { name: args.release.then_some(RELEASE), target }, Output::Terminal)
}
