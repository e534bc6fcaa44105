//! Every map, who writes it and who reads it.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::bpf_map_lookup_elem,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, Stack},
};
use tracer_ebpf::{
    abi::{
        DEFAULT_SLOTS, DEFAULT_TALLIES, DEFAULT_VCPUS, HELD as HELD_LEN, HINT_PAGE, HINTS, Held,
        MAX_PROCESSES, Slot, SlotKey, SlotRef, TID_COUNTS, Tally, VCPU_HINTS, Vcpu, table,
    },
    codegen::masked,
    config::{ASKED_SLOTS, ASKED_TALLIES, ASKED_VCPUS},
    loss, quota, symbols,
    tables::Place,
};

use crate::config::value;

/// Written by the events of the owning thread; mapped and read by user space.
#[map]
pub static VCPUS: Array<Vcpu> = Array::with_max_entries(DEFAULT_VCPUS, BPF_F_MMAPABLE);
/// Written by the events of the owning thread; mapped and read by user space.
#[map]
pub static SLOTS: Array<Slot> = Array::with_max_entries(DEFAULT_SLOTS, BPF_F_MMAPABLE);
/// Thin records. Written by the events of the owning thread; mapped and read by user space.
#[map]
pub static TALLIES: Array<Tally> = Array::with_max_entries(DEFAULT_TALLIES, BPF_F_MMAPABLE);
/// Who holds how many places of the tables, by the low bits of the tgid; all together in the last element.
/// Written when a place is taken, and by user space when it is given back.
#[map]
static HELD: Array<Held> = Array::with_max_entries(HELD_LEN as u32, BPF_F_MMAPABLE);
/// Thread (tid) to the index of the vCPU that it runs. Written at a thread's first exit and at its death.
#[map]
pub static VCPU_OF: HashMap<u32, u32> = HashMap::with_max_entries(DEFAULT_VCPUS, 0);
/// Slots with a subkey, and thin records. Written at the first sample of each, and by user space when their
/// vCPU is dead.
#[map]
pub static SLOT_OF: HashMap<SlotKey, u32> = HashMap::with_max_entries(DEFAULT_SLOTS + DEFAULT_TALLIES, 0);
/// Free entries. A stack because it hands out numbers on every kernel from 5.10 on: atomic operations that
/// return the old value came with 5.12 (commit 5ca419f2864a).
#[map]
pub static FREE_VCPUS: Stack<u32> = Stack::with_max_entries(DEFAULT_VCPUS, 0);
/// Free slots, in a stack for the reason given at [`FREE_VCPUS`].
#[map]
pub static FREE_SLOTS: Stack<u32> = Stack::with_max_entries(DEFAULT_SLOTS, 0);
/// Free thin records, in a stack for the reason given at [`FREE_VCPUS`].
#[map]
pub static FREE_TALLIES: Stack<u32> = Stack::with_max_entries(DEFAULT_TALLIES, 0);
/// Not 0: the table had no free entry when it was last asked. Set here, cleared by user space when it has
/// handed entries back. The stacks have one lock for all CPUs: with a full table every exit that lacks an
/// entry would wait for it.
#[map]
static FULL: Array<u32> = Array::with_max_entries(table::COUNT, 0);
/// Which processes are traced, where not all are. An entry is made at the first event of a process; user
/// space judges it, and removes it when the process has ended.
#[map]
pub static TRACED: HashMap<u32, u32> = HashMap::with_max_entries(MAX_PROCESSES, 0);
/// Losses that belong to no vCPU.
#[map]
pub static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(loss::Global::COUNT as u32, 0);
/// Hits of the counting programs.
#[map]
pub static ACTIVITY: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(symbols::ACTIVITY_PROGRAMS.len() as u32, 0);

/// The element of an array whose index is at `key`: in the stack, in the object's data or in a map. aya's own
/// call copies the index to the stack, which takes four more instructions.
///
/// # Safety
/// `key` must be valid for reading.
#[inline(always)]
pub unsafe fn element<T>(array: &'static Array<T>, key: *const u32) -> Option<NonNull<T>> {
    let map = (&raw const *array).cast_mut().cast();
    // SAFETY: the map is one, and the caller vouches for the key.
    let element = unsafe { bpf_map_lookup_elem(map, key.cast()) };
    NonNull::new(element.cast())
}

