//! The Rust toolchains: the pinned stable one for user space, and a nightly for the BPF object.
//!
//! BPF needs `-Z build-std=core`, hence a nightly; which one decides what code the verifier sees, so it is
//! named here and nowhere else. `tracer-user/build.rs` gets it through [`BPF_ENV`].

use std::process::Command;
use std::sync::OnceLock;

use crate::process::probe;

/// The nightly that set-up installs if there is none.
pub const BPF_NIGHTLY: &str = "nightly-2026-05-20";
/// The commit date of the compiler in [`BPF_NIGHTLY`]; a plain `nightly` must be at least as new.
const BPF_NIGHTLY_COMMITTED: &str = "2026-05-19";
/// The environment variable from which build scripts take the nightly.
pub const BPF_ENV: &str = "EXITLAT_BPF_TOOLCHAIN";
/// The linker of the BPF object. 0.10.1 writes BTF that kernels reject, 0.11 wants a system LLVM.
pub const BPF_LINKER: &str = "0.10.4";
/// The version of cargo-fuzz, which drives libFuzzer.
pub const CARGO_FUZZ: &str = "0.13.1";
/// The version of cargo-deny, which checks duplicates, licences, sources and advisories.
pub const CARGO_DENY: &str = "0.20.2";
/// The target of everything that is shipped or run in a guest: static, so that it runs on any x86-64 Linux.
pub const MUSL: &str = "x86_64-unknown-linux-musl";
/// The target for IBM Z, where Rust has no musl; `.cargo/config.toml` makes it static too.
pub const S390X: &str = "s390x-unknown-linux-gnu";

/// The installed nightly to use for BPF, if there is one: the dated one, else a plain one that is new enough.
pub fn installed_bpf() -> Option<&'static str> {
    let list = probe("rustup", &["toolchain", "list"])?;
    let has = |name: &str| list.lines().any(|line| line.starts_with(&format!("{name}-x86_64")));
    if has(BPF_NIGHTLY) {
        return Some(BPF_NIGHTLY);
    }
    let version = has("nightly").then(|| probe("rustup", &["run", "nightly", "rustc", "--version"]))??;
    new_enough(&version).then_some("nightly")
}

/// Whether this output of `rustc --version` is of a nightly at least as new as [`BPF_NIGHTLY`].
fn new_enough(version: &str) -> bool {
    let committed = version.trim().trim_end_matches(')').rsplit(' ').next().unwrap_or_default();
    version.contains("-nightly")
        && committed.len() == BPF_NIGHTLY_COMMITTED.len()
        && committed >= BPF_NIGHTLY_COMMITTED
}

/// The nightly for BPF: the installed one, else the one that set-up would install.
pub fn bpf() -> &'static str {
    static CHOICE: OnceLock<&str> = OnceLock::new();
    CHOICE.get_or_init(|| installed_bpf().unwrap_or(BPF_NIGHTLY))
}

/// `cargo` of the pinned toolchain, at the root of the checkout, told which nightly to use for BPF.
pub fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(crate::paths::root()).env(BPF_ENV, bpf());
    cargo
}

/// `cargo` of the BPF nightly.
pub fn bpf_cargo() -> Command {
    let mut cargo = Command::new("rustup");
    cargo.args(["run", bpf(), "cargo"]).current_dir(crate::paths::root());
    // The stable cargo that started this program sets them; the nightly's compiler must not see them.
    for name in ["RUSTC", "RUSTDOC", "CARGO", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(name);
    }
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_recent_nightly_will_do() {
        assert!(new_enough("rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\n"));
        assert!(new_enough("rustc 1.98.0-nightly (0123abcde 2026-07-01)"));
        assert!(!new_enough("rustc 1.96.0-nightly (0123abcde 2026-03-01)"));
        assert!(!new_enough("rustc 1.95.0 (59807616e 2026-06-14)"));
        assert!(!new_enough("rustc 1.97.0-nightly"));
    }
}
