//! The lab tier: every kernel of the matrix with all tests but the special ones, and the special runs.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Error, Result, bail, ensure};
use lab::target::{AMD, Arch, Machine};
use lab::{Kernel, Spec, libs};
use shell_words::quote;

use super::TestArgs;
use super::runner::{Runner, Step};
use super::tiers::reported;
use crate::guest::{add_programs, add_tests, boot, fetch};
use crate::matrix::{Matrix, Run};
use crate::process::Output;
use crate::setup::{self, Purpose};

/// One guest, and the tests that it runs.
struct Guest<'a> {
    kernel: &'a Kernel,
    machine: &'static Machine,
    /// The special run, which may need more in its guest.
    run: Option<&'a Run>,
    /// Words of the test harness that select the tests.
    selection: Vec<&'a str>,
}

/// Runs what was asked for, as many guests at a time as there are CPUs: an emulator keeps one busy.
pub fn run(args: &TestArgs, matrix: &Matrix, runner: &Runner) -> Result<()> {
    runner.at_once(&steps(args, matrix)?, Guest::test)
}

fn steps<'a>(args: &'a TestArgs, matrix: &'a Matrix) -> Result<Vec<(Step<'a>, Guest<'a>)>> {
    if let Some(name) = &args.kernel {
        let kernel = matrix.kernel(Arch::X86_64, Some(name))?;
        ensure!(!kernel.special, "only special runs boot kernel {name}: name one with --run");
    }
    let filter = || args.filter.iter().map(String::as_str);
    let mut steps = Vec::new();
    let wanted = |kernel: &&Kernel| match (&args.kernel, &args.run) {
        (Some(name), _) => kernel.name == *name,
        (None, run) => run.is_none(),
    };
    for kernel in matrix.usual(Arch::X86_64).filter(wanted) {
        let step = reported(format!("lab-{}", kernel.name), &kernel.expect_skips, args);
        let special = matrix.runs.iter().flat_map(|run| ["--skip", &run.filter]);
        let selection = special.chain(filter()).collect();
        steps.push((step, Guest { kernel, machine: AMD, run: None, selection }));
    }
    let named = |run: &&Run| args.run.as_ref().is_none_or(|wanted| run.name == *wanted);
    for run in matrix.runs.iter().filter(|_| args.kernel.is_none()).filter(named) {
        let step = reported(format!("lab-{}", run.name), &run.expect_skips, args);
        let kernel = matrix.kernel(run.machine.arch, Some(&run.kernel))?;
        let selection = if args.filter.is_empty() { vec![run.filter.as_str()] } else { filter().collect() };
        steps.push((step, Guest { kernel, machine: run.machine, run: Some(run), selection }));
    }
    Ok(steps)
}

impl Guest<'_> {
    /// Boots the guest, which runs the tests.
    fn test(&self, log: &File) -> Result<()> {
        let spec = {
            // One guest at a time fetches its kernel and builds what runs on it: apt and cargo would wait for
            // one another.
            static PREPARATION: Mutex<()> = Mutex::new(());
            let _turn = PREPARATION.lock().unwrap_or_else(PoisonError::into_inner);
            // The host may be unable to have the emulator or the cross compiler of another architecture.
            if let Some(run) = self.run.filter(|run| run.machine.arch == Arch::S390x)
                && let Err(error) = setup::run_for(Purpose::S390x)
            {
                return skip_all(log, &run.name, &error);
            }
            self.spec(log)?
        };
        let mut sink = log.try_clone().context("cannot duplicate the handle of the log")?;
        match boot(&spec, &mut sink)? {
            0 => Ok(()),
            status => bail!("the lab tests ended with status {status}"),
        }
    }

    fn spec(&self, log: &File) -> Result<Spec> {
        let mut spec = Spec::new(self.kernel, self.machine);
        if let Some(run) = self.run {
            spec.icount = run.icount;
            if run.with_perf {
                spec.take(libs::perf()?);
            }
            if run.linux_guest {
                spec.take_linux_guest()?;
            }
        }
        add_programs(&mut spec, Output::Log(log))?;
        add_tests(&mut spec, Output::Log(log))?;
        fetch(&spec)?;
        let words = ["lab-tests", "--test-threads=1", "--show-output"];
        let words = words.iter().chain(&self.selection).map(|word| quote(word)).collect::<Vec<_>>();
        spec.command = Some(words.join(" "));
        Ok(spec)
    }
}

/// Says that none of a run's tests can run.
fn skip_all(mut log: &File, run: &str, error: &Error) -> Result<()> {
    let reason = format!("{error:#}").replace('\n', " ");
    writeln!(log, "SKIP lab-{run}: {reason}").context("cannot write the log")
}
