//! Everything that touches the kernel: prerequisites, loading and attaching, reading the maps, naming VMs.
//! The only module that names aya.

pub(crate) mod activity;
pub(crate) mod arch;
mod attach;
mod baseline;
pub mod btf;
pub(crate) mod census;
pub(crate) mod check;
pub(crate) mod counters;
mod cpuinfo;
mod crowding;
pub(crate) mod features;
pub(crate) mod filter;
pub(crate) mod hook;
pub(crate) mod host;
pub mod identify;
pub(crate) mod inventory;
pub(crate) mod log;
mod mapped;
pub(crate) mod namespaces;
mod object;
mod origins;
pub(crate) mod plan;
mod reader;
pub(crate) mod rights;
pub mod session;
mod siblings;
pub(crate) mod sizes;
mod tallies;
mod tracefs;
pub mod vms;

use std::fmt;

/// This host cannot be traced as it is. Exit status 4.
#[derive(Clone, Debug)]
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
