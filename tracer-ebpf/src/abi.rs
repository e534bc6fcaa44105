//! The layout of what the BPF programs write and user space maps into its memory.
//!
//! Plain `repr(C)`, no `bool`, no hidden padding; all-zero bytes are valid for every type and mean "unused".

use core::mem::{align_of, offset_of, size_of};

use crate::{
    breakdown::{Mode, Off},
    histogram::BUCKETS,
    loss,
    part::Part,
    pause::Span,
};

pub use crate::isa::Isa;

/// Default capacity of the vCPU table.
pub const DEFAULT_VCPUS: u32 = 1024;
/// Default capacity of the slot table.
pub const DEFAULT_SLOTS: u32 = 4096;
/// Hints of threads; a power of two. Threads whose tids are equal modulo this number take the slower way
/// through the hash.
pub const HINTS: usize = 4096;
/// Counts of vCPU threads by the low bits of their tids; a power of two. The more there are, the fewer other
/// threads have the bits of one.
pub const TID_COUNTS: usize = 16_384;
/// Hints of vCPUs; a power of two. vCPUs whose addresses have the same place take the slower way through the
/// hash. The table takes 512 KiB, of which only the lines in use cost cache.
pub const VCPU_HINTS: usize = 131_072;
/// Which hint is that of a `struct kvm_vcpu`, by the number of its page: such a structure is larger than a
/// page, so no two begin on the same one.
pub const fn vcpu_hint(kvm_vcpu: u64) -> usize {
    (kvm_vcpu / HINT_PAGE) as usize % VCPU_HINTS
}

/// See [`vcpu_hint`].
pub const HINT_PAGE: u64 = 4096;

/// The element of [`Vcpu`], [`Slot`] and [`Tally`] tables that is never handed out: a number in zeroed memory
/// refers to nothing.
pub const NOBODY: u32 = 0;
/// Processes that can be judged at a time, traced or not.
pub const MAX_PROCESSES: u32 = 4096;
/// "This kernel's record has no such field."
pub const ABSENT: u32 = u32::MAX;
/// Places in [`Vcpu::direct`].
pub const DIRECT: usize = 256;
/// Places in [`Vcpu::rare`].
pub const RARE: usize = 32;
/// Default capacity of the table of thin records.
pub const DEFAULT_TALLIES: u32 = 8192;
/// Causes that a vCPU may have by default; see [`crate::quota`].
pub const DEFAULT_CAUSES: u32 = 64;
/// Places in [`Vcpu::cache`]; a power of two.
pub const CACHED: usize = 8;

/// Exit codes of [`Isa::NONE`]: what stands where there is no code.
pub mod pseudo {
    /// The exit's code could not be read.
    pub const UNREADABLE: u32 = 1;
    /// KVM_RUN returned although the vCPU had entered its guest and no exit was reported: the entry failed.
    pub const ENTRY_FAILED: u32 = 2;
    /// The exit was stamped ([`crate::event::stamp`]), and its event has not come yet. If an entry comes
    /// first, the event was missed.
    pub const STAMPED: u32 = 3;
}

/// Refers to a slot or thin record by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct SlotRef(pub u32);

impl SlotRef {
    /// No slot.
    pub const NONE: Self = Self(NOBODY);
}

/// The tables of which an entry can be had: indices of the map `FULL`.
pub mod table {
    /// vCPU entries.
    pub const VCPUS: u32 = 0;
    /// Slots.
    pub const SLOTS: u32 = 1;
    /// Thin records.
    pub const TALLIES: u32 = 2;
    /// Number of tables.
    pub const COUNT: u32 = 3;
}

/// Whether a process is traced: values of the map `TRACED`.
pub mod verdict {
    /// Its first event was seen; user space has to decide.
    pub const UNDECIDED: u32 = 0;
    /// The process is traced.
    pub const TRACED: u32 = 1;
    /// The process is not traced.
    pub const REFUSED: u32 = 2;
}

