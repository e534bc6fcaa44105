//! Interrupts that take their time: a timer interrupt of one vCPU thread computes for a while, and what that
//! took is counted, apart for the time between the entry event and the exit event. An object of its own, for
//! the tests; exitlat does not contain it.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "the macros make functions without docs of the documented ones")]

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use tracer_ebpf::symbols::burn::{BURNT, COUNT, IN_GUEST, IS_KNOWN, PENDING, TID};

/// An interrupt takes this long, but no longer than `READINGS` readings of the clock.
const LONGEST_NS: u64 = 2_000_000;
const READINGS: u32 = 4_000;

#[map]
static BURN: Array<u64> = Array::with_max_entries(COUNT, 0);

/// `kvm_entry`: what was burnt up to here is in intervals that are complete.
#[raw_tracepoint]
pub fn burn_entry(_ctx: RawTracePointContext) -> i32 {
    if is_target() {
        for index in 0..2 {
            add(BURNT + index, get(PENDING + index));
            set(PENDING + index, 0);
        }
        set(IN_GUEST, 1);
    }
    0
}

/// `kvm_exit`. A tracer learns by the first one that the thread is a vCPU: what was burnt before is nobody's.
#[raw_tracepoint]
pub fn burn_exit(_ctx: RawTracePointContext) -> i32 {
    if is_target() {
        if get(IS_KNOWN) == 0 {
            set(IS_KNOWN, 1);
            for index in 0..2 {
                set(PENDING + index, 0);
                set(BURNT + index, 0);
            }
        }
        set(IN_GUEST, 0);
    }
    0
}

/// `local_timer_entry`: the timer's interrupt begins.
#[raw_tracepoint]
pub fn burn_timer(_ctx: RawTracePointContext) -> i32 {
    if is_target() {
        let start_ns = now_ns();
        let mut burnt_ns = 0;
        for _ in 0..READINGS {
            burnt_ns = now_ns().wrapping_sub(start_ns);
            if burnt_ns >= LONGEST_NS {
                break;
            }
        }
        let place = if get(IN_GUEST) != 0 { PENDING } else { PENDING + 1 };
        add(place, burnt_ns);
    }
    0
}

#[inline(always)]
fn is_target() -> bool {
    u64::from(bpf_get_current_pid_tgid() as u32) == get(TID)
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no requirements.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn get(index: u32) -> u64 {
    BURN.get(index).copied().unwrap_or(0)
}

#[inline(always)]
fn set(index: u32, value: u64) {
    if let Some(place) = BURN.get_ptr_mut(index) {
        // SAFETY: elements live as long as the program, and all events are of one thread.
        unsafe { *place = value };
    }
}

#[inline(always)]
fn add(index: u32, value: u64) {
    set(index, get(index).wrapping_add(value));
}

tracer_ebpf::object!();
