//! `cargo xtask dist`: the archive people download and the debug information, with their checksums.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{EXITLAT, Profile, build};
use crate::debuginfo::stripped;
use crate::paths::{root, target};
use crate::process::{Output, capture, run as run_tool};
use crate::setup::{self, Purpose};
use crate::toolchain::cargo;
use lab::target::Arch;

/// Documents in the archive.
const PAPERS: [&str; 6] =
    ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL", "docs"];

/// Builds the static program for each architecture and packs it with the manual pages and completions.
pub fn run() -> Result<u8> {
    let generated = target().join("dist/generated");
    for (arch, purpose) in [(Arch::X86_64, Purpose::Build), (Arch::S390x, Purpose::S390x)] {
        setup::run_for(purpose)?;
        generate(&generated)?;
        let program = build(EXITLAT, &Profile::shipped(arch), Output::Terminal)?;
        println!("{}", pack(arch, &program, &generated, &target().join("dist"))?.display());
    }
    Ok(0)
}

/// Writes `man` and `completions`, which are the same for all architectures, into an empty directory.
fn generate(to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot clear {}", to.display()))?;
    }
    let mut program = cargo();
    program.args(["run", "--quiet", "-p", "exitlat-tests", "--bin", "gen-docs", "--"]).arg(to);
    run_tool(&mut program, Output::Terminal)
}

/// Packs a program, its generated files and the documents. Leaves in `dist` the archive, the program with its
/// debug information, which the one in the archive is without, and their checksums.
fn pack(arch: Arch, program: &Path, generated: &Path, dist: &Path) -> Result<PathBuf> {
    let machine = match arch {
        Arch::X86_64 => "x86_64",
        Arch::S390x => "s390x",
    };
    let name = format!("exitlat-{}-{machine}-linux", env!("CARGO_PKG_VERSION"));
    let tree = dist.join(&name);
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot clear {}", tree.display()))?;
    }
    fs::create_dir_all(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
    let debug = format!("{name}.debug");
    let whole = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let shipped = tree.join("exitlat");
    // For its permissions.
    copy(program, &shipped)?;
    fs::write(&shipped, stripped(&whole, &debug)?).with_context(|| cannot_write(&shipped))?;
    copy(program, &dist.join(&debug))?;
    let papers = PAPERS.map(|paper| root().join(paper));
    let generated = ["man", "completions"].map(|part| generated.join(part));
    run_tool(Command::new("cp").arg("-r").args(papers).args(generated).arg(&tree), Output::Terminal)?;
    // The archive depends on the files alone: owner, time and order are fixed.
    let archive = format!("{name}.tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
    tar.args(["--use-compress-program", "gzip -n -9", "-cf", &archive, &name]).current_dir(dist);
    run_tool(&mut tar, Output::Terminal)?;
    for file in [&archive, &debug] {
        let sum = capture(Command::new("sha256sum").arg(file).current_dir(dist), Output::Terminal)?;
        let sums = dist.join(format!("{file}.sha256"));
        fs::write(&sums, sum).with_context(|| cannot_write(&sums))?;
    }
    Ok(dist.join(archive))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_program_papers_pages_and_completions() {
        let scratch = tempfile::tempdir_in(target()).unwrap();
        let dist = scratch.path();
        for file in ["generated/man/exitlat.1", "generated/completions/exitlat.bash"] {
            let path = dist.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        // Any ELF file is a program here.
        let whole = fs::read(std::env::current_exe().unwrap()).unwrap();
        fs::write(dist.join("program"), &whole).unwrap();
        let pack = || pack(Arch::S390x, &dist.join("program"), &dist.join("generated"), dist).unwrap();
        let archive = pack();
        let list = capture(Command::new("tar").arg("-tf").arg(&archive), Output::Terminal).unwrap();
        for file in ["exitlat", "README.md", "docs/recording.md", "man/exitlat.1", "completions/exitlat.bash"]
        {
            let name = format!("exitlat-{}-s390x-linux/{file}", env!("CARGO_PKG_VERSION"));
            assert!(list.lines().any(|line| line == name), "{name} is not in\n{list}");
        }
        let name = format!("exitlat-{}-s390x-linux", env!("CARGO_PKG_VERSION"));
        assert!(fs::read(dist.join(format!("{name}.debug"))).unwrap() == whole);
        let packed = dist.join(name).join("exitlat");
        assert!(fs::metadata(packed).unwrap().len() < whole.len() as u64 / 2);
        let sums = format!("{}.sha256", archive.display());
        run_tool(
            Command::new("sha256sum").args(["-c", "--quiet"]).arg(&sums).current_dir(dist),
            Output::Terminal,
        )
        .unwrap();
        let bytes = fs::read(&archive).unwrap();
        assert_eq!(bytes, fs::read(pack()).unwrap());
        fs::write(&archive, &bytes[1..]).unwrap();
        let mut check = Command::new("sha256sum");
        assert!(
            run_tool(check.args(["-c", "--status"]).arg(&sums).current_dir(dist), Output::Terminal).is_err()
        );
    }
}
