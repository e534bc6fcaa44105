//! Builds the BPF object that the binary embeds.

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

/// Set by `cargo xtask`, which knows the tested nightly; `nightly` otherwise.
const TOOLCHAIN: &str = "EXITLAT_BPF_TOOLCHAIN";

/// Version 3 of the instruction set, which all kernels from 5.1 on have (commit 092ed0968bb6): a comparison
/// with a constant is one instruction, where version 1, the compiler's default, often takes two.
const CPU: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_RUSTFLAGS", "-Ctarget-cpu=v3"),
    // Macros and build scripts run here, on another processor.
    ("CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_RUSTFLAGS", "-Cdebuginfo=0"),
    ("CARGO_UNSTABLE_PROFILE_RUSTFLAGS", "true"),
];

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed={TOOLCHAIN}");
    for (name, value) in CPU {
        // SAFETY: there is no other thread.
        unsafe { std::env::set_var(name, value) };
    }
    let toolchain = std::env::var(TOOLCHAIN).unwrap_or_else(|_| "nightly".to_owned());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tracer-ebpf");
    let package =
        Package { name: "tracer-ebpf", root_dir: root, no_default_features: true, features: &["bpf"] };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
        .context("cannot build the BPF object; `cargo xtask setup --for build` installs what it needs")
}
