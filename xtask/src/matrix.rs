//! The matrix in `tests/kernels.toml`.

use std::fs;

use anyhow::{Context, Result};
use lab::Kernel;
use lab::target::{Arch, Machine};
use serde::Deserialize;

use crate::paths;

/// The file as written; unknown keys are errors, so that a misspelt one cannot be ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// The kernels, oldest first.
    #[serde(rename = "kernel")]
    pub kernels: Vec<Kernel>,
    /// Special runs, beside those of every kernel.
    #[serde(rename = "run")]
    pub runs: Vec<Run>,
    /// The host tests.
    pub host: Tier,
    /// The BPF_PROG_TEST_RUN tests.
    pub testrun: Tier,
}

/// A run of a part of the lab tests in a special guest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Its name in the log.
    pub name: String,
    /// The kernel's name.
    pub kernel: String,
    /// The machine it boots on.
    pub machine: &'static Machine,
    /// The tests' prefix; the matrix leaves them out.
    pub filter: String,
    /// Whether perf is in the guest.
    #[serde(default)]
    pub with_perf: bool,
    /// Whether QEMU and a Linux guest are in the guest.
    #[serde(default)]
    pub linux_guest: bool,
    /// Whether guest time is a number of instructions.
    #[serde(default)]
    pub icount: bool,
    /// Tests that may skip there.
    pub expect_skips: Vec<String>,
}

/// A tier without kernels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Tests that may skip there.
    pub expect_skips: Vec<String>,
}

impl Matrix {
    /// Reads the file.
    pub fn load() -> Result<Self> {
        let path = paths::root().join("tests/kernels.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot parse {}", path.display()))
    }

    /// The kernels of an architecture.
    pub fn of(&self, arch: Arch) -> impl Iterator<Item = &Kernel> {
        self.kernels.iter().filter(move |kernel| kernel.arch == arch)
    }

    /// The kernels of an architecture that the usual machine boots.
    pub fn usual(&self, arch: Arch) -> impl Iterator<Item = &Kernel> {
        self.of(arch).filter(|kernel| !kernel.special)
    }

    /// A kernel by name, or the default one.
    pub fn kernel(&self, arch: Arch, name: Option<&str>) -> Result<&Kernel> {
        let wanted = |kernel: &&Kernel| name.map_or(kernel.default, |name| kernel.name == name);
        self.of(arch).find(wanted).with_context(|| {
            let known = self.of(arch).map(|kernel| kernel.name.as_str()).collect::<Vec<_>>().join(", ");
            format!(
                "tests/kernels.toml has no kernel \"{}\" for {}; it has {known}",
                name.unwrap_or("default = true"),
                arch.debian()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_sound() {
        let matrix = Matrix::load().unwrap();
        for arch in [Arch::X86_64, Arch::S390x] {
            assert_eq!(matrix.of(arch).filter(|kernel| kernel.default).count(), 1);
            assert_eq!(matrix.kernel(arch, None).unwrap().name, "6.1");
        }
        for kernel in &matrix.kernels {
            let name = kernel.full_name();
            assert!(!kernel.sources.is_empty(), "{name} comes from nowhere");
            assert_eq!(kernel.arch == Arch::X86_64, kernel.busybox.is_empty(), "{name}: the host's busybox");
            // One kernel of the matrix is one flavour, wherever it comes from.
            assert!(kernel.sources.iter().all(|source| source.meta == kernel.sources[0].meta), "{name}");
            let named = |run: &Run| run.kernel == kernel.name && run.machine.arch == kernel.arch;
            assert!(!kernel.special || matrix.runs.iter().any(named), "{name}: nothing boots it");
        }
        for run in &matrix.runs {
            matrix.kernel(run.machine.arch, Some(&run.kernel)).unwrap();
        }
        let error = matrix.kernel(Arch::X86_64, Some("2.6")).unwrap_err().to_string();
        assert!(error.ends_with("5.10, 6.1, 6.12, 7.2, 6.1-rt"), "{error}");
        let error = matrix.kernel(Arch::S390x, Some("5.10")).unwrap_err().to_string();
        assert!(error.ends_with("6.1, 6.12"), "{error}");
    }
}