/// State of a [`Vcpu`] entry.
pub mod state {
    /// Not in use.
    pub const FREE: u32 = 0;
    /// The thread runs.
    pub const LIVE: u32 = 1;
    /// The thread is gone, or has run too many other vCPUs since; user space takes the last numbers and frees
    /// the entry.
    pub const DEAD: u32 = 2;
    /// The thread runs another vCPU. No time passes for this entry.
    pub const PARKED: u32 = 3;
}

/// Where the slot of an exit code outside the direct table is noted.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Rare {
    /// The code's isa.
    pub isa: Isa,
    /// The exit code.
    pub code: u32,
    /// [`SlotRef::NONE`] ends the list.
    pub slot: SlotRef,
}

/// Where the slot or thin record of a cause was found last.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Cached {
    /// The cause.
    pub subkey: u64,
    /// The exit code that it is below; its isa is [`Vcpu::isa`].
    pub code: u32,
    /// [`SlotRef::NONE`] if the place is not used.
    pub slot: SlotRef,
}

/// Bits of [`Vcpu::touched`].
pub mod touched {
    /// The open exit has, or may have, parts other than [`super::Part::Kernel`].
    pub const PARTS: u32 = 1;
    /// The isa of the open exit is not [`super::Vcpu::isa`].
    pub const ISA: u32 = 2;
}

/// What the thread does while an exit is open, as far as it is not simply running in KVM. See
/// [`crate::breakdown`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Breakdown {
    /// Where the thread is.
    pub mode: Mode,
    /// Why it is not on a CPU.
    pub off: Off,
    /// With which KVM_EXIT_* KVM returned to the VMM.
    pub user_reason: u32,
    /// Keeps the layout explicit.
    pub pad: u32,
    /// When this mode, or this time off the CPU, began.
    pub since_ns: u64,
    /// When the thread was last made runnable. The only field that other CPUs write.
    pub woken_ns: u64,
    /// Parts of the open exit so far; [`Part::Kernel`] stays 0, it is the rest.
    pub parts: [u64; Part::COUNT],
    /// Parts of all complete exits, also without [`Part::Kernel`], and time off the CPU between entry and
    /// exit.
    pub closed: [u64; Part::COUNT],
    /// The share of [`Part::Blocked`] that becomes [`Part::Halt`] if it turns out that KVM let the vCPU halt.
    pub halting_ns: u64,
    /// When the thread first fell asleep in KVM since it last woke from a halt.
    pub asleep_ns: u64,
    /// When the thread was last preempted: taken off its CPU although it could run.
    pub preempted_ns: u64,
    /// Length of the preemption at `preempted_ns`.
    pub preempted_for_ns: u64,
    /// Time in the VMM since KVM last returned to it.
    pub trip_ns: u64,
    /// When the VMM seemed to call KVM_RUN, which nothing has confirmed yet; see [`Mode::CALLED`].
    pub call_ns: u64,
    /// Time off the CPU since `call_ns`.
    pub call_away_ns: u64,
    /// Time asleep since `call_ns`.
    pub call_slept_ns: u64,
    /// When a signal kept the vCPU out of KVM: from its first sleep in the VMM to the next call of KVM_RUN.
    /// [`Span::ALWAYS`] while its guest waits in the VMM, since that tells nothing about a pause.
    pub stay: Span,
}

