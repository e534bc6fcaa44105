//! `cargo xtask dist`: the archive people download, with its checksum.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{EXITLAT, Profile, build};
use crate::lab::kernels::Arch;
use crate::paths::{root, target};
use crate::process::{Output, capture, run as run_tool};
use crate::setup::{self, Purpose};

/// What goes along if the project has it; the first must be there.
const PAPERS: [&str; 5] = ["README.md", "LICENSE", "LICENSE-MIT", "LICENSE-APACHE", "CHANGELOG.md"];

/// Builds the static program and packs it.
pub fn run() -> Result<u8> {
    setup::run_for(Purpose::Build)?;
    let program = build(EXITLAT, &Profile::shipped(Arch::X86_64), Output::Terminal)?;
    let name = format!("exitlat-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
    let dist = target().join("dist");
    let tree = dist.join(&name);
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot clear {}", tree.display()))?;
    }
    fs::create_dir_all(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
    copy(&program, &tree.join("exitlat"))?;
    if !root().join(PAPERS[0]).exists() {
        bail!("the project has no {}, which the archive must have", PAPERS[0]);
    }
    for paper in PAPERS.iter().filter(|paper| root().join(paper).exists()) {
        copy(&root().join(paper), &tree.join(paper))?;
    }
    // Always the same bytes for the same files.
    let archive = format!("{name}.tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
    tar.args(["--use-compress-program", "gzip -n -9", "-cf", &archive, &name]).current_dir(&dist);
    run_tool(&mut tar, Output::Terminal)?;
    let sum = capture(Command::new("sha256sum").arg(&archive).current_dir(&dist), Output::Terminal)?;
    let sums = dist.join(format!("{archive}.sha256"));
    fs::write(&sums, sum).with_context(|| format!("cannot write {}", sums.display()))?;
    println!("{}", dist.join(archive).display());
    Ok(0)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
