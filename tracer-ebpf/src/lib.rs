//! What the BPF programs and user space share: the layout of the maps, the pairing of exits with entries,
//! and the histogram buckets.
//!
//! Everything here is `no_std` and pure: no map, no helper call, no clock, no allocation. The BPF programs
//! (`src/bpf`, the binary target), the host tests and the replay of recorded events call the same functions,
//! so a scenario that goes wrong in one goes wrong in all.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod breakdown;
pub mod codegen;
pub mod config;
pub mod event;
pub mod histogram;
pub mod isa;
pub mod loss;
pub mod pairing;
pub mod part;
pub mod pause;
pub mod quota;
pub mod ring;
pub mod slot;
pub mod subkey;
pub mod symbols;
pub mod tables;
