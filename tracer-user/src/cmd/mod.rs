//! One module for each command: where source, model and output meet.

pub mod check;
pub mod diff;
pub mod export;
pub mod list;
pub mod live;
pub mod merge;
pub mod record;
pub mod report;
pub mod select;
pub mod view;

use std::{io, process::ExitCode};

use crate::{
    cli::{Cli, Command, Usage},
    kernel::Unsupported,
};

/// This program, in the header of a recording.
const TOOL: &str = concat!("exitlat ", env!("CARGO_PKG_VERSION"));

/// Done; also when ended by Ctrl-C, or by a closed pipe.
pub const DONE: u8 = 0;
/// Something failed.
pub const FAILED: u8 = 1;
/// The command line was wrong; clap uses it too.
pub const USAGE: u8 = 2;
/// `diff` found a regression.
pub const REGRESSED: u8 = 3;
/// This host cannot be traced as it is.
pub const UNSUPPORTED: u8 = 4;

/// Runs a command and turns its outcome into an exit status.
pub fn main(cli: Cli) -> ExitCode {
    let verbose = match &cli.command {
        None => cli.live.trace.verbose,
        Some(Command::Live(args)) => args.trace.verbose,
        Some(Command::Record(args)) => args.trace.verbose,
        Some(_) => 0,
    };
    crate::kernel::log::init(verbose);
    match run(cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let Some(status) = status_of(&error) else { return ExitCode::from(DONE) };
            // The message may quote names and headers that others chose.
            say!("exitlat: {}", crate::render::escape::terminal(&format!("{error:#}")));
            ExitCode::from(status)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command.unwrap_or(Command::Live(cli.live)) {
            Command::Live(args) => live::run(args).await,
            Command::Record(args) => record::run(args).await,
            Command::Report(args) => report::run(&args),
            Command::Export(args) => export::run(&args),
            Command::Diff(args) => diff::run(&args),
            Command::Merge(args) => merge::run(&args),
            Command::List(args) => list::run(&args).await,
            Command::Check(args) => check::run(&args).await,
        }
    })
}

/// Whether an error only says that the reader of the output has gone, which is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut errors = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    errors.any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Goes on after a closed pipe, for a command that has more to do than print.
///
/// # Errors
/// All others.
fn unless_closed(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    printed.or_else(|error| if is_closed_pipe(&error) { Ok(()) } else { Err(error) })
}

/// The exit status of an error; [`None`] for a closed pipe.
fn status_of(error: &anyhow::Error) -> Option<u8> {
    if is_closed_pipe(error) {
        return None;
    }
    if error.downcast_ref::<Unsupported>().is_some() {
        Some(UNSUPPORTED)
    } else if error.downcast_ref::<Usage>().is_some() {
        Some(USAGE)
    } else {
        Some(FAILED)
    }
}
