//! Reads the output of Rust's test harness.
//!
//! A test that cannot run on this host prints `SKIP <test>: <reason>` and returns. The harness counts it as
//! passed; here it counts as skipped.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Results of tests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Number of tests that passed.
    pub passed: u64,
    /// Number of tests that failed.
    pub failed: u64,
    /// Tests that were not run, with the reason, by name.
    pub skips: BTreeMap<String, String>,
}

impl Tally {
    /// Results of a step that succeeded and is no test program. Its output may say that it skipped something.
    pub fn itself(step: &str, output: &str) -> Self {
        let skips: BTreeMap<_, _> = output.lines().filter_map(skip).collect();
        Self { passed: u64::from(!skips.contains_key(step)), failed: 0, skips }
    }

    /// Number of tests that passed or failed.
    pub fn ran(&self) -> u64 {
        self.passed + self.failed
    }

    /// The line of totals.
    pub fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skips.len())
    }

    /// Counts the tests in the output of one or more test programs.
    pub fn parse(output: &str) -> Self {
        let mut tally = Self::default();
        let mut said = 0;
        for line in output.lines() {
            if let Some((passed, failed)) = result(line) {
                tally.passed += passed;
                tally.failed += failed;
            } else if let Some((name, reason)) = ignored(line) {
                tally.skips.insert(name, reason);
            } else if let Some((name, reason)) = skip(line)
                && tally.skips.insert(name, reason).is_none()
            {
                said += 1;
            }
        }
        tally.passed = tally.passed.saturating_sub(said);
        tally
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skips.extend(other.skips);
    }
}

/// `test result: ok. 3 passed; 1 failed; ...`
fn result(line: &str) -> Option<(u64, u64)> {
    let counts = line.trim().strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |what: &str| counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
    Some((count("passed")?, count("failed")?))
}

/// `test model::slow ... ignored, needs root`
fn ignored(line: &str) -> Option<(String, String)> {
    let (name, outcome) = line.trim().strip_prefix("test ")?.split_once(" ... ")?;
    let reason = outcome.strip_prefix("ignored")?.trim_start_matches(", ");
    let reason = if reason.is_empty() { "ignored" } else { reason };
    Some((name.to_owned(), reason.to_owned()))
}

/// `SKIP intel_ept: no EPT here`, also after `test intel_ept ... ` when output is not captured.
fn skip(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.split_once(" ... ").filter(|_| line.starts_with("test ")).map_or(line, |(_, rest)| rest);
    let (name, reason) = line.strip_prefix("SKIP ")?.split_once(": ")?;
    Some((name.to_owned(), reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 4 tests
test exact::cpuid ... ok
test exact::msr ... FAILED
test exact::slow ... ignored, takes an hour
test modern::btf ... ok

successes:

---- modern::btf stdout ----
SKIP modern::btf: this kernel has no BTF of modules

failures:
    exact::msr

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running unittests src/lib.rs
test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn a_skip_is_not_a_pass() {
        let tally = Tally::parse(OUTPUT);
        assert_eq!((tally.passed, tally.failed), (6, 1));
        assert_eq!(tally.skips["modern::btf"], "this kernel has no BTF of modules");
        assert_eq!(tally.skips["exact::slow"], "takes an hour");
        assert_eq!(tally.line(), "6 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn a_skip_that_is_not_captured_is_seen_too() {
        let tally =
            Tally::parse("test a ... SKIP a: no root\nok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n");
        assert_eq!((tally.passed, tally.skips.len()), (0, 1));
    }

    #[test]
    fn no_result_line_is_no_test() {
        assert_eq!(Tally::parse("error: could not compile").ran(), 0);
    }
}
