//! The reading side on this machine: time and memory of a refresh, start-up, dump size.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::build::{Profile, REFRESH, build};
use crate::process::Output;
use lab::target::Arch;

/// tracefs for the program alone, where this machine has none mounted.
const WITH_TRACEFS: &str = "\
    [ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing\n\
    exec \"$0\"";

/// Runs the bench of the reading side, which needs root and KVM but no guest. Returns its table as text, and
/// whether a limit was missed.
pub fn run() -> Result<(String, bool)> {
    // The released build: memory also depends on its allocator.
    let program = build(REFRESH, &Profile::shipped(Arch::X86_64), Output::Terminal)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", WITH_TRACEFS]).arg(program);
    let output = command.stderr(Stdio::inherit()).output().context("cannot run unshare")?;
    let missed = match output.status.code() {
        Some(0) => false,
        Some(MISSED) => true,
        _ => bail!("it ended with {}", output.status),
    };
    Ok((String::from_utf8(output.stdout).context("its output is no text")?, missed))
}

/// The status of a run that measured all and missed a limit.
const MISSED: i32 = 3;
