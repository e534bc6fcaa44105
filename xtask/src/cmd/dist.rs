//! `cargo xtask dist`: the archive people download, with its checksum.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{EXITLAT, Profile, build};
use crate::paths::{root, target};
use crate::process::{Output, capture, run as run_tool};
use crate::setup::{self, Purpose};
use lab::target::Arch;

/// What goes along.
const PAPERS: [&str; 6] =
    ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL", "docs"];

/// Builds the static program for each architecture and packs it.
pub fn run() -> Result<u8> {
    for (arch, purpose) in [(Arch::X86_64, Purpose::Build), (Arch::S390x, Purpose::S390x)] {
        setup::run_for(purpose)?;
        println!("{}", pack(arch)?.display());
    }
    Ok(0)
}

fn pack(arch: Arch) -> Result<PathBuf> {
    let program = build(EXITLAT, &Profile::shipped(arch), Output::Terminal)?;
    let machine = match arch {
        Arch::X86_64 => "x86_64",
        Arch::S390x => "s390x",
    };
    let name = format!("exitlat-{}-{machine}-linux", env!("CARGO_PKG_VERSION"));
    let dist = target().join("dist");
    let tree = dist.join(&name);
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot clear {}", tree.display()))?;
    }
    fs::create_dir_all(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
    copy(&program, &tree.join("exitlat"))?;
    for paper in PAPERS {
        run_tool(Command::new("cp").arg("-r").arg(root().join(paper)).arg(&tree), Output::Terminal)?;
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
    Ok(dist.join(archive))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
