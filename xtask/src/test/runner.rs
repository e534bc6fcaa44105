//! Runs steps, one after the other or as many at a time as there are CPUs: a log for each, a line of
//! progress, a verdict, the totals.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use super::libtest::Tally;

/// Lines of a failed step's log that are shown.
const TAIL: usize = 60;

/// How the tests of a step are counted.
#[derive(Debug, Clone, Copy)]
pub enum Count {
    /// The step is one test.
    Itself,
    /// The test harness reports them in the step's log.
    Reported,
}

/// A command of the test run.
#[derive(Debug)]
pub struct Step<'a> {
    /// Name of the step and of its log.
    pub name: String,
    /// How its tests are counted.
    pub count: Count,
    /// The tests which may skip; the step's own name stands for all of them.
    pub expect_skips: &'a [String],
    /// Whether running no test at all is fine: only when somebody asked for some tests by name.
    pub may_be_empty: bool,
}

/// The totals so far, and the directory of the logs.
#[derive(Debug)]
pub struct Runner {
    logs: PathBuf,
    started: Instant,
    total: Mutex<Tally>,
}

impl Runner {
    /// A runner without results that writes its logs to `logs`.
    pub fn new(logs: PathBuf) -> Result<Self> {
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        Ok(Self { logs, started: Instant::now(), total: Mutex::default() })
    }

