//! Rules that a machine can check and the compiler does not: part of the `fmt` tier.
//!
//! The rules for one file are in the table [`RULES`]. The others look at many files: layers, circles,
//! words, lists of changes.

mod changes;
mod circles;
mod english;
mod known;
mod lanes;
mod layers;
mod markdown;
mod rust;
mod tree;
mod width;
mod words;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::matrix::Matrix;
use crate::paths::root;
use crate::process::{Output, capture};
use rust::Source;
use tree::Tree;

/// Limit of a file's length in lines. Longer files have more than one purpose.
const MAX_LINES: usize = 500;

/// The user side, which has layers.
const USER_SIDE: &str = "tracer-user/src";

/// A check of one file, which returns its complaints.
type Check = fn(&str) -> Vec<String>;

/// A rule for files of some kinds.
#[derive(Clone, Copy)]
struct Rule {
    /// Extensions of the files that it checks.
    suffixes: &'static [&'static str],
    /// Selects among the files with these extensions; [`None`] selects all.
    only: Option<fn(&Path) -> bool>,
    check: Check,
    /// Files with known breaches.
    known: &'static [&'static str],
}

const fn rule(suffixes: &'static [&'static str], check: Check) -> Rule {
    Rule { suffixes, only: None, check, known: &[] }
}

const RULES: &[Rule] = &[
    rule(&["rs"], |text| {
        let bad = !text.starts_with("//! ");
        bad.then(|| "does not begin with a module doc (//! ...)".to_owned()).into_iter().collect()
    }),
    rule(&["rs"], |text| {
        let lines = text.lines().count();
        let bad = lines > MAX_LINES;
        let complaint = || format!("has {lines} lines; {MAX_LINES} is the limit, split it by purpose");
        bad.then(complaint).into_iter().collect()
    }),
    rule(&["rs", "toml", "sh", "md", "yml"], |text| {
        let bad = text.lines().position(|line| line.ends_with([' ', '\t']));
        bad.map(|bad| format!("line {} ends in white space", bad + 1)).into_iter().collect()
    }),
    rule(&["rs", "toml", "sh", "md", "yml"], |text| {
        let bad = !text.is_empty() && !text.ends_with('\n');
        bad.then(|| "does not end with a line end".to_owned()).into_iter().collect()
    }),
    Rule { known: known::LONG_LINES, ..rule(&["rs"], width::rust) },
    Rule { known: known::LONG_LINES, ..rule(&["md"], width::markdown) },
    Rule { only: Some(is_manual), known: known::ENGLISH, ..rule(&["md"], english::document) },
    Rule {
        only: Some(is_help),
        known: known::ENGLISH,
        ..rule(&["rs"], |text| match Source::read(text) {
            Ok(source) => english::help(&source),
            Err(error) => vec![format!("is no Rust: {error}")],
        })
    },
];

/// The documents for users.
fn is_manual(path: &Path) -> bool {
    path == Path::new("README.md") || path.starts_with("docs")
}

/// The sources of the help.
fn is_help(path: &Path) -> bool {
    path == Path::new("tracer-user/src/cli.rs") || path.starts_with("tracer-user/src/cli")
}

/// Checks every file that git knows or would add. `log` names the checks that are not possible here.
pub fn check(mut log: &File) -> Result<()> {
    let files = files()?;
    let mut complaints = Vec::new();
    let mut sources = Vec::new();
    for path in &files {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        complaints.extend(complain(path, &text, RULES));
        let ours = path.starts_with("tracer-user/src") || path.starts_with("tracer-ebpf/src");
        if ours && path.extension().is_some_and(|suffix| suffix == "rs") {
            let source = Source::read(&text).with_context(|| format!("cannot read {}", path.display()))?;
            sources.push((path.clone(), source));
        }
    }
    complaints.extend(stale(&files));
    complaints.extend(words::check(&sources, known::WORDS));
    let below = |(path, source): (PathBuf, Source)| {
        path.strip_prefix(USER_SIDE).map(|path| (path.to_owned(), source)).ok()
    };
    let tree = Tree::new("tracer_user", sources.into_iter().filter_map(below).collect());
    complaints.extend(layers::check(&read("ARCHITECTURE.md")?, &tree));
    complaints.extend(circles::check(&tree, known::CIRCLES));
    let contributing = read("CONTRIBUTING.md")?;
    let changes = changes::check(&contributing, known::CHANGES, &files, changes::look_up)?;
    complaints.extend(changes.complaints);
    complaints.extend(lanes::check(&read(lanes::CI)?, &Matrix::load()?));
    complaints.extend(unlike(RECORDING.0, RECORDING.1)?);
    if !changes.cut.is_empty() {
        let missing = changes.cut.join(", ");
        writeln!(log, "SKIP {HISTORY}: this clone is shallow, it does not have {missing}")
            .context("cannot write the log")?;
    }
    if !complaints.is_empty() {
        bail!("tidy found {}:\n{}", complaints.len(), complaints.join("\n"));
    }
    Ok(())
}

