//! Tests inside the lab: real exits of real guests, counted by exitlat and by the workload that made them.
//!
//! Run by `cargo xtask test lab`, one test at a time, as root, on each kernel of `tests/kernels.toml`. Names
//! that begin with `intel_` run on the VMX lab, those with `perf_` where perf is at hand, all others on the
//! SVM lab; those with `qemu_` need QEMU there. On s390x there are others, whose names begin with `s390x_`.
//! Names that begin with `icount_` need time to be a number of instructions. Nothing here depends on how fast
//! anything is.

#[cfg(target_arch = "x86_64")]
mod abuse;
#[cfg(target_arch = "s390x")]
mod abuse_s390x;
mod counters;
#[cfg(target_arch = "x86_64")]
mod counts;
#[cfg(target_arch = "x86_64")]
mod faults;
#[cfg_attr(target_arch = "s390x", expect(dead_code, reason = "some helpers are for the tests on x86"))]
mod guest;
#[cfg(target_arch = "x86_64")]
mod hosts;
#[cfg(target_arch = "x86_64")]
mod identity;
#[cfg(target_arch = "x86_64")]
mod intel;
#[cfg(target_arch = "x86_64")]
mod interrupts;
#[cfg(target_arch = "x86_64")]
mod lifecycle;
#[cfg(target_arch = "x86_64")]
mod linux;
#[cfg(target_arch = "x86_64")]
mod namespaces;
#[cfg(target_arch = "x86_64")]
mod parts;
#[cfg(target_arch = "x86_64")]
mod paused;
#[cfg(target_arch = "x86_64")]
mod pauses;
#[cfg(target_arch = "x86_64")]
mod perf;
#[cfg(target_arch = "x86_64")]
mod qemu;
#[cfg(target_arch = "x86_64")]
mod rights;
#[cfg(target_arch = "s390x")]
mod s390x;
#[cfg(target_arch = "x86_64")]
mod slowdown;
#[cfg(target_arch = "x86_64")]
mod threads;
#[cfg(target_arch = "x86_64")]
mod times;
#[cfg(target_arch = "x86_64")]
mod vcpus;