    /// Runs a step. An error fails the step and does not end the run.
    pub fn step(&self, step: &Step<'_>, work: impl FnOnce(&File) -> Result<()>) -> Result<()> {
        let path = self.logs.join(format!("{}.log", step.name));
        let mut log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("[{:4} s] {} ...", self.started.elapsed().as_secs(), step.name);
        let begun = Instant::now();
        let outcome = work(&log);
        if let Err(error) = &outcome {
            writeln!(log, "\nerror: {error:#}")
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = String::from_utf8_lossy(&text);
        let (mut tally, complaints) = judge(step, outcome.is_ok(), &text);
        let mut report = format!(
            "[{:4} s] {}: {} in {:.1} s\n",
            self.started.elapsed().as_secs(),
            step.name,
            tally.line(),
            begun.elapsed().as_secs_f64()
        );
        for (name, reason) in &tally.skips {
            _ = writeln!(report, "    skipped {name}: {reason}");
        }
        complaints.iter().for_each(|complaint| _ = writeln!(report, "    {complaint}"));
        if tally.failed > 0 {
            show_tail(&mut report, &text, &path);
        }
        // At once: another step may report at the same time.
        eprint!("{report}");
        // The same test may skip in several steps; each counts.
        tally.skips = qualify(&step.name, tally.skips);
        *self.total.lock().unwrap_or_else(PoisonError::into_inner) += tally;
        Ok(())
    }

    /// Runs steps of one kind, as many at a time as there are CPUs.
    pub fn at_once<T: Sync>(
        &self,
        steps: &[(Step<'_>, T)],
        work: impl Fn(&T, &File) -> Result<()> + Sync,
    ) -> Result<()> {
        let cpus = thread::available_parallelism().map_or(1, NonZero::get);
        let next = AtomicUsize::new(0);
        let worker = || {
            while let Some((step, with)) = steps.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.step(step, |log| work(with, log))?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..cpus.min(steps.len())).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a step does not panic"))
        })
    }

    /// The totals.
    pub fn total(self) -> Tally {
        self.total.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a step's outcome and log amount to, and what is wrong beyond failed tests.
fn judge(step: &Step<'_>, ok: bool, log: &str) -> (Tally, Vec<String>) {
    let mut tally = match step.count {
        Count::Reported => Tally::parse(log),
        Count::Itself if ok => Tally::itself(&step.name, log),
        Count::Itself => Tally::default(),
    };
    let mut complaints = Vec::new();
    if !ok && tally.failed == 0 {
        complaints.push("it failed as a whole".to_owned());
    } else if tally.ran() == 0 && !step.may_be_empty && !tally.skips.contains_key(&step.name) {
        complaints.push("it ran no test, which counts as a failure".to_owned());
    }
    for name in tally.skips.keys().filter(|name| !step.expect_skips.contains(name)) {
        complaints
            .push(format!("skip of {name} is not expected (tests/kernels.toml), which counts as a failure"));
    }
    tally.failed += complaints.len() as u64;
    (tally, complaints)
}

fn qualify(step: &str, skips: BTreeMap<String, String>) -> BTreeMap<String, String> {
    skips.into_iter().map(|(name, reason)| (format!("{step} {name}"), reason)).collect()
}

fn show_tail(report: &mut String, text: &str, path: &Path) {
    let lines = text.lines().collect::<Vec<_>>();
    let from = lines.len().saturating_sub(TAIL);
    lines[from..].iter().for_each(|line| _ = writeln!(report, "    | {line}"));
    _ = writeln!(report, "    the whole log: {}", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(count: Count, expect_skips: &[String]) -> Step<'_> {
        Step { name: "x".to_owned(), count, expect_skips, may_be_empty: false }
    }

    #[test]
    fn a_whole_step_is_one_test() {
        assert_eq!(judge(&step(Count::Itself, &[]), true, "").0, Tally::itself("x", ""));
        assert_eq!(judge(&step(Count::Itself, &[]), false, "").0.failed, 1);
    }

    #[test]
    fn a_crash_and_an_empty_run_are_failures() {
        let reported = step(Count::Reported, &[]);
        assert_eq!(judge(&reported, false, "error: could not compile").0.failed, 1);
        assert_eq!(judge(&reported, true, "test result: ok. 0 passed; 0 failed; 0 ignored").0.failed, 1);
        let crashed = "test result: ok. 3 passed; 0 failed; 0 ignored\nerror: the guest is lost";
        assert_eq!(judge(&reported, false, crashed).0.failed, 1);
    }

    #[test]
    fn a_step_may_skip_as_a_whole_if_expected() {
        let log = "SKIP x: no cross compiler";
        let expected = ["x".to_owned()];
        assert_eq!(judge(&step(Count::Reported, &expected), true, log).0.failed, 0);
        assert_eq!(judge(&step(Count::Reported, &[]), true, log).0.failed, 1);
    }

    #[test]
    fn a_whole_step_may_say_that_it_skips() {
        let expected = ["x".to_owned(), "part".to_owned()];
        let outcome = |log| judge(&step(Count::Itself, &expected), true, log);
        let (all, _) = outcome("SKIP x: no network");
        assert_eq!((all.passed, all.failed, all.skips.len()), (0, 0, 1));
        let (part, _) = outcome("SKIP part: a shallow clone");
        assert_eq!((part.passed, part.failed, part.skips.len()), (1, 0, 1));
        assert_eq!(judge(&step(Count::Itself, &[]), true, "SKIP x: no network").0.failed, 1);
    }

    #[test]
    fn steps_at_once_all_run_and_all_count() {
        let logs = tempfile::tempdir().unwrap();
        let runner = Runner::new(logs.path().to_owned()).unwrap();
        let named = |number| Step { name: format!("step-{number}"), ..step(Count::Itself, &[]) };
        let steps: Vec<_> = (0..20).map(|number| (named(number), number)).collect();
        let work = |number: &i32, _: &File| if number % 5 == 0 { anyhow::bail!("no") } else { Ok(()) };
        runner.at_once(&steps, work).unwrap();
        let total = runner.total();
        assert_eq!((total.passed, total.failed), (16, 4));
    }

    #[test]
    fn only_expected_skips_are_fine() {
        let log = "SKIP a: no BTF\nSKIP b: no BTF\ntest result: ok. 3 passed; 0 failed; 0 ignored";
        let (tally, complaints) = judge(&step(Count::Reported, &["a".to_owned()]), true, log);
        assert_eq!((tally.passed, tally.failed, tally.skips.len(), complaints.len()), (1, 1, 2, 1));
    }
}
