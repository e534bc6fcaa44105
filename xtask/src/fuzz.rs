//! `cargo xtask fuzz`: generated input for every parser of foreign data, for a bounded time.
//!
//! The targets are in `tests/fuzz`, each with a kept corpus to start from. Anything that is not an error is a
//! find: a panic, a number that wraps, an input that takes a minute or a gigabyte.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use crate::paths;
use crate::process::{Output, display, probe, run as run_tool, status};
use crate::setup::{self, Purpose};
use crate::toolchain::{BPF_ENV, bpf, bpf_cargo};

/// Seed of libFuzzer's random numbers, so that a run can be repeated.
const SEED: u32 = 1;
/// Limits of memory and time for one input.
const LIMITS: [&str; 2] = ["-rss_limit_mb=1024", "-timeout=60"];
/// Limit of an input's length in bytes, beyond that of every seed.
const MAX_LENGTH: &str = "-max_len=16384";

#[derive(Deserialize)]
struct Manifest {
    bin: Vec<Bin>,
}

#[derive(Deserialize)]
struct Bin {
    name: String,
}

/// Arguments of `fuzz`.
#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// Time for each target: seconds, or with a unit like 2m.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = seconds)]
    pub time: u64,
    /// Target to run [default: all of them, one after the other].
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
}

/// Runs the command.
pub fn run(args: &FuzzArgs) -> Result<u8> {
    setup::run_for(Purpose::Fuzz)?;
    let targets = targets()?;
    let chosen: Vec<&String> =
        targets.iter().filter(|name| args.target.as_ref().is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target. Targets: {}", targets.join(", "));
    }
    build(Output::Terminal)?;
    for target in chosen {
        fuzz(target, args.time, true, Output::Terminal)?;
        writeln!(io::stdout(), "{target}: nothing found in {} s", args.time).context("cannot print")?;
    }
    Ok(0)
}

/// The targets, by name.
pub fn targets() -> Result<Vec<String>> {
    let path = dir().join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: Manifest = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(manifest.bin.into_iter().map(|bin| bin.name).collect())
}

/// Builds all targets.
pub fn build(output: Output<'_>) -> Result<()> {
    let mut cargo = bpf_cargo();
    // The targets have no unsafe code. Without a sanitizer the standard library needs no build.
    cargo.args(["fuzz", "build", "--sanitizer", "none", "--target", &triple()?, "--fuzz-dir"]).arg(dir());
    run_tool(cargo.env("CARGO_TARGET_DIR", target_dir()).env(BPF_ENV, bpf()), output)
}

/// Runs one target for `seconds`. With `learn`, inputs that reach new code are kept for the next run. Without
/// it, the run begins with the committed corpus alone.
///
/// # Errors
/// If the target fails on an input.
pub fn fuzz(target: &str, seconds: u64, learn: bool, output: Output<'_>) -> Result<()> {
    let work = paths::target().join("fuzz-work").join(target);
    let (corpus, finds) = (work.join("corpus"), work.join("finds"));
    if !learn && corpus.exists() {
        fs::remove_dir_all(&corpus).with_context(|| format!("cannot clear {}", corpus.display()))?;
    }
    for dir in [&corpus, &finds] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let program = target_dir().join(triple()?).join("release").join(target);
    let mut command = Command::new(&program);
    command.args([&corpus, &dir().join("corpus").join(target)]).args(LIMITS).arg(MAX_LENGTH);
    command.arg(format!("-seed={SEED}")).arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", finds.display())).arg("-print_final_stats=1");
    if !status(&mut command, output)?.success() {
        let again = display(Command::new(&program).arg("INPUT"));
        bail!("{target}: an input makes it fail; it is in {}. To repeat: {again}", finds.display());
    }
    Ok(())
}

fn dir() -> PathBuf {
    paths::root().join("tests/fuzz")
}

/// Build directory of the targets. Their flags would make cargo rebuild everything in the usual one.
fn target_dir() -> PathBuf {
    paths::target().join("fuzz")
}

/// This machine's target.
fn triple() -> Result<String> {
    let version = probe("rustc", &["-vV"]).context("`rustc -vV` failed")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Reads a duration of at least a second, like `2m` or `1h 30m`; a bare number is in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let is_bare = text.bytes().all(|byte| byte.is_ascii_digit());
    let time = if is_bare {
        humantime::parse_duration(&format!("{text}s"))
    } else {
        humantime::parse_duration(text)
    };
    match time {
        Ok(time) if time.as_secs() > 0 => Ok(time.as_secs()),
        Ok(_) => Err("it must be at least a second".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let all: Vec<_> = ["30", "30s", "2m", "1h"].into_iter().map(seconds).collect();
        assert_eq!(all, [Ok(30), Ok(30), Ok(120), Ok(3600)]);
        assert!(
            ["", "m", "0s", "5x", "99999999999999999999h"].into_iter().all(|text| seconds(text).is_err())
        );
    }

    /// A target without seeds starts from nothing and finds nothing in a short time.
    #[test]
    fn every_target_has_seeds_and_every_seed_a_target() {
        let mut targets = targets().unwrap();
        targets.sort();
        let corpus = dir().join("corpus");
        let mut seeded: Vec<String> = fs::read_dir(&corpus)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        seeded.sort();
        assert_eq!(targets, seeded);
        for target in targets {
            assert!(fs::read_dir(corpus.join(&target)).unwrap().count() > 0, "{target}");
        }
    }
}
