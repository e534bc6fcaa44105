//! Every map, who writes it and who reads it.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, Stack},
};
use tracer_ebpf::{
    abi::{DEFAULT_SLOTS, DEFAULT_VCPUS, DetailKey, HINTS, Slot, Vcpu},
    lost, names,
};

/// Written by the events of the owning thread; mapped and read by user space.
#[map]
pub static VCPUS: Array<Vcpu> = Array::with_max_entries(DEFAULT_VCPUS, BPF_F_MMAPABLE);
/// Written by the events of the owning thread; mapped and read by user space.
#[map]
pub static SLOTS: Array<Slot> = Array::with_max_entries(DEFAULT_SLOTS, BPF_F_MMAPABLE);
/// Thread (tid) to vCPU index. Written at a thread's first exit and at its death.
#[map]
pub static VCPU_OF: HashMap<u32, u32> = HashMap::with_max_entries(DEFAULT_VCPUS, 0);
/// Slots with a detail. Written at the first sample of each, and by user space when their vCPU is dead.
#[map]
pub static DETAIL_OF: HashMap<DetailKey, u32> = HashMap::with_max_entries(DEFAULT_SLOTS, 0);
/// Free entries. A stack because it hands out numbers on every kernel from 5.10 on: atomic operations that
/// return the old value came with 5.12 (commit 5ca419f2864a).
#[map]
pub static FREE_VCPUS: Stack<u32> = Stack::with_max_entries(DEFAULT_VCPUS, 0);
/// Free slots, in the same way.
#[map]
pub static FREE_SLOTS: Stack<u32> = Stack::with_max_entries(DEFAULT_SLOTS, 0);
/// Losses that belong to no vCPU.
#[map]
pub static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(lost::Global::COUNT as u32, 0);
/// Hits of the counting programs.
#[map]
pub static SILENCE: PerCpuArray<u64> = PerCpuArray::with_max_entries(names::SILENCE_PROGRAMS.len() as u32, 0);

/// A guess in front of `VCPU_OF`, by the low bits of the tid: index plus one, checked against the entry it names. 0:
/// no vCPU thread has these bits, which is how the scheduler's events of all other threads are told. Not a map of
/// its own but part of the object's data, whose address is known when the program is loaded: no look-up.
static mut VCPU_HINTS: [u32; HINTS] = [0; HINTS];

/// The guess for a thread. Several threads may share it, and overwrite it: a wrong guess only costs the hash.
#[inline(always)]
pub fn hint(tid: u32) -> *mut u32 {
    (&raw mut VCPU_HINTS).cast::<u32>().wrapping_add(tid as usize & (HINTS - 1))
}

/// Adds one to a per-CPU counter. An index out of range is ignored.
#[inline(always)]
pub fn bump(counters: &PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: a live element of this CPU. Where programs can be preempted one in a million counts may be lost.
        unsafe { *counter += 1 };
    }
}
