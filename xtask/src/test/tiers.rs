//! What each tier runs.

use std::fs::File;
use std::process::Command;

use anyhow::{Result, bail};

use super::runner::{Count, Runner, Step};
use super::{TestArgs, Tier, deny, is_root, lab};
use crate::matrix::Matrix;
use crate::process::{Output, run as run_tool};
use crate::setup::foreign;
use crate::toolchain::{bpf_cargo, cargo};
use crate::{fuzz, paths, tidy};

/// The BPF programs are linted as they are built: with core from source, for the BPF target.
const CLIPPY_BPF: &[&str] = &[
    "clippy",
    "-p",
    "tracer-ebpf",
    "--bins",
    "--features",
    "bpf,burn",
    "--target",
    "bpfel-unknown-none",
    "-Zbuild-std=core",
    "--",
    "-D",
    "warnings",
];
const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
const DOC: &[&str] = &["doc", "--workspace", "--no-deps"];
const BUILD: &[&str] = &["build", "-p", "tracer-user"];
const UNIT_TESTS: &[&str] = &["test", "-p", "tracer-ebpf", "-p", "tracer-user", "-p", "lab", "-p", "xtask"];
const HOST_TESTS: &[&str] =
    &["test", "-p", "exitlat-tests", "--test", "host", "--test", "memory", "--test", "allocations"];
const FOREIGN_TESTS: &[&str] = &["test", "-p", "exitlat-tests", "--test", "foreign"];
const TESTRUN_TESTS: &[&str] = &["test", "-p", "exitlat-tests", "--test", "testrun"];
/// Seconds for each fuzz target: enough to find a mistake that is easy to find.
const FUZZ_SECONDS: u64 = 15;
/// The harness must show what passing tests print: a test that skips says so there.
const SHOW: &[&str] = &["--", "--show-output"];

/// Runs a tier's steps.
pub fn run(tier: Tier, args: &TestArgs, matrix: &Matrix, runner: &Runner) -> Result<()> {
    // What a machine may lack for a step that is no test program: a network, the whole history.
    let may_skip = [deny::ADVISORIES_STEP.to_owned(), tidy::HISTORY.to_owned()];
    let itself = |name: &str| Step {
        name: name.to_owned(),
        count: Count::Itself,
        expect_skips: &may_skip,
        may_be_empty: false,
    };
    match tier {
        Tier::Fmt => {
            runner.step(&itself("fmt"), |log| {
                logged(cargo().args(["fmt", "--all", "--check", "--", "--color", "never"]), log)?;
                let fuzz = ["fmt", "--manifest-path", "tests/fuzz/Cargo.toml", "--check"];
                logged(cargo().args(fuzz).args(["--", "--color", "never"]), log)
            })?;
            runner.step(&itself("tidy"), tidy::check)
        }
        Tier::Clippy => {
            runner.step(&itself("clippy"), |log| logged(cargo().args(CLIPPY), log))?;
            runner.step(&itself("clippy-bpf"), |log| {
                // Its own directory: another compiler in the usual one would make cargo build things twice.
                let dir = paths::target().join("bpf-clippy");
                logged(bpf_cargo().env("CARGO_TARGET_DIR", dir).args(CLIPPY_BPF), log)
            })?;
            // Links in the documentation that lead nowhere.
            runner
                .step(&itself("doc"), |log| logged(cargo().env("RUSTDOCFLAGS", "-D warnings").args(DOC), log))
        }
        Tier::Deny => {
            runner.step(&itself("deny"), deny::check)?;
            runner.step(&itself(deny::ADVISORIES_STEP), deny::advisories)
        }
        Tier::Host => {
            let skips = &matrix.host.expect_skips;
            // The tests of the command line run the program.
            runner.step(&itself("build"), |log| logged(cargo().args(BUILD), log))?;
            cargo_test(runner, args, "unit", UNIT_TESTS, skips)?;
            cargo_test(runner, args, "host", HOST_TESTS, skips)
        }
        Tier::Foreign => {
            runner.step(&itself("foreign-build"), |log| logged(cargo().args(BUILD), log))?;
            cargo_test(runner, args, "foreign", FOREIGN_TESTS, &[])
        }
        Tier::Testrun => cargo_test(runner, args, "testrun", TESTRUN_TESTS, &matrix.testrun.expect_skips),
        Tier::Fuzz => {
            runner.step(&itself("fuzz-build"), |log| fuzz::build(Output::Log(log)))?;
            let targets = fuzz::targets()?.into_iter();
            let steps: Vec<_> = targets.map(|target| (itself(&format!("fuzz-{target}")), target)).collect();
            runner.at_once(&steps, |target, log| fuzz::fuzz(target, FUZZ_SECONDS, false, Output::Log(log)))
        }
        Tier::Lab => lab::run(args, matrix, runner),
    }
}

fn logged(command: &mut Command, log: &File) -> Result<()> {
    run_tool(command.env("CARGO_TERM_COLOR", "never"), Output::Log(log))
}

fn cargo_test(
    runner: &Runner,
    args: &TestArgs,
    name: &str,
    words: &[&str],
    expect_skips: &[String],
) -> Result<()> {
    let step = reported(name.to_owned(), expect_skips, args);
    runner.step(&step, |log| {
        if name == "testrun" && !is_root() {
            bail!("loading BPF programs takes root: repeat as `sudo -E cargo xtask test testrun`, or name the other tiers");
        }
        let mut test = cargo();
        if name == "foreign" {
            test.envs(foreign::environment());
        }
        logged(test.args(words).arg("--no-fail-fast").args(SHOW).args(&args.filter), log)
    })
}

/// A step whose tests the harness reports.
pub fn reported<'a>(name: String, expect_skips: &'a [String], args: &TestArgs) -> Step<'a> {
    Step { name, count: Count::Reported, expect_skips, may_be_empty: !args.filter.is_empty() }
}
