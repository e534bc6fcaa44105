//! Rules that a machine can check and the compiler does not: part of the `fmt` tier.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::root;
use crate::process::{Output, capture};

/// Longer files have more than one purpose.
const MAX_LINES: usize = 500;

/// A rule for one file: its complaint, or nothing.
type Rule = fn(&str) -> Option<String>;

/// The rules, each with the suffixes of the files it is for.
const RULES: &[(&[&str], Rule)] = &[
    (&["rs"], |text| {
        (!text.starts_with("//! ")).then(|| "does not begin with a module doc (//! ...)".to_owned())
    }),
    (&["rs"], |text| {
        let lines = text.lines().count();
        (lines > MAX_LINES)
            .then(|| format!("has {lines} lines; {MAX_LINES} is the limit, split it by purpose"))
    }),
    (&["rs", "toml", "sh", "md"], |text| {
        let bad = text.lines().position(|line| line.ends_with([' ', '\t']))?;
        Some(format!("line {} ends in white space", bad + 1))
    }),
    (&["rs", "toml", "sh", "md"], |text| {
        (!text.is_empty() && !text.ends_with('\n')).then(|| "does not end with a line end".to_owned())
    }),
];

/// Checks every file that git knows or would add.
pub fn check() -> Result<()> {
    let mut complaints = Vec::new();
    for path in files()? {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        complaints.extend(complain(&path, &text));
    }
    complaints.extend(unlike(RECORDING.0, RECORDING.1)?);
    if !complaints.is_empty() {
        bail!("tidy found {}:\n{}", complaints.len(), complaints.join("\n"));
    }
    Ok(())
}

/// The specification of the dump is the text of its module; the page has it word for word.
const RECORDING: (&str, &str) = ("tracer-user/src/recording/mod.rs", "docs/recording.md");

fn unlike(module: &str, page: &str) -> Result<Option<String>> {
    let read =
        |path: &str| fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"));
    let same = read(page)?.contains(&module_doc(&read(module)?));
    Ok((!same).then(|| format!("{page} does not have the text of {module}")))
}

fn module_doc(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn complain(path: &Path, text: &str) -> Vec<String> {
    let suffix = path.extension().unwrap_or_default().to_string_lossy();
    let applies = |suffixes: &[&str]| suffixes.contains(&suffix.as_ref());
    let broken = RULES.iter().filter(|(suffixes, _)| applies(suffixes)).filter_map(|(_, rule)| rule(text));
    broken.map(|complaint| format!("{} {complaint}", path.display())).collect()
}

fn files() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let listing = capture(&mut git, Output::Terminal).context("tidy needs the git checkout")?;
    Ok(listing.lines().map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_rules_are_named_with_the_file() {
        let bad = "fn main() {} \n";
        let complaints = complain(Path::new("a.rs"), bad);
        assert_eq!(
            complaints,
            ["a.rs does not begin with a module doc (//! ...)", "a.rs line 1 ends in white space"]
        );
        assert!(complain(Path::new("a.txt"), bad).is_empty());
    }

    #[test]
    fn long_files_are_refused() {
        let long = format!("//! Doc.\n{}", "\n".repeat(MAX_LINES));
        assert_eq!(complain(Path::new("a.rs"), &long).len(), 1);
    }
}
