//! The reading side on this machine: time and memory of a refresh, start-up, dump size.

use std::process::Command;

use anyhow::Result;

use crate::build::{Profile, REFRESH, build};
use crate::process::{Output, capture};
use lab::target::Arch;

/// tracefs for the program alone, where this machine has none mounted.
const WITH_TRACEFS: &str = "\
    [ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing\n\
    exec \"$0\"";

/// Runs the bench of the reading side, which needs root and KVM but no guest. Returns its table as text.
pub fn run() -> Result<String> {
    // The released build: memory also depends on its allocator.
    let program = build(REFRESH, &Profile::shipped(Arch::X86_64), Output::Terminal)?;
    capture(
        Command::new("unshare").args(["--mount", "sh", "-c", WITH_TRACEFS]).arg(program),
        Output::Terminal,
    )
}
