//! The lists in CONTRIBUTING.md of the files that a kind of change touches, each with one real commit.
//!
//! A list stands between `<!-- change: NAME -->` and `<!-- end -->`. It has lines `- PATH`, where PATH may be
//! a glob, and one line `Example: HASH`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use glob::{MatchOptions, Pattern};

use super::markdown::section;
use crate::paths::root;
use crate::process::{Output, capture, probe};

/// A commit as git knows it.
#[derive(Debug)]
pub enum Commit {
    /// The files that it touched.
    Touched(Vec<PathBuf>),
    /// The history ends before it: a shallow clone.
    Cut,
    /// There is no such commit.
    Unknown,
}

/// Result of checking the lists.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Complaints.
    pub complaints: Vec<String>,
    /// The examples that a shallow clone does not have.
    pub cut: Vec<String>,
}

/// Holds the lists of these names against the files that there are and the commits that `look_up` finds.
pub fn check(
    document: &str,
    names: &[&str],
    files: &[PathBuf],
    look_up: impl Fn(&str) -> Result<Commit>,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for name in names {
        match List::read(document, name) {
            Ok(list) => list.hold(name, files, look_up(&list.example)?, &mut outcome),
            Err(complaint) => outcome.complaints.push(format!("CONTRIBUTING.md: {complaint}")),
        }
    }
    Ok(outcome)
}

/// Asks git for a commit.
pub fn look_up(hash: &str) -> Result<Commit> {
    let git = |words: &[&str]| {
        let root = root().to_string_lossy().into_owned();
        probe("git", &[&["-C", &root], words].concat())
    };
    if git(&["cat-file", "-e", &format!("{hash}^{{commit}}")]).is_none() {
        let shallow =
            git(&["rev-parse", "--is-shallow-repository"]).context("tidy needs the git checkout")?;
        return Ok(if shallow.trim() == "true" { Commit::Cut } else { Commit::Unknown });
    }
    let mut show = Command::new("git");
    show.args(["show", "--first-parent", "--name-only", "--no-renames", "--format=", hash])
        .current_dir(root());
    Ok(Commit::Touched(capture(&mut show, Output::Terminal)?.lines().map(PathBuf::from).collect()))
}

#[derive(Debug, PartialEq)]
struct List {
    paths: Vec<Pattern>,
    example: String,
}

impl List {
    fn read(document: &str, name: &str) -> Result<Self, String> {
        let text = section(document, &format!("change: {name}"))?;
        let bare = |text: &str| text.trim().trim_matches('`').to_owned();
        let paths = text.lines().filter_map(|line| line.trim_start().strip_prefix("- ")).map(bare);
        let paths = paths
            .map(|path| Pattern::new(&path).map_err(|error| format!("{path}: {error}")))
            .collect::<Result<Vec<_>, _>>()?;
        let mut examples = text.lines().filter_map(|line| line.trim().strip_prefix("Example: ")).map(bare);
        match (examples.next(), examples.next()) {
            _ if paths.is_empty() => Err(format!("the list of \"{name}\" names no file")),
            (Some(example), None) if is_hash(&example) => Ok(Self { paths, example }),
            (Some(example), None) => {
                Err(format!("the example of \"{name}\", {example}, is no hash of a commit"))
            }
            _ => Err(format!("the list of \"{name}\" needs one line `Example: HASH`")),
        }
    }

    fn hold(&self, name: &str, files: &[PathBuf], commit: Commit, outcome: &mut Outcome) {
        // `*` stays within a directory, `**` does not.
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        let complain = |text: String| format!("CONTRIBUTING.md: the list of \"{name}\": {text}");
        for path in &self.paths {
            if !files.iter().any(|file| path.matches_path_with(file, options)) {
                outcome.complaints.push(complain(format!("there is no file {path}")));
            }
        }
        let example = &self.example;
        match commit {
            Commit::Cut => outcome.cut.push(format!("{example} of \"{name}\"")),
            Commit::Unknown => outcome.complaints.push(complain(format!("there is no commit {example}"))),
            Commit::Touched(touched) => {
                let listed =
                    |file: &&PathBuf| self.paths.iter().any(|path| path.matches_path_with(file, options));
                let others = touched.iter().filter(|file| !listed(file));
                outcome.complaints.extend(
                    others.map(|file| complain(format!("{example} touched {} as well", file.display()))),
                );
            }
        }
    }
}

fn is_hash(text: &str) -> bool {
    (7..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "# Add\n<!-- change: column -->\n- `src/columns.rs`\n- docs/*.md\n\
        - `tests/**/*.snap`\n\n\
        Example: `0123abc`\n<!-- end -->\n";

    fn told(document: &str, files: &[&str], commit: Commit) -> Outcome {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        let commit = std::cell::Cell::new(Some(commit));
        check(document, &["column"], &files, |hash| {
            assert_eq!(hash, "0123abc");
            Ok(commit.take().unwrap())
        })
        .unwrap()
    }

    fn touched(files: &[&str]) -> Commit {
        Commit::Touched(files.iter().map(PathBuf::from).collect())
    }

    const FILES: [&str; 3] = ["src/columns.rs", "docs/a.md", "tests/x/y/z.snap"];

    #[test]
    fn a_list_that_holds_passes() {
        let outcome = told(SAMPLE, &FILES, touched(&["src/columns.rs", "docs/b.md", "tests/x/y/w.snap"]));
        assert_eq!((outcome.complaints, outcome.cut), (vec![], vec![]));
    }

    #[test]
    fn a_commit_that_touched_more_is_named_with_the_file() {
        let outcome = told(SAMPLE, &FILES, touched(&["src/columns.rs", "docs/deep/b.md", "src/rows.rs"]));
        let all = outcome.complaints.join("\n");
        assert_eq!(outcome.complaints.len(), 2, "{all}");
        assert!(all.contains("0123abc touched src/rows.rs") && all.contains("docs/deep/b.md"), "{all}");
    }

    #[test]
    fn files_that_are_gone_and_unknown_commits_are_named() {
        let outcome = told(SAMPLE, &FILES[..2], Commit::Unknown);
        let all = outcome.complaints.join("\n");
        assert!(all.contains("no file tests/**/*.snap") && all.contains("no commit 0123abc"), "{all}");
    }

    #[test]
    fn a_shallow_clone_is_said_and_not_refused() {
        let outcome = told(SAMPLE, &FILES, Commit::Cut);
        assert_eq!((outcome.complaints.len(), outcome.cut.len()), (0, 1));
    }

    #[test]
    fn a_list_needs_paths_and_one_example() {
        let refused = |document: &str| {
            let outcome = check(document, &["column"], &[], |_| panic!("nothing to look up")).unwrap();
            assert_eq!(outcome.complaints.len(), 1, "{document}");
        };
        refused("nothing");
        refused(&SAMPLE.replace("Example: ", "Such as "));
        refused(&SAMPLE.replace("0123abc", "HEAD"));
        refused(&SAMPLE.replace("- ", "* "));
        refused(&SAMPLE.replace("Example: `0123abc`", "Example: `0123abc`\nExample: `0123abd`"));
    }

    #[test]
    fn git_knows_a_commit_and_says_what_it_touched() {
        let head = probe("git", &["-C", &root().to_string_lossy(), "rev-parse", "HEAD"]).unwrap();
        assert!(matches!(look_up(head.trim()).unwrap(), Commit::Touched(_)));
        assert!(!matches!(look_up("0000000000000000000000000000000000000000").unwrap(), Commit::Touched(_)));
    }
}
