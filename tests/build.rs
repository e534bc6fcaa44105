//! Builds the null programs, which the bench compares exitlat with, and the programs that make interrupts
//! long.

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

/// Set by `cargo xtask`, which knows the tested nightly; `nightly` otherwise.
const TOOLCHAIN: &str = "EXITLAT_BPF_TOOLCHAIN";

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed={TOOLCHAIN}");
    let toolchain = std::env::var(TOOLCHAIN).unwrap_or_else(|_| "nightly".to_owned());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tracer-ebpf");
    let package = Package {
        name: "tracer-ebpf",
        root_dir: root,
        no_default_features: true,
        features: &["null", "burn"],
    };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain)).context(
        "cannot build the tests' BPF programs; `cargo xtask setup --for build` installs what they need",
    )
}