/// One vCPU on one thread. Written only by that thread's events, by user space before it is handed out and
/// after the thread's death, and, where a field says so, by user space at any time.
///
/// In lines of 64 bytes: an exit or entry without a pause touches the first line only, and of `direct` the
/// one that has its code.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Vcpu {
    /// The kernel's `struct kvm_vcpu` that the thread runs, between two returns of KVM_RUN; 0 when it is not
    /// known. Raw tracepoints are given it: within one call of KVM_RUN, which holds the vCPU's mutex, it
    /// tells the thread.
    pub kvm_vcpu: u64,
    /// Time of the exit that waits for its entry; 0 when the vCPU is in the guest.
    pub open_ns: u64,
    /// Time of the last entry, moved on by what the thread then spent off its CPU; 0 if none was seen since
    /// the last exit that was.
    pub entered_ns: u64,
    /// Sum of the complete exit intervals. Those of the guest are what is left, see
    /// [`crate::pairing::guest_ns`].
    pub exit_ns: u64,
    /// The VMCB of the guest itself, valid as long as `kvm_vcpu`; 0 when it is not known or a nested guest's
    /// VMCB is in use. AMD only.
    pub vmcb: u64,
    /// Cause of the open exit below its reason, see [`crate::subkey`]; 0 if none is known or no exit is open.
    pub open_subkey: u64,
    /// Code of the open exit, or of the last one.
    pub open_code: u32,
    /// See [`touched`]. At 0 the open exit has its time, its code and nothing else.
    pub touched: u32,
    /// Isa of `open_code`: `isa`, unless `touched` says otherwise.
    pub open_isa: Isa,
    /// Isa of the codes in `direct`.
    pub isa: Isa,

    /// `tgid << 32 | tid`; 0 while unused and after death.
    pub pid_tgid: u64,
    /// The kernel's `struct task_struct` of the thread, beside `kvm_vcpu` where a return of KVM_RUN can be
    /// missed.
    pub task: u64,
    /// When the first exit was seen.
    pub first_ns: u64,
    /// Time in intervals that were lost: of unpaired exits and entries, or because the clock went back.
    pub lost_ns: u64,
    /// Time off the CPU between entry and exit.
    pub away_ns: u64,
    /// Time in which the thread ran other vCPUs.
    pub parked_ns: u64,
    /// Not 0 while a program of `hooks/kvm_run.rs` is at work on the entry. From Linux 7.0 on raw
    /// tracepoints do not keep the thread from losing its CPU meanwhile (commit a46023d5616e): the
    /// scheduler's programs then leave it alone.
    pub busy: u32,
    /// Causes that have a slot or thin record.
    pub causes: u32,
    /// Not 0 while several times are changed that a reader must see changed together or not at all.
    pub changing: u32,
    /// The entry's own number, which the programs need only now and then.
    pub index: u32,

    /// See [`state`].
    pub state: u32,
    /// Counts how often this entry was handed out, so that a reader notices a new owner.
    pub generation: u32,
    /// Which vCPU it is, as far as the events tell vCPUs of one thread apart: the address of its `struct
    /// kvm_vcpu`, or its number plus one; 0 if they do not.
    pub identity: u64,
    /// The kernel's vCPU number, or [`ABSENT`].
    pub vcpu_id: u32,
    /// The thread's tgid; unlike `pid_tgid` it outlives the thread.
    pub pid: u32,
    /// The thread's tid; unlike `pid_tgid` it outlives the thread.
    pub tid: u32,
    /// The slot of the guest intervals.
    pub guest_slot: SlotRef,
    /// Another entry of the same thread, in a ring; [`NOBODY`] if it has no other. See [`crate::ring`].
    pub next: u32,
    /// Another entry of the same process, in a ring; [`NOBODY`] if the process is not known yet. Written by
    /// user space. See [`crate::pause`].
    pub sibling: u32,
    /// Name of the thread at its first exit.
    pub comm: [u8; 16],

    /// The parts of the open exit and of the complete ones.
    pub breakdown: Breakdown,
    /// Indexed by [`loss::PerVcpu`].
    pub lost: [u64; loss::PerVcpu::COUNT],
    /// Causes that were asked for lately, by [`crate::tables::cache_index`].
    pub cache: [Cached; CACHED],
    /// By [`crate::slot::direct_index`].
    pub direct: [SlotRef; DIRECT],
    /// The codes that have no place in `direct`.
    pub rare: [Rare; RARE],
    /// The address of the kernel's `struct kvm`, which tells the VMs of a process apart; 0 if not known.
    pub kvm: u64,
}

