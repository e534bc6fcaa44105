//! The layout of what the BPF programs write and user space maps into its memory.
//!
//! Plain `repr(C)`, no `bool`, no hidden padding; all-zero bytes are valid for every type and mean "unused".

use core::mem::{offset_of, size_of};

use crate::{histogram::BUCKETS, lost};

/// Default capacity of the vCPU table.
pub const DEFAULT_VCPUS: u32 = 1024;
/// Default capacity of the slot table.
pub const DEFAULT_SLOTS: u32 = 4096;
/// Entries in the hint table; a power of two. Threads whose tids are equal modulo this number take the
/// slower way through the hash.
pub const HINTS: usize = 4096;
/// Processes that can be told apart before any map is touched.
pub const MAX_FILTER_PIDS: usize = 32;
/// "This kernel's record has no such field."
pub const ABSENT: u32 = u32::MAX;
/// Places in [`Vcpu::direct`].
pub const DIRECT: usize = 256;
/// Places in [`Vcpu::rare`].
pub const RARE: usize = 32;
/// `isa` of the tracepoint's record: VMX.
pub const ISA_VMX: u32 = 1;
/// `isa` of the tracepoint's record: SVM.
pub const ISA_SVM: u32 = 2;

/// Stands for s390, whose events carry no isa. No x86 vendor will ever have that many.
pub const ISA_S390: u32 = 390;

/// State of a [`Vcpu`] entry.
pub mod state {
    /// Not in use.
    pub const FREE: u32 = 0;
    /// The thread runs.
    pub const LIVE: u32 = 1;
    /// The thread is gone; user space takes its last numbers and frees the entry.
    pub const DEAD: u32 = 2;
}

/// Where the slot of an exit code outside the direct table is noted.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Rare {
    /// The code's isa.
    pub isa: u32,
    /// The exit code.
    pub code: u32,
    /// Slot number plus one; 0 ends the list.
    pub slot: u32,
}

/// One vCPU thread. Written only by that thread's events, and by user space before it is handed out and
/// after the thread's death.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Vcpu {
    /// `tgid << 32 | tid`; 0 while unused and after death.
    pub pid_tgid: u64,
    /// Time of the exit that waits for its entry; 0 when the vCPU is in the guest.
    pub open_ns: u64,
    /// Code of that exit.
    pub open_code: u32,
    /// Isa of that exit.
    pub open_isa: u32,
    /// Isa of the codes in `direct`: that of the first exit.
    pub isa: u32,
    /// The kernel's vCPU number, or [`ABSENT`].
    pub vcpu_id: u32,
    /// See [`state`].
    pub state: u32,
    /// The thread's tgid; unlike `pid_tgid` it outlives the thread.
    pub pid: u32,
    /// The thread's tid; unlike `pid_tgid` it outlives the thread.
    pub tid: u32,
    /// Counts how often this entry was handed out, so that a reader notices a new owner.
    pub generation: u32,
    /// When the first exit was seen.
    pub first_ns: u64,
    /// Name of the thread at its first exit.
    pub comm: [u8; 16],
    /// Indexed by [`lost::PerVcpu`].
    pub lost: [u64; lost::PerVcpu::COUNT],
    /// Slot number plus one by [`crate::slot::direct_index`]; 0 for codes not seen yet.
    pub direct: [u32; DIRECT],
    /// The codes that have no place in `direct`.
    pub rare: [Rare; RARE],
}

/// Smallest and largest sample of one epoch.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Extremes {
    /// The epoch they belong to.
    pub epoch: u32,
    /// Keeps the layout explicit.
    pub pad: u32,
    /// Shortest sample.
    pub min_ns: u64,
    /// Longest sample.
    pub max_ns: u64,
}

/// Aggregate of one (vCPU thread, isa, exit code). One writer: the vCPU thread.
///
/// A reader is safe from half-done updates without ever stopping the writer: it reads `done`, copies, reads
/// `begun`, and has a consistent copy if the two are equal.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Slot {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// Isa of the code.
    pub isa: u32,
    /// The exit code, flags included.
    pub code: u32,
    /// Which of `extremes` samples go to. Starts at 1, 0 while the slot is not handed out; after that user
    /// space raises it whenever it has taken the samples so far, so that minimum and maximum start afresh.
    pub epoch: u32,
    /// Samples whose update was begun; written first.
    pub begun: u64,
    /// Sum of all samples.
    pub sum_ns: u64,
    /// By parity of the epoch.
    pub extremes: [Extremes; 2],
    /// Samples whose update is complete; written last. This is the count.
    pub done: u64,
    /// Samples per bucket, see [`crate::histogram`]. They wrap; the reader takes differences.
    pub buckets: [u32; BUCKETS],
}

impl Vcpu {
    /// All zero.
    pub const UNUSED: Self = Self {
        pid_tgid: 0,
        open_ns: 0,
        open_code: 0,
        open_isa: 0,
        isa: 0,
        vcpu_id: 0,
        state: state::FREE,
        pid: 0,
        tid: 0,
        generation: 0,
        first_ns: 0,
        comm: [0; 16],
        lost: [0; lost::PerVcpu::COUNT],
        direct: [0; DIRECT],
        rare: [Rare { isa: 0, code: 0, slot: 0 }; RARE],
    };
}

impl Slot {
    /// All zero.
    pub const UNUSED: Self = Self {
        vcpu: 0,
        isa: 0,
        code: 0,
        epoch: 0,
        begun: 0,
        sum_ns: 0,
        extremes: [Extremes { epoch: 0, pad: 0, min_ns: 0, max_ns: 0 }; 2],
        done: 0,
        buckets: [0; BUCKETS],
    };
}

const _: () = assert!(size_of::<Vcpu>() == 112 + 4 * DIRECT + 12 * RARE);
const _: () = assert!(offset_of!(Vcpu, lost) == 72);
const _: () = assert!(size_of::<Slot>() == 88 + 4 * BUCKETS);
const _: () = assert!(offset_of!(Slot, buckets) == 88);
