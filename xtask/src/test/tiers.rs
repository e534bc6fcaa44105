//! What each tier runs.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;

use anyhow::{Context, Error, Result, bail, ensure};

use super::runner::{Count, Runner, Step};
use super::{TestArgs, Tier, deny, is_root};
use crate::guest::{add_programs, add_tests, boot};
use crate::matrix::Matrix;
use crate::process::{Output, run as run_tool};
use crate::setup::{self, Purpose, foreign};
use crate::toolchain::{bpf_cargo, cargo};
use crate::{fuzz, paths, tidy};
use lab::target::{AMD, Arch};
use lab::{Kernel, Spec, libs};
use shell_words::quote;

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
/// The harness must show what tests that pass say, for that is how they say that they skip.
const SHOW: &[&str] = &["--", "--show-output"];

/// Runs a tier's steps.
pub fn run(tier: Tier, args: &TestArgs, matrix: &Matrix, runner: &mut Runner) -> Result<()> {
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
            for target in fuzz::targets()? {
                let step = itself(&format!("fuzz-{target}"));
                runner.step(&step, |log| fuzz::fuzz(&target, FUZZ_SECONDS, false, Output::Log(log)))?;
            }
            Ok(())
        }
        Tier::Lab => lab(args, matrix, runner),
    }
}

fn logged(command: &mut Command, log: &File) -> Result<()> {
    run_tool(command.env("CARGO_TERM_COLOR", "never"), Output::Log(log))
}

fn cargo_test(
    runner: &mut Runner,
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

fn reported<'a>(name: String, expect_skips: &'a [String], args: &TestArgs) -> Step<'a> {
    Step { name, count: Count::Reported, expect_skips, may_be_empty: !args.filter.is_empty() }
}

/// Every kernel of the matrix with all tests but the special ones, then the special runs.
fn lab(args: &TestArgs, matrix: &Matrix, runner: &mut Runner) -> Result<()> {
    let special = matrix.runs.iter().map(|run| run.filter.as_str()).collect::<Vec<_>>();
    let others = special.iter().flat_map(|filter| ["--skip", filter]).collect::<Vec<_>>();
    let wanted = |kernel: &&Kernel| match (&args.kernel, &args.run) {
        (Some(name), _) => kernel.name == *name,
        (None, run) => run.is_none(),
    };
    if let Some(name) = &args.kernel {
        let kernel = matrix.kernel(Arch::X86_64, Some(name))?;
        ensure!(!kernel.special, "only special runs boot kernel {name}: name one with --run");
    }
    for kernel in matrix.usual(Arch::X86_64).filter(wanted) {
        let step = reported(format!("lab-{}", kernel.name), &kernel.expect_skips, args);
        let selection = [others.as_slice(), &strs(&args.filter)].concat();
        runner.step(&step, |log| lab_tests(Spec::new(kernel, AMD), &selection, log))?;
    }
    let named = |name: &str| args.run.as_deref().is_none_or(|wanted| wanted == name);
    for run in matrix.runs.iter().filter(|run| args.kernel.is_none() && named(&run.name)) {
        let step = reported(format!("lab-{}", run.name), &run.expect_skips, args);
        let selection = if args.filter.is_empty() { vec![run.filter.as_str()] } else { strs(&args.filter) };
        runner.step(&step, |log| {
            // What the other runs need is here by now; this the host may be unable to have.
            if run.machine.arch == Arch::S390x
                && let Err(error) = setup::run_for(Purpose::S390x)
            {
                return skip_all(log, &format!("lab-{}", run.name), &error);
            }
            let mut spec = Spec::new(matrix.kernel(run.machine.arch, Some(&run.kernel))?, run.machine);
            spec.icount = run.icount;
            if run.with_perf {
                spec.take(libs::perf()?);
            }
            if run.linux_guest {
                spec.take_linux_guest()?;
            }
            lab_tests(spec, &selection, log)
        })?;
    }
    Ok(())
}

/// Says that none of a step's tests can run.
fn skip_all(mut log: &File, step: &str, error: &Error) -> Result<()> {
    let reason = format!("{error:#}").replace('\n', " ");
    writeln!(log, "SKIP {step}: {reason}").context("cannot write the log")
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Boots a guest that runs the lab tests.
fn lab_tests(mut spec: Spec, selection: &[&str], log: &File) -> Result<()> {
    add_programs(&mut spec, Output::Log(log))?;
    add_tests(&mut spec, Output::Log(log))?;
    let words = ["lab-tests", "--test-threads=1", "--show-output"];
    let words = words.iter().chain(selection).map(|word| quote(word)).collect::<Vec<_>>();
    spec.command = Some(words.join(" "));
    let mut sink = log.try_clone().context("cannot duplicate the handle of the log")?;
    match boot(&spec, &mut sink)? {
        0 => Ok(()),
        status => bail!("the lab tests ended with status {status}"),
    }
}
