//! Tests inside the lab: real exits of real guests, counted by exitlat and by the workload that made them.
//!
//! Run by `cargo xtask test lab`, one test at a time, as root, on each kernel of `tests/kernels.toml`. Names
//! that begin with `intel_` run on the VMX lab, those with `perf_` where perf is at hand, all others on the
//! SVM lab. Nothing here depends on how fast anything is.

mod counts;
mod faults;
mod guest;
mod hosts;
mod intel;
mod lifecycle;
mod parts;
mod perf;
mod times;
