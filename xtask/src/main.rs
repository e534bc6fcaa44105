//! The project's own tool: set-up, build, lab, tests, packaging. Start with `cargo xtask --help`.

mod bench;
mod build;
mod cli;
mod cmd;
mod debuginfo;
mod fuzz;
mod guest;
mod matrix;
mod paths;
mod setup;
mod test;
mod tidy;
mod toolchain;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use lab::process;

use cli::{Cli, Command, Table};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command; returns the exit status.
fn run(cli: Cli) -> Result<u8> {
    match cli.command {
        Command::Setup { purpose } => {
            setup::run_for(purpose)?;
            eprintln!("setup: nothing is missing");
            Ok(0)
        }
        Command::Build(args) => cmd::build::build(args),
        Command::Run { release, args } => cmd::build::run(release, &args),
        Command::Lab(args) => cmd::lab::run(args),
        Command::Demo => cmd::demo::run(),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Dist => cmd::dist::run(),
        Command::Gen(Table::Counters { trees }) => cmd::counters::generate(&trees),
    }
}
