//! What the tests share: the workload, the scenarios, running exitlat.

pub mod scenario;
pub mod synthetic;
pub mod vmm;
