//! The BPF programs. `body` is what happens at an event; the other modules are doors to it: they turn a
//! kernel's event into plain values and nothing else.
//!
//! Every program on a classic tracepoint returns 1: a program that returns 0 there keeps the event from
//! every other user of the tracepoint, `perf kvm stat` for instance (`perf_trace_run_bpf_submit`,
//! kernel/events/core.c).
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod activity;
mod body;
mod causes;
mod config;
mod maps;
mod raw;
mod s390;
mod sched;
mod split;
mod synthetic;
mod threads;
mod tp;

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