/// Guesses in front of [`VCPU_OF`], for the threads whose tids have the same low bits. Several may share and
/// overwrite one: a wrong guess only costs the hash.
///
/// Not a map of its own but part of the object's data, whose address is known when the program is loaded: no
/// look-up.
static mut HINTS_BY_TID: [u32; HINTS] = [0; HINTS];

/// How many living vCPU threads have these low bits. At 0 the scheduler's programs skip the event.
static mut COUNTS_BY_TID: [u32; TID_COUNTS] = [0; TID_COUNTS];

/// The guess for the thread that runs a `struct kvm_vcpu`: an index, checked against the entry.
static mut HINTS_BY_VCPU: [u32; VCPU_HINTS] = [0; VCPU_HINTS];

/// Where the guess for a thread is, an index. The caller has to check what is found by it.
#[inline(always)]
pub fn hint(tid: u32) -> *const u32 {
    const OFFSET: i32 = ((HINTS - 1) * size_of::<u32>()) as i32;
    let offset = masked::<OFFSET>(u64::from(tid) * size_of::<u32>() as u64);
    (&raw const HINTS_BY_TID).cast::<u32>().wrapping_byte_add(offset)
}

/// Changes the guess for a thread.
#[inline(always)]
pub fn point_to(tid: u32, index: u32) {
    // SAFETY: in bounds; readers check what they find.
    unsafe { hint(tid).cast_mut().write_volatile(index) }
}

#[inline(always)]
fn count(tid: u32) -> *mut u32 {
    const OFFSET: i32 = ((TID_COUNTS - 1) * size_of::<u32>()) as i32;
    let offset = masked::<OFFSET>(u64::from(tid) * size_of::<u32>() as u64);
    (&raw mut COUNTS_BY_TID).cast::<u32>().wrapping_byte_add(offset)
}

/// Whether a thread can be a vCPU: no map is touched for most threads that are none.
#[inline(always)]
pub fn may_be_vcpu(tid: u32) -> bool {
    // SAFETY: in bounds; the count is one aligned word.
    unsafe { count(tid).read_volatile() != 0 }
}

/// A thread has become a vCPU.
#[inline(always)]
pub fn came(tid: u32) {
    count_on(count(tid), 1);
}

/// A vCPU thread has ended.
#[inline(always)]
pub fn left(tid: u32) {
    count_on(count(tid), -1);
}

