//! The command line of `cargo xtask`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::bench::BenchArgs;
use crate::cmd::build::BuildArgs;
use crate::cmd::lab::LabArgs;
use crate::fuzz::FuzzArgs;
use crate::setup::Purpose;
use crate::test::TestArgs;

/// Set-up, build, lab, tests and packaging of exitlat.
///
/// Each command first installs missing prerequisites; `cargo xtask setup` does only that.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install missing prerequisites.
    #[command(after_help = "Examples:\n  cargo xtask setup\n  sudo -E cargo xtask setup --for lab")]
    Setup {
        /// Purpose.
        #[arg(long = "for", value_enum, default_value = "test")]
        purpose: Purpose,
    },
    /// Build exitlat and print the path of the program.
    #[command(after_help = "Examples:\n  cargo xtask build\n  \
        cargo xtask build --release   # static, runs on any x86-64 Linux\n  \
        cargo xtask build --release --target s390x-unknown-linux-gnu")]
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
    /// Run exitlat on real exits in the lab, then print how to run it elsewhere.
    Demo,
    /// Run the tests, tier by tier, and end with one line of totals.
    #[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test fmt clippy host\n  \
        cargo xtask test lab --kernel 6.1 -- exact")]
    Test(TestArgs),
    /// Measure the cost of tracing, in instructions, and compare with other tools.
    #[command(after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --only exitlat\n  \
        cargo xtask bench --compare before.json   # status 1 if exitlat got slower")]
    Bench(BenchArgs),
    /// Feed generated input to every parser of foreign data.
    #[command(after_help = "Examples:\n  cargo xtask fuzz\n  cargo xtask fuzz --time 600 perfdata")]
    Fuzz(FuzzArgs),
    /// Make the archive for a release.
    Dist,
    /// Write a table of the sources anew from what it is made of.
    #[command(subcommand)]
    Gen(Table),
}

/// The tables that are generated.
#[derive(Debug, Subcommand)]
pub enum Table {
    /// KVM's statistics, from unpacked kernel sources
    #[command(after_help = "Example:\n  apt-get download linux-source-6.12 && dpkg-deb --fsys-tarfile \
        linux-source-6.12_*.deb | tar -xO --wildcards '*.tar.xz' | tar -xJ\n  \
        cargo xtask gen counters linux-source-6.12")]
    Counters {
        /// The roots of the sources, the newest last
        #[arg(required = true, value_name = "LINUX")]
        trees: Vec<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
