//! Writes what is generated from exitlat's command line: `gen-docs DIR` makes DIR/man and DIR/completions.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use exitlat_tests::generated;

/// Writes the manual pages and the completions of exitlat.
#[derive(Parser)]
struct Args {
    /// The directory; it is made if it is missing
    dir: PathBuf,
}

fn main() -> Result<()> {
    let dir = Args::parse().dir;
    for file in [generated::manual()?, generated::completions()].concat() {
        let path = dir.join(file.path);
        let parent = path.parent().context("a generated file lies in a directory")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(&path, file.text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
