//! The BPF programs. `hooks` turn the kernel's events into plain values; `event` finds the thread they belong
//! to; the rest is the library's: pairing, parts, and what an exit is recorded as. `entries` and `slots` know
//! the maps, `record` and `kmem` how the kernel's data is read, `config` what the loader has put in.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod config;
mod entries;
mod event;
mod hooks;
mod kmem;
mod maps;
mod record;
mod slots;

tracer_ebpf::object!();
