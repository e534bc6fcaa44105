//! Taking a program of the host into the guest: the file itself, its shared libraries and its dynamic linker.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::elf::{is_elf, is_static};
use super::initramfs::Initramfs;
use crate::process::{Output, capture, probe};

/// Puts a program at its own path, with everything it is linked with at theirs.
pub fn take(fs: &mut Initramfs, program: &Path) -> Result<()> {
    let path = program.to_str().with_context(|| format!("{} is not UTF-8", program.display()))?;
    fs.copy(program, path)?;
    let bytes = std::fs::read(program).with_context(|| format!("cannot read {path}"))?;
    if is_static(&bytes).with_context(|| format!("cannot take {path}"))? {
        return Ok(());
    }
    let listing = capture(Command::new("ldd").arg(program), Output::Terminal)?;
    for library in libraries(&listing).with_context(|| format!("cannot take {path} into the guest"))? {
        fs.copy(Path::new(&library), &library)?;
    }
    Ok(())
}

/// The paths in the output of ldd.
fn libraries(listing: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for line in listing.lines() {
        if line.contains("not found") {
            bail!("a library is missing on this host: {}", line.trim());
        }
        paths.extend(line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned));
    }
    Ok(paths)
}

/// The real perf: `/usr/bin/perf` is a script on distributions that keep one perf per kernel version.
pub fn perf() -> Result<PathBuf> {
    let is_program = |path: &Path| std::fs::read(path).is_ok_and(|bytes| is_elf(&bytes));
    let plain = PathBuf::from("/usr/bin/perf");
    if is_program(&plain) {
        return Ok(plain);
    }
    let versions = probe("sh", &["-c", "ls /usr/bin/perf_* /usr/lib/linux-tools-*/perf 2>/dev/null; true"]);
    let found = versions.unwrap_or_default().lines().map(PathBuf::from).rfind(|path| is_program(path));
    found.context(
        "no perf found in /usr/bin or /usr/lib/linux-tools-*; `cargo xtask setup --for test` installs it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_linker_are_taken_and_the_vdso_is_not() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 \
                       (0x00007f)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            libraries(listing).unwrap(),
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
        assert!(libraries("\tlibx.so.1 => not found\n").is_err());
    }
}
