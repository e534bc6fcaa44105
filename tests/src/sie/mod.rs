//! A VMM without a guest, for s390x: every vCPU gets a script of the exits that the lab's scripted SIE
//! (`xtask/lab/guest/sie.c`) then makes, an exactly known number. The oracle of the lab tests there, as `vmm`
//! is on x86.
//!
//! [`step`] is the table of the exits, [`script`] turns them into the records that the SIE reads, [`vm`]
//! makes the virtual machine and runs its vCPUs. The command line is in `bin/sie_workload.rs`.
//!
//! Beside the script there are only exits with code 0 that a vCPU makes because another one asks for it; KVM
//! counts these (`exit_null`).

pub mod script;
pub mod step;
pub mod vm;