/// Smallest and largest sample of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Extremes {
    /// Shortest sample.
    pub min_ns: u64,
    /// Longest sample.
    pub max_ns: u64,
}

impl Extremes {
    /// The extremes of no sample.
    pub const NONE: Self = Self { min_ns: u64::MAX, max_ns: 0 };
}

/// The epoch that a slot is handed out with. No later one is 0, which says that it is not handed out.
pub const FIRST_EPOCH: u32 = 1;
/// By how much an epoch is more than the one before: the size of [`Extremes`], so that an epoch has the
/// offset of its own in it.
pub const EPOCH_STEP: u32 = size_of::<Extremes>() as u32;

/// The offset of an epoch's extremes is one bit of it, and the lowest bit of all epochs is that of the first.
const _: () = assert!(EPOCH_STEP.is_power_of_two() && FIRST_EPOCH < EPOCH_STEP);

/// Which of [`Tally::extremes`] the samples of an epoch go to.
#[inline(always)]
pub const fn parity(epoch: u32) -> usize {
    (epoch / EPOCH_STEP % 2) as usize
}

/// Count, sum, minimum and maximum of the samples of one (vCPU, isa, exit code, subkey): what a slot begins
/// with, and all of a thin record. One writer: the vCPU's thread.
///
/// A reader is safe from half-done updates without ever stopping the writer: it reads `done`, copies, reads
/// `begun`, and has a consistent copy if the two are equal.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Tally {
    /// Samples whose update was begun; written first.
    pub begun: u64,
    /// Samples whose update is complete; written last. This is the count.
    pub done: u64,
    /// Sum of all samples.
    pub sum_ns: u64,
    /// By [`parity`] of the epoch. User space empties the other one before it raises the epoch.
    pub extremes: [Extremes; 2],
    /// Which of `extremes` samples go to. 0 while the slot is not handed out, then [`FIRST_EPOCH`]; after
    /// that user space adds [`EPOCH_STEP`] whenever it has taken the samples so far, so that minimum and
    /// maximum start afresh.
    pub epoch: u32,
    /// Index of the vCPU.
    pub vcpu: u32,

    /// Which samples of the exit, or which cause of it; see [`crate::subkey`].
    pub subkey: u64,
    /// Isa of the code.
    pub isa: Isa,
    /// The exit code, flags included.
    pub code: u32,
    /// The rest of the line: room for its worst sample.
    pub room: [u64; 6],
}

/// A tally with parts and a histogram.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Slot {
    /// Count, sum, minimum and maximum.
    pub tally: Tally,
    /// Sum of the parts; [`Part::Kernel`] stays 0, it is the rest.
    pub parts: [u64; Part::COUNT],
    /// Samples per bucket, see [`crate::histogram`]. They wrap; the reader takes differences.
    pub buckets: [u32; BUCKETS],
}

/// How many places of each table are held, by the processes whose tgids share this element of the array, or
/// by all processes. The BPF programs count the places taken, user space counts those given back: a counter
/// has one kind of writer. See [`crate::quota`].
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Held {
    /// Places taken so far, by [`table`].
    pub taken: [u64; table::COUNT as usize],
    /// Places given back so far, by [`table`].
    pub returned: [u64; table::COUNT as usize],
    /// Events of threads that were refused an entry.
    pub refused: u64,
    /// The process that was last refused an entry.
    pub refused_pid: u32,
    /// Keeps the layout explicit.
    pub pad: u32,
}

/// Elements of the array of [`Held`]: a power of two for processes, and one for all processes.
pub const HELD: usize = 4096 + 1;

