//! `exitlat`: parses, runs, and turns the outcome into an exit status.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use tracer_user::{cli::Cli, cmd};

fn main() -> ExitCode {
    cmd::main(Cli::parse())
}
