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

/// The kernel gives helpers that read its memory to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the programs contain no panicking path that the verifier would let through.
    unsafe { core::hint::unreachable_unchecked() }
}
