//! How long the shipped program takes to read recordings on this machine.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::build::{EXITLAT, LARGE_RECORDING, Profile, build};
use crate::paths;
use crate::process::Output;
use lab::target::Arch;

/// A recording, made by `large-recording FILE` with this argument more, and the CPU time in seconds that
/// reading it may take.
struct Recording {
    what: &'static str,
    argument: Option<&'static str>,
    must: f64,
    aim: f64,
}

const RECORDINGS: [Recording; 2] = [
    Recording { what: "512 vCPUs, 20 reasons, 30 intervals", argument: None, must: 0.9, aim: 0.5 },
    Recording {
        what: "4,100 causes below one reason, 30 intervals",
        argument: Some("4100"),
        must: 0.3,
        aim: 0.1,
    },
];

const RUNS: usize = 5;

/// Returns the table, and whether a limit was missed.
///
/// # Errors
/// If a program cannot be built, or fails.
pub fn run() -> Result<(String, bool)> {
    let shipped = Profile::shipped(Arch::X86_64);
    let exitlat = build(EXITLAT, &shipped, Output::Terminal)?;
    let maker = build(LARGE_RECORDING, &shipped, Output::Terminal)?;
    let scratch = lab::scratch(&paths::target().join("bench"), "recordings")?;
    let path = scratch.path().join("large.exitlat");
    let mut out = format!(
        "## Reading recordings, on the machine that ran the bench\n\n\
         `exitlat report FILE` by the static program as it is shipped; the median CPU time of {RUNS} runs. The \
         recordings\nare those of `large-recording`.\n\n\
         | recording | size | measured | must | aim |\n|---|---:|---:|---:|---:|\n"
    );
    let mut any_missed = false;
    for Recording { what, argument, must, aim } in RECORDINGS {
        let status = Command::new(&maker).arg(&path).args(argument).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "large-recording: {status}");
        let bytes = path.metadata().with_context(|| format!("cannot see {}", path.display()))?.len();
        let mut seconds = Vec::new();
        for _ in 0..RUNS {
            let before = children_seconds()?;
            let status = Command::new(&exitlat).arg("report").arg(&path).stdout(Stdio::null()).status()?;
            ensure!(status.success(), "exitlat report: {status}");
            seconds.push(children_seconds()? - before);
        }
        seconds.sort_unstable_by(f64::total_cmp);
        let median = seconds[RUNS / 2];
        let missed = median > must;
        any_missed |= missed;
        let mark = if missed { " (missed)" } else { "" };
        let _ = writeln!(
            out,
            "| {what} | {:.1} MB | {median:.2} s{mark} | {must:.1} s | {aim:.1} s |",
            bytes as f64 / 1e6
        );
    }
    Ok((out, any_missed))
}

/// CPU time of the children that have ended.
fn children_seconds() -> Result<f64> {
    // SAFETY: all zeros are a valid value, and the call writes to it alone.
    let (usage, status) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let status = libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        (usage, status)
    };
    ensure!(status == 0, "getrusage: {}", std::io::Error::last_os_error());
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}
