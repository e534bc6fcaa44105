//! The dependencies of both workspaces, held to `deny.toml`.

use std::fs::File;
use std::io::Write as _;

use anyhow::{Context, Result};

use crate::process::{Output, run};
use crate::toolchain::cargo;

/// Checks that need nothing but what cargo has fetched. An allowed licence that no dependency has is an
/// error.
const OFFLINE: [&str; 6] = ["check", "-D", "license-not-encountered", "bans", "licenses", "sources"];

/// The fuzz targets have a workspace of their own. It needs fewer licences and has fewer duplicates.
const FUZZ: [&str; 12] = [
    "--manifest-path",
    "tests/fuzz/Cargo.toml",
    "--config",
    "deny.toml",
    "check",
    "-A",
    "license-not-encountered",
    "-A",
    "unmatched-skip",
    "bans",
    "licenses",
    "sources",
];

/// Checks for known vulnerabilities, in the database that was just fetched.
const ADVISORIES: [&str; 3] = ["check", "--disable-fetch", "advisories"];

/// The step that may skip: where github.com is out of reach.
pub const ADVISORIES_STEP: &str = "advisories";

/// Duplicates, licences and sources.
pub fn check(log: &File) -> Result<()> {
    deny(&OFFLINE, log)?;
    deny(&FUZZ, log)
}

/// Advisories. Without the database it says that it skips.
pub fn advisories(mut log: &File) -> Result<()> {
    if let Err(error) = deny(&["fetch", "db"], log) {
        return writeln!(log, "SKIP {ADVISORIES_STEP}: the database cannot be fetched: {error}")
            .context("cannot write the log");
    }
    deny(&ADVISORIES, log)
}

fn deny(words: &[&str], log: &File) -> Result<()> {
    let mut deny = cargo();
    deny.args(["deny", "--color", "never"]).args(words);
    // A prompt for a name and a password would wait for ever.
    deny.env("GIT_TERMINAL_PROMPT", "0");
    run(&mut deny, Output::Log(log))
}
