//! `cargo xtask test`: the tiers, from quick to slow, and one line of totals at the end.

mod args;
mod deny;
mod lab;
mod libtest;
mod runner;
mod tiers;

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::matrix::Matrix;
use crate::setup::{self, Purpose};
use crate::{paths, process};
pub use args::TestArgs;
use runner::Runner;

/// The tiers, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Tier {
    /// Formatting, and the rules of tidy.
    Fmt,
    /// Lints, of the workspace and of the BPF programs.
    Clippy,
    /// The dependencies: duplicates, licences, sources, advisories.
    Deny,
    /// Tests that need nothing but a compiler.
    Host,
    /// What is exported, read by other programs and looked at in a browser.
    Foreign,
    /// The BPF programs on this host's kernel, with made-up events (root).
    Testrun,
    /// Made-up input for everything that reads what others wrote.
    Fuzz,
    /// Real exits, in the lab's guests.
    Lab,
}

/// Runs the tiers asked for; status 1 if anything failed.
pub fn run(args: &TestArgs) -> Result<u8> {
    let mut tiers = if args.tiers.is_empty() { Tier::value_variants().to_vec() } else { args.tiers.clone() };
    tiers.sort_unstable();
    tiers.dedup();
    let purposes = [
        (Tier::Deny, Purpose::Deny),
        (Tier::Lab, Purpose::LabTest),
        (Tier::Foreign, Purpose::Foreign),
        (Tier::Fuzz, Purpose::Fuzz),
    ];
    setup::run_for(Purpose::Check)?;
    for (_, purpose) in purposes.iter().filter(|(tier, _)| tiers.contains(tier)) {
        setup::run_for(*purpose)?;
    }

    let matrix = Matrix::load()?;
    let runner = Runner::new(paths::target().join("xtask-logs"))?;
    for tier in tiers {
        tiers::run(tier, args, &matrix, &runner)?;
    }
    let total = runner.total();
    // The one line on standard output.
    writeln!(io::stdout(), "{}", total.line()).context("cannot print the totals")?;
    Ok(u8::from(total.failed > 0))
}

/// Whether we are root, which loading BPF programs takes.
fn is_root() -> bool {
    process::probe("id", &["-u"]).is_some_and(|id| id.trim() == "0")
}
