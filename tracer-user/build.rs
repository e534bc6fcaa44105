//! Builds the BPF object that the binary embeds.

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

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

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={TOOLCHAIN}");
    for (name, value) in CPU {
        // SAFETY: there is no other thread.
        unsafe { env::set_var(name, value) };
    }
    let toolchain = env::var(TOOLCHAIN).unwrap_or_else(|_| "nightly".to_owned());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tracer-ebpf");
    let package =
        Package { name: "tracer-ebpf", root_dir: root, no_default_features: true, features: &["bpf"] };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
        .context("cannot build the BPF object; `cargo xtask setup --for build` installs what it needs")?;
    let object = Path::new(&env::var_os("OUT_DIR").context("cargo names no OUT_DIR")?).join("exitlat-bpf");
    let whole = fs::read(&object).context("cannot read the BPF object")?;
    fs::write(&object, stripped(&whole).context("cannot strip the BPF object")?)?;
    Ok(())
}

/// The object without its debug information, four fifths of it: the compiler makes BTF from it, and it is of
/// no use after that. What is embedded is copied, searched and parsed at every start.
fn stripped(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        section.delete =
            [".debug_", ".rel.debug_"].iter().any(|name| section.name.starts_with(name.as_bytes()));
    }
    builder.delete_orphan_symbols();
    // The compiler keeps the names of sections with those of symbols; the writer wants them apart.
    let names = builder.sections.add();
    (names.name, names.sh_type, names.data) = (".shstrtab".into(), SHT_STRTAB, SectionData::SectionString);
    let mut out = Vec::new();
    builder.write(&mut out)?;
    Ok(out)
}