impl Vcpu {
    /// All zero.
    pub const UNUSED: Self = Self {
        kvm_vcpu: 0,
        open_ns: 0,
        entered_ns: 0,
        exit_ns: 0,
        vmcb: 0,
        open_subkey: 0,
        open_code: 0,
        touched: 0,
        open_isa: Isa::NONE,
        isa: Isa::NONE,
        pid_tgid: 0,
        task: 0,
        first_ns: 0,
        lost_ns: 0,
        away_ns: 0,
        parked_ns: 0,
        busy: 0,
        causes: 0,
        changing: 0,
        index: NOBODY,
        state: state::FREE,
        generation: 0,
        identity: 0,
        vcpu_id: 0,
        pid: 0,
        tid: 0,
        guest_slot: SlotRef::NONE,
        next: NOBODY,
        sibling: NOBODY,
        comm: [0; 16],
        breakdown: Breakdown::NONE,
        lost: [0; loss::PerVcpu::COUNT],
        cache: [Cached { subkey: 0, code: 0, slot: SlotRef::NONE }; CACHED],
        direct: [SlotRef::NONE; DIRECT],
        rare: [Rare { isa: Isa::NONE, code: 0, slot: SlotRef::NONE }; RARE],
        kvm: 0,
    };
}

impl Breakdown {
    /// All zero: the thread runs, in the guest or in KVM.
    pub const NONE: Self = Self {
        mode: Mode::KERNEL,
        off: Off::RUNNING,
        user_reason: 0,
        pad: 0,
        since_ns: 0,
        woken_ns: 0,
        parts: [0; Part::COUNT],
        closed: [0; Part::COUNT],
        halting_ns: 0,
        asleep_ns: 0,
        preempted_ns: 0,
        preempted_for_ns: 0,
        trip_ns: 0,
        call_ns: 0,
        call_away_ns: 0,
        call_slept_ns: 0,
        stay: Span::NEVER,
    };
}

/// Names a slot that is not found through [`Vcpu::direct`] and [`Vcpu::rare`]: key of the map `SLOT_OF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SlotKey {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// Isa of the code.
    pub isa: Isa,
    /// The exit code.
    pub code: u32,
    /// Keeps the layout explicit.
    pub pad: u32,
    /// See [`crate::subkey`].
    pub subkey: u64,
}

impl Tally {
    /// All zero: not handed out.
    pub const UNUSED: Self = Self {
        begun: 0,
        done: 0,
        sum_ns: 0,
        extremes: [Extremes { min_ns: 0, max_ns: 0 }; 2],
        epoch: 0,
        vcpu: 0,
        subkey: 0,
        isa: Isa::NONE,
        code: 0,
        room: [0; 6],
    };
}

impl Slot {
    /// All zero: not handed out.
    pub const UNUSED: Self = Self { tally: Tally::UNUSED, parts: [0; Part::COUNT], buckets: [0; BUCKETS] };
}

/// Bytes that a CPU fetches at once.
const LINE: usize = 64;

const _: () = assert!(offset_of!(Vcpu, isa) == LINE - 4 && offset_of!(Vcpu, pid_tgid) == LINE);
// Read as one number, see `crate::slot::direct_place`.
const _: () = assert!(offset_of!(Vcpu, open_code) % 8 == 0);
const _: () = assert!(offset_of!(Vcpu, touched) == offset_of!(Vcpu, open_code) + 4);
const _: () = assert!(offset_of!(Vcpu, state) == 2 * LINE && offset_of!(Vcpu, breakdown) == 3 * LINE - 8);
const _: () = assert!(offset_of!(Vcpu, lost) == 3 * LINE - 8 + size_of::<Breakdown>());
const _: () = assert!(size_of::<Breakdown>() == 112 + 16 * Part::COUNT);
const _: () = assert!(size_of::<Vcpu>().is_multiple_of(LINE) && align_of::<Vcpu>() == LINE);
const _: () = assert!(offset_of!(Tally, vcpu) == LINE - 4 && size_of::<Tally>() == 2 * LINE);
const _: () = assert!(offset_of!(Slot, parts) == 2 * LINE && offset_of!(Slot, buckets) == 3 * LINE);
const _: () = assert!(size_of::<Slot>() == 3 * LINE + 4 * BUCKETS && size_of::<Slot>().is_multiple_of(LINE));
const _: () = assert!(size_of::<Held>() == LINE);