/// Adds to a counter of 32 bits that several CPUs write.
#[inline(always)]
fn count_on(counter: *mut u32, more: i32) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: changes what `counter` points to only.
    unsafe {
        core::arch::asm!("lock *(u32 *)({0} + 0) += {1}", in(reg) counter, in(reg) i64::from(more), options(nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: callers give what lives; nothing runs the programs there.
    unsafe {
        *counter = (*counter).wrapping_add_signed(more);
    }
}

/// Adds to a counter that several CPUs write. Rust has no atomic addition for BPF.
#[inline(always)]
fn add(counter: *mut u64, more: i64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: changes what `counter` points to only.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) more, options(nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: callers give what lives; nothing runs the programs there.
    unsafe {
        *counter = (*counter).wrapping_add_signed(more);
    }
}

/// The guess for a `struct kvm_vcpu`, see [`tracer_ebpf::abi::vcpu_hint`].
#[inline(always)]
pub fn run_hint(kvm_vcpu: u64) -> *mut u32 {
    const OFFSET: i32 = ((VCPU_HINTS - 1) * size_of::<u32>()) as i32;
    // The number of the page times the size of a guess, by one shift.
    let offset = masked::<OFFSET>(kvm_vcpu >> (HINT_PAGE.ilog2() - size_of::<u32>().ilog2()));
    (&raw mut HINTS_BY_VCPU).cast::<u32>().wrapping_byte_add(offset)
}

/// The processes that are counted together with this one.
#[inline(always)]
fn held_by(pid: u32) -> Option<*mut Held> {
    HELD.get_ptr_mut(pid & (HELD_LEN as u32 - 2))
}

/// Where the places of a process are counted, and those of all.
#[inline(always)]
fn held(pid: u32) -> Option<[*mut Held; 2]> {
    Some([held_by(pid)?, HELD.get_ptr_mut(HELD_LEN as u32 - 1)?])
}

/// Takes a free place of a table for a process.
#[inline(always)]
pub fn take<const TABLE: u32>(free: &Stack<u32>, pid: u32) -> Place {
    let Some(full) = FULL.get_ptr_mut(TABLE) else { return Place::Full };
    let Some(held) = held(pid) else { return Place::Full };
    // SAFETY: an element of an array lives as long as the program.
    if unsafe { full.read_volatile() } != 0 {
        return Place::Full;
    }
    if !admits::<TABLE>(held) {
        return Place::Refused;
    }
    // An error means that the stack's lock could not be had; the table may have free entries.
    match free.pop() {
        Ok(Some(entry)) => {
            count_taken::<TABLE>(held, 1);
            Place::Free(SlotRef(entry))
        }
        Ok(None) => {
            // SAFETY: an element of an array lives as long as the program.
            unsafe { full.write_volatile(1) };
            Place::Full
        }
        Err(_) => Place::Full,
    }
}

/// Whether the quota lets a process take a place, by what it holds and what all hold.
#[inline(always)]
fn admits<const TABLE: u32>([mine, all]: [*mut Held; 2]) -> bool {
    let asked = match TABLE {
        table::VCPUS => value::<ASKED_VCPUS>(),
        table::SLOTS => value::<ASKED_SLOTS>(),
        _ => value::<ASKED_TALLIES>(),
    };
    // SAFETY: elements of an array live as long as the program. A count that is a moment old lets one more or
    // one less pass.
    let held = |held: *mut Held| unsafe {
        let (taken, returned) = ((*held).taken[TABLE as usize], (*held).returned[TABLE as usize]);
        taken.wrapping_sub(returned)
    };
    quota::admits(TABLE, asked, held(all), held(mine))
}

/// Whether a process would get no place of a table now.
#[inline(always)]
pub fn refuses<const TABLE: u32>(pid: u32) -> bool {
    held(pid).is_none_or(|held| is_full(TABLE) || !admits::<TABLE>(held))
}

/// Puts a place back that nobody has seen.
#[inline(always)]
pub fn put_back<const TABLE: u32>(free: &Stack<u32>, pid: u32, entry: u32) {
    if let Some(held) = held(pid) {
        count_taken::<TABLE>(held, -1);
    }
    let _ = free.push(entry, 0);
}

#[inline(always)]
fn count_taken<const TABLE: u32>(held: [*mut Held; 2], more: i64) {
    for held in held {
        // SAFETY: in bounds.
        add(unsafe { &raw mut (*held).taken[TABLE as usize] }, more);
    }
}

/// Notes that a process was refused an entry.
#[inline(always)]
pub fn note_refused(pid: u32) {
    if let Some(held) = held_by(pid) {
        // SAFETY: in bounds. One process or the other is noted.
        unsafe { (&raw mut (*held).refused_pid).write_volatile(pid) };
        // SAFETY: in bounds.
        add(unsafe { &raw mut (*held).refused }, 1);
    }
}

/// Whether a table had no free entry when it was last asked.
#[inline(always)]
fn is_full(table: u32) -> bool {
    // SAFETY: an element of an array lives as long as the program.
    FULL.get_ptr(table).is_some_and(|full| unsafe { full.read_volatile() } != 0)
}

/// Adds one to a per-CPU counter. An index out of range is ignored.
#[inline(always)]
pub fn bump(counters: &PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: a live element of this CPU. Where programs can be preempted one in a million counts may be
        // lost.
        unsafe { *counter += 1 };
    }
}
