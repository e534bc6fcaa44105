//! `exitlat`: parses, runs, and turns the outcome into an exit status.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use tracer_user::{cli::Cli, cmd};

/// musl's allocator gives large pieces back to the kernel at once: reading a recording took six times as
/// long with it.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    cmd::main(Cli::parse())
}
