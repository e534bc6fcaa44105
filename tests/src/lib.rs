//! What the tests share: the workload, the scenarios, running exitlat.

#[cfg(target_arch = "x86_64")]
pub mod attack;
#[cfg(target_endian = "little")]
pub mod bpf;
pub mod causes;
pub mod generated;
pub mod identity;
pub mod noise;
pub mod patched;
pub mod perfdata;
pub mod program;
pub mod scenario;
pub mod sie;
pub mod stats;
pub mod synthetic;
pub mod tables;
#[cfg(target_arch = "x86_64")]
pub mod vmm;
