//! Everything that touches the kernel: prerequisites, loading and attaching, reading the maps, naming VMs.
//! The only module that names aya.

pub mod activity;
pub mod baseline;
pub mod btf;
pub mod check;
pub mod filter;
pub mod host;
pub mod log;
pub mod mapped;
pub mod object;
pub mod plan;
pub mod raw;
pub mod reader;
pub mod session;
pub mod sie;
pub mod tracefs;
pub mod vms;

use std::fmt;

/// This host cannot be traced as it is. Exit status 4.
#[derive(Debug)]
pub struct Unsupported {
    /// What is missing.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Unsupported {
    /// Names what is missing and what to do.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for Unsupported {}