/// The name of the check that a shallow clone cannot have: commits named in CONTRIBUTING.md.
pub const HISTORY: &str = "examples-of-changes";

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// The specification of the recording is the text of its module; the page has it word for word, in lines of
/// its own.
const RECORDING: (&str, &str) = ("tracer-user/src/recording/mod.rs", "docs/recording.md");

fn unlike(module: &str, page: &str) -> Result<Option<String>> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let same = words(&read(page)?).contains(&words(&module_doc(&read(module)?)));
    Ok((!same).then(|| format!("{page} does not have the text of {module}")))
}

fn module_doc(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn complain(path: &Path, text: &str, rules: &[Rule]) -> Vec<String> {
    let suffix = path.extension().unwrap_or_default().to_string_lossy();
    let applies =
        |rule: &&Rule| rule.suffixes.contains(&suffix.as_ref()) && rule.only.is_none_or(|only| only(path));
    let held = |rule: &Rule| {
        let complaints = (rule.check)(text);
        match (rule.known.iter().any(|known| path == Path::new(known)), complaints.is_empty()) {
            (false, _) => complaints,
            (true, false) => Vec::new(),
            (true, true) => {
                vec!["keeps to a rule now; take it off the lists of xtask/src/tidy/known.rs".to_owned()]
            }
        }
    };
    let broken = rules.iter().filter(applies).flat_map(held);
    broken.map(|complaint| format!("{} {complaint}", path.display())).collect()
}

/// Entries of the lists of known files that name no file.
fn stale(files: &[PathBuf]) -> Vec<String> {
    let entries = [known::LONG_LINES, known::ENGLISH].concat();
    let gone = entries.into_iter().filter(|known| !files.iter().any(|file| file == Path::new(known)));
    gone.map(|known| format!("{known}, of xtask/src/tidy/known.rs, does not exist")).collect()
}

fn files() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let listing = capture(&mut git, Output::Terminal).context("tidy needs the git checkout")?;
    let there = listing.lines().map(PathBuf::from).filter(|path| root().join(path).exists());
    let files: Vec<_> = there.collect();
    if files.is_empty() { Err(anyhow!("git lists no file")) } else { Ok(files) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules for files that must keep to all of them.
    fn strict() -> Vec<Rule> {
        RULES.iter().map(|rule| Rule { known: &[], ..*rule }).collect()
    }

    #[test]
    fn broken_rules_are_named_with_the_file() {
        let bad = "fn main() {} \n";
        let complaints = complain(Path::new("a.rs"), bad, &strict());
        assert_eq!(
            complaints,
            ["a.rs does not begin with a module doc (//! ...)", "a.rs line 1 ends in white space"]
        );
        assert!(complain(Path::new("a.txt"), bad, &strict()).is_empty());
    }

    #[test]
    fn long_files_are_refused() {
        let long = format!("//! Doc.\n{}", "\n".repeat(MAX_LINES));
        assert_eq!(complain(Path::new("a.rs"), &long, &strict()).len(), 1);
    }

    #[test]
    fn wide_lines_are_refused() {
        let source = format!("//! Doc.\n// {}\n", "x".repeat(110));
        assert_eq!(complain(Path::new("a.rs"), &source, &strict()).len(), 1);
        let prose = format!("{}end\n", "word ".repeat(30));
        assert_eq!(complain(Path::new("a.md"), &prose, &strict()).len(), 1);
    }

    #[test]
    fn english_is_held_where_users_read() {
        let bad = "So many files.\n";
        for path in ["README.md", "docs/diff.md"] {
            assert_eq!(complain(Path::new(path), bad, &strict()).len(), 1, "{path}");
        }
        assert!(complain(Path::new("tests/README.md"), bad, &strict()).is_empty());
        let bad = "//! Doc.\n\n/// Keep so many files.\nfn f() {}\n";
        for path in ["tracer-user/src/cli.rs", "tracer-user/src/cli/record.rs"] {
            assert_eq!(complain(Path::new(path), bad, &strict()).len(), 1, "{path}");
        }
        assert!(complain(Path::new("tracer-user/src/cmd/record.rs"), bad, &strict()).is_empty());
    }

    #[test]
    fn a_known_file_is_let_pass_until_it_is_mended() {
        let rules = [Rule { known: &["a.rs"], ..rule(&["rs"], width::rust) }];
        let long = format!("// {}", "x".repeat(108));
        assert!(complain(Path::new("a.rs"), &long, &rules).is_empty());
        assert_eq!(complain(Path::new("b.rs"), &long, &rules).len(), 1);
        assert_eq!(complain(Path::new("a.rs"), "x", &rules).len(), 1);
    }
}
