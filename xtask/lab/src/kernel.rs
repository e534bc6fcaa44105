//! A kernel to boot: its series, and where it can come from.

use serde::Deserialize;

use crate::sources::Source;
use crate::target::Arch;

/// One kernel and where it comes from. Unknown keys are errors, so that a misspelt one cannot be ignored.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Its name among the kernels of its architecture.
    pub name: String,
    /// The architecture.
    #[serde(default)]
    pub arch: Arch,
    /// The start of its package's version, e.g. `6.12`.
    pub version: String,
    /// Where it can come from, best first.
    pub sources: Vec<Source>,
    /// The Debian suites with a static busybox, best first. Only for an architecture that is not this
    /// host's.
    #[serde(default)]
    pub busybox: Vec<String>,
    /// Whether it is the one to boot for this architecture when none is named.
    #[serde(default)]
    pub default: bool,
    /// Whether only the runs that name it boot it, because the usual machine cannot.
    #[serde(default)]
    pub special: bool,
    /// Tests that may skip there.
    pub expect_skips: Vec<String>,
}

impl Kernel {
    /// Its name among the kernels of all architectures, for directories.
    pub fn full_name(&self) -> String {
        match self.arch {
            Arch::X86_64 => self.name.clone(),
            Arch::S390x => format!("s390x-{}", self.name),
        }
    }
}
