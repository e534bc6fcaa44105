//! The reading side on this machine: time and memory of a refresh, start-up, dump size.

use std::process::Command;

use anyhow::Result;

use crate::build::{Profile, REFRESH, RELEASE, build};
use crate::process::{Output, capture};

/// Runs the reading side's bench, which needs root but no guest; its table as text.
pub fn run() -> Result<String> {
    let program = build(REFRESH, &Profile { name: Some(RELEASE), target: None }, Output::Terminal)?;
    capture(&mut Command::new(program), Output::Terminal)
}
