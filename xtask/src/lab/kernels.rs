//! The matrix in `tests/kernels.toml`.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The file as written; unknown keys are errors, so that a misspelt one cannot be ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// The kernels, oldest first.
    #[serde(rename = "kernel")]
    pub kernels: Vec<Kernel>,
    /// Runs beside the matrix proper.
    #[serde(rename = "run")]
    pub runs: Vec<Run>,
    /// The host tests.
    pub host: Tier,
    /// The BPF_PROG_TEST_RUN tests.
    pub testrun: Tier,
}

/// One kernel and where it comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// What `--kernel` takes.
    pub name: String,
    /// What the version of its package must start with.
    pub version: String,
    /// The Debian suite.
    pub suite: String,
    /// The package that points at the suite's current kernel.
    pub meta: String,
    /// Whether it is what `cargo xtask lab` boots when not told.
    #[serde(default)]
    pub default: bool,
    /// Tests that may skip there.
    pub expect_skips: Vec<String>,
}

/// The emulated CPU, by maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Cpu {
    /// SVM, under QEMU.
    Amd,
    /// VMX, under Bochs.
    Intel,
}

impl Cpu {
    /// Its name, as in `LAB_CPU`.
    pub fn name(self) -> &'static str {
        match self {
            Cpu::Amd => "amd",
            Cpu::Intel => "intel",
        }
    }

    /// KVM's module for it.
    pub fn module(self) -> &'static str {
        match self {
            Cpu::Amd => "kvm_amd",
            Cpu::Intel => "kvm_intel",
        }
    }
}

/// A run of a part of the lab tests in a special guest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Its name in the log.
    pub name: String,
    /// The kernel's name.
    pub kernel: String,
    /// The CPU.
    pub cpu: Cpu,
    /// The tests' prefix; the matrix leaves them out.
    pub filter: String,
    /// Whether perf is in the guest.
    #[serde(default)]
    pub with_perf: bool,
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
        let path = crate::paths::root().join("tests/kernels.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not as it must be", path.display()))
    }

    /// A kernel by name, or the default one.
    pub fn kernel(&self, name: Option<&str>) -> Result<&Kernel> {
        let wanted = |kernel: &&Kernel| name.map_or(kernel.default, |name| kernel.name == name);
        self.kernels.iter().find(wanted).with_context(|| {
            let known = self.kernels.iter().map(|kernel| kernel.name.as_str()).collect::<Vec<_>>().join(", ");
            format!(
                "tests/kernels.toml has no kernel \"{}\"; it has {known}",
                name.unwrap_or("default = true")
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
        assert_eq!(matrix.kernels.iter().filter(|kernel| kernel.default).count(), 1);
        assert_eq!(matrix.kernel(None).unwrap().name, "6.1");
        for run in &matrix.runs {
            matrix.kernel(Some(&run.kernel)).unwrap();
        }
        let error = matrix.kernel(Some("2.6")).unwrap_err().to_string();
        assert!(error.contains("5.10, 6.1, 6.12, 7.2"), "{error}");
    }
}
