//! What can be typed after `cargo xtask`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::lab::kernels::{Arch, Cpu};
use crate::setup::Purpose;
use crate::test::Tier;

/// Set-up, build, lab, tests and packaging of exitlat.
///
/// Each command first installs what it needs and is missing; `cargo xtask setup` does only that.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install what is missing.
    #[command(after_help = "Examples:\n  cargo xtask setup\n  sudo -E cargo xtask setup --for lab")]
    Setup {
        /// What it is for.
        #[arg(long = "for", value_enum, default_value = "test")]
        purpose: Purpose,
    },
    /// Build exitlat and print the path of the program.
    #[command(
        after_help = "Examples:\n  cargo xtask build\n  cargo xtask build --release   # static, runs on any x86-64 Linux\n  \
        cargo xtask build --release --target s390x-unknown-linux-gnu"
    )]
    Build(BuildArgs),
    /// Build exitlat and run it on this host.
    #[command(after_help = "Examples:\n  cargo xtask run -- check\n  cargo xtask run --release -- live")]
    Run {
        /// With optimisation, statically linked.
        #[arg(long)]
        release: bool,
        /// Arguments of exitlat.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Boot the lab, a guest with real KVM, and run a command or a shell there.
    #[command(after_help = "Examples:\n  cargo xtask lab\n  cargo xtask lab --kernel 5.10 -- uname -r\n  \
        cargo xtask lab -- sh -c 'workload --forever cpuid=100 & exitlat live 1 3'\n  \
        cargo xtask lab --cpu intel --bare -- ls /sys/kernel/tracing/events/kvm\n  \
        cargo xtask lab --arch s390x --kernel 6.12 -- exitlat check")]
    Lab(LabArgs),
    /// Show exitlat on real exits in the lab, then say how to run it elsewhere.
    Demo,
    /// Run the tests, tier by tier, and end with one line of totals.
    #[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test fmt clippy host\n  \
        cargo xtask test lab --kernel 6.1 -- exact")]
    Test(TestArgs),
    /// Measure what watching costs, in instructions, and compare with other tools.
    #[command(after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --only exitlat\n  \
        cargo xtask bench --compare before.json   # status 1 if exitlat got slower")]
    Bench(BenchArgs),
    /// Feed made-up input to everything that reads what others wrote.
    #[command(after_help = "Examples:\n  cargo xtask fuzz\n  cargo xtask fuzz --time 600 perfdata")]
    Fuzz(FuzzArgs),
    /// Make the archive for a release.
    Dist,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A kernel of tests/kernels.toml.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Only the ways of watching whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Say what got slower since the run that left these numbers.
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
}

/// Arguments of `fuzz`.
#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// For how long each: seconds, or with a unit like 2m.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = seconds)]
    pub time: u64,
    /// Only this one [default: all of them, one after the other].
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
}

/// Arguments of `build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// With optimisation, statically linked.
    #[arg(long)]
    pub release: bool,
    /// For another target than this host, or than static x86-64 Linux with --release.
    #[arg(long, value_name = "TRIPLE")]
    pub target: Option<String>,
}

/// Arguments of `lab`.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// A kernel of tests/kernels.toml.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// The architecture; on s390x the guests' exits are scripted.
    #[arg(long, value_enum, default_value = "x86_64")]
    pub arch: Arch,
    /// Whose CPU, on x86_64: amd is emulated by QEMU, intel by Bochs.
    #[arg(long, value_enum, default_value = "amd", conflicts_with = "arch")]
    pub cpu: Cpu,
    /// How many CPUs [default: 2, or 1 for intel].
    #[arg(long, value_name = "N")]
    pub smp: Option<u32>,
    /// Memory in MiB [default: 1024, or 512 for intel].
    #[arg(long, value_name = "MIB")]
    pub mem: Option<u32>,
    /// Make one instruction one nanosecond of guest time, repeatably (not on intel; amd then has one CPU).
    #[arg(long)]
    pub icount: bool,
    /// More kernel parameters; `lab.nokvm` leaves KVM's modules unloaded.
    #[arg(long, value_name = "PARAMETERS", default_value = "", allow_hyphen_values = true)]
    pub append: String,
    /// Take perf along.
    #[arg(long)]
    pub with_perf: bool,
    /// Take a file along, by default to /bin.
    #[arg(long, value_name = "FILE[:DEST]")]
    pub with: Vec<String>,
    /// Take the program of the lab tests along, as /bin/lab-tests.
    #[arg(long)]
    pub with_tests: bool,
    /// Leave exitlat and workload out, so nothing needs building.
    #[arg(long)]
    pub bare: bool,
    /// How many seconds the guest may be silent.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::lab::SILENCE)]
    pub silence: u64,
    /// The command and its arguments; a shell if there is none.
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Arguments of `test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The tiers; all of them if none is named.
    #[arg(value_enum)]
    pub tiers: Vec<Tier>,
    /// Boot only that kernel, without the special runs.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Only the special lab run of that name (see tests/kernels.toml).
    #[arg(long, value_name = "NAME", conflicts_with = "kernel")]
    pub run: Option<String>,
    /// Only tests whose names contain one of these.
    #[arg(last = true)]
    pub filter: Vec<String>,
}

/// Reads `30`, `30s`, `2m` or `1h`.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let count = number.parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
    count.filter(|count| *count > 0).ok_or_else(|| "a time like 30s, 2m or 1h is needed".to_owned())
}

/// Splits `FILE[:DEST]`.
pub fn split_with(argument: &str) -> (PathBuf, String) {
    match argument.rsplit_once(':') {
        Some((file, to)) if to.starts_with('/') => (PathBuf::from(file), to.to_owned()),
        _ => {
            let file = PathBuf::from(argument);
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            (file, format!("/bin/{name}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        let all: Vec<_> = ["30", "30s", "2m", "1h"].into_iter().map(seconds).collect();
        assert_eq!(all, [Ok(30), Ok(30), Ok(120), Ok(3600)]);
        assert!(
            ["", "m", "0s", "5x", "99999999999999999999h"].into_iter().all(|text| seconds(text).is_err())
        );
    }

    #[test]
    fn files_go_to_bin_unless_told() {
        assert_eq!(split_with("/a/b.txt"), (PathBuf::from("/a/b.txt"), "/bin/b.txt".to_owned()));
        assert_eq!(split_with("b:/etc/b"), (PathBuf::from("b"), "/etc/b".to_owned()));
        assert_eq!(split_with("odd:name"), (PathBuf::from("odd:name"), "/bin/odd:name".to_owned()));
    }
}
