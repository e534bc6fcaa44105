//! What the tests share: the workload, the scenarios, running exitlat.

pub mod perfdata;
pub mod scenario;
pub mod vmm;
