//! What the tests share: the workload, the scenarios, running exitlat.

pub mod noise;
pub mod perfdata;
pub mod program;
pub mod scenario;
pub mod synthetic;
pub mod vmm;
