//! The sources of a package, in order, and the step to the next one when a source fails.
//!
//! An index may name a file that the mirror no longer has. A suite may move to another kernel, or disappear.
//! So the lab tries the next source, says so, and gives up only when no source is left.

use std::fmt::{self, Display};

use anyhow::{Error, Result, bail};
use serde::Deserialize;

/// One place to get a kernel from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The Debian suite, e.g. `trixie-security`.
    pub suite: String,
    /// The package that points at the suite's current kernel.
    pub meta: String,
    /// Tried after all other sources, because its kernels have a known fault.
    #[serde(default)]
    pub last_resort: bool,
    /// The address of the repository. Without one it is the repository that the host's apt uses.
    #[serde(default)]
    pub repository: Option<String>,
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = if self.last_resort { ", last resort" } else { "" };
        write!(f, "{} ({}{note})", self.suite, self.meta)
    }
}

/// The sources in the order in which they are tried: as listed, last resorts at the end.
pub fn in_order(sources: &[Source]) -> Vec<&Source> {
    let mut sources = sources.iter().collect::<Vec<_>>();
    sources.sort_by_key(|source| source.last_resort);
    sources
}

/// Receives one line of progress.
pub type Say<'a> = &'a mut dyn FnMut(&str);

/// Tries the choices in order and returns the first success. Reports each failure with its cause and the next
/// choice.
///
/// # Errors
/// If no choice works; the error names every choice with its cause.
pub fn first_that_works<C: Display, T>(
    choices: &[C],
    say: Say<'_>,
    mut attempt: impl FnMut(&C, Say<'_>) -> Result<T>,
) -> Result<T> {
    let mut failures = Vec::new();
    for (index, choice) in choices.iter().enumerate() {
        match attempt(choice, say) {
            Ok(found) => return Ok(found),
            Err(error) => {
                if let Some(next) = choices.get(index + 1) {
                    say(&format!("{choice} failed ({}); trying {next}", one_line(&error)));
                }
                failures.push(format!("{choice}: {error:#}"));
            }
        }
    }
    match failures.as_slice() {
        [] => bail!("there is nothing to try"),
        [only] => bail!("{only}"),
        all => bail!("tried {} without success:\n{}", all.len(), indent(&all.join("\n"))),
    }
}

fn one_line(error: &Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(suite: &str, last_resort: bool) -> Source {
        Source { suite: suite.to_owned(), meta: "linux-image-x".to_owned(), last_resort, repository: None }
    }

    #[test]
    fn last_resorts_are_tried_last() {
        let sources = [source("crashing", true), source("a", false), source("b", false)];
        let order = in_order(&sources).iter().map(|source| source.suite.as_str()).collect::<Vec<_>>();
        assert_eq!(order, ["a", "b", "crashing"]);
        assert_eq!(sources[0].to_string(), "crashing (linux-image-x, last resort)");
    }

    #[test]
    fn a_failure_leads_to_the_next_choice_and_is_said() {
        let mut said = Vec::new();
        let attempt = |choice: &&str, _: Say<'_>| {
            if *choice == "b" { Ok(choice.len()) } else { bail!("404\nNot Found") }
        };
        let found = first_that_works(&["a", "b", "c"], &mut |line| said.push(line.to_owned()), attempt);
        assert_eq!(found.unwrap(), 1);
        assert_eq!(said, ["a failed (404 Not Found); trying b"]);
    }

    #[test]
    fn the_error_names_every_choice() {
        let error = first_that_works(&["a", "b"], &mut |_| {}, |choice, _| -> Result<()> {
            bail!("no {choice} here")
        });
        let text = format!("{:#}", error.unwrap_err());
        assert_eq!(text, "tried 2 without success:\n  a: no a here\n  b: no b here");
        let none = first_that_works(&[] as &[&str], &mut |_| {}, |_, _| Ok(()));
        assert!(none.is_err());
    }
}
