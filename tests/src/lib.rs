//! What the tests share: the workload, the scenarios, running exitlat.

pub mod scenario;
pub mod sie;
pub mod stats;
#[cfg(target_arch = "x86_64")]
pub mod vmm;
