//! The layout of what the BPF programs write and user space maps into its memory.
//!
//! Plain `repr(C)`, no `bool`, no hidden padding; all-zero bytes are valid for every type and mean "unused".

use core::{
    fmt,
    mem::{offset_of, size_of},
};

use crate::{
    breakdown::{Mode, Off},
    histogram::BUCKETS,
    loss,
    part::Part,
};

/// Default capacity of the vCPU table.
pub const DEFAULT_VCPUS: u32 = 1024;
/// Default capacity of the slot table.
pub const DEFAULT_SLOTS: u32 = 4096;
/// Entries in each table of hints; a power of two. Threads whose tids are equal modulo this number, and vCPUs
/// whose addresses have the same place, take the slower way through the hash.
pub const HINTS: usize = 4096;
/// Processes that can be judged at a time, traced or not.
pub const MAX_PROCESSES: u32 = 4096;
/// "This kernel's record has no such field."
pub const ABSENT: u32 = u32::MAX;
/// Places in [`Vcpu::direct`].
pub const DIRECT: usize = 256;
/// Places in [`Vcpu::rare`].
pub const RARE: usize = 32;

/// Instruction set of an exit code: the `isa` of KVM's tracepoint, or a number of our own where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Isa(pub u32);

impl Isa {
    /// Of slots that have no exit code.
    pub const NONE: Self = Self(0);
    /// Intel VMX.
    pub const VMX: Self = Self(1);
    /// AMD SVM, also Hygon.
    pub const SVM: Self = Self(2);
    /// PVM, which is out of tree.
    pub const PVM: Self = Self(3);
    /// IBM Z, whose events carry no isa. No x86 vendor will ever have that many.
    pub const S390: Self = Self(390);
}

impl fmt::Display for Isa {
    /// `VMX`, `SVM`, `PVM`, `S390`, or `isa 7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::VMX => f.write_str("VMX"),
            Self::SVM => f.write_str("SVM"),
            Self::PVM => f.write_str("PVM"),
            Self::S390 => f.write_str("S390"),
            Self(other) => write!(f, "isa {other}"),
        }
    }
}

/// Refers to a slot: its number plus one, so that zeroed memory refers to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct SlotRef(u32);

impl SlotRef {
    /// No slot.
    pub const NONE: Self = Self(0);

    /// The slot with this number.
    #[inline(always)]
    pub const fn new(number: u32) -> Self {
        Self(number.wrapping_add(1))
    }

    /// Number of the slot; beyond every table for [`Self::NONE`].
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0.wrapping_sub(1)
    }

    /// The value as it is kept in a map.
    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// The value to keep in a map.
    #[inline(always)]
    pub const fn raw(self) -> u32 {
        self.0
    }
}

/// The tables of which an entry can be had, in the map that says which are full.
pub mod table {
    /// vCPU entries.
    pub const VCPUS: u32 = 0;
    /// Slots.
    pub const SLOTS: u32 = 1;
    /// Number of tables.
    pub const COUNT: u32 = 2;
}

/// Whether a process is traced, in the map that a filter asks.
pub mod verdict {
    /// Its first event was seen; user space has to decide.
    pub const UNDECIDED: u32 = 0;
    /// It is.
    pub const TRACED: u32 = 1;
    /// It is not.
    pub const REFUSED: u32 = 2;
}

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
    pub isa: Isa,
    /// The exit code.
    pub code: u32,
    /// [`SlotRef::NONE`] ends the list.
    pub slot: SlotRef,
}

/// What the thread does while an exit is open, as far as it is not simply running in KVM. See
/// [`crate::breakdown`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Breakdown {
    /// 1 if the open exit has, or may have, parts other than [`Part::Kernel`].
    pub touched: u32,
    /// Where the thread is.
    pub mode: Mode,
    /// Why it is not on a CPU.
    pub off: Off,
    /// With which KVM_EXIT_* KVM returned to the VMM.
    pub user_reason: u32,
    /// When this mode, or this time off the CPU, began.
    pub since_ns: u64,
    /// When the thread was last made runnable. The only field that other CPUs write.
    pub woken_ns: u64,
    /// Parts of the open exit so far; [`Part::Kernel`] stays 0, it is the rest.
    pub parts: [u64; Part::COUNT],
    /// Parts of all complete exits, in the same way, and time off the CPU between entry and exit.
    pub closed: [u64; Part::COUNT],
    /// What of [`Part::Blocked`] becomes [`Part::Halt`] if it turns out that KVM let the vCPU halt.
    pub halting_ns: u64,
    /// When the thread first fell asleep in KVM since it last woke from a halt.
    pub asleep_ns: u64,
    /// When the thread was last taken off its CPU although it could run, and for how long.
    pub preempted_ns: u64,
    /// Length of that.
    pub preempted_for_ns: u64,
    /// Time in the VMM since KVM last returned to it.
    pub trip_ns: u64,
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
    pub open_isa: Isa,
    /// Isa of the codes in `direct`: that of the first exit.
    pub isa: Isa,
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
    /// Time of the last entry, moved on by what the thread then spent off its CPU; 0 before the first.
    ///
    /// `first_ns + guest_ns + exit_ns + lost_ns + away_ns` is `open_ns` while an exit is open, else
    /// `entered_ns`.
    pub entered_ns: u64,
    /// Sum of the complete guest intervals.
    pub guest_ns: u64,
    /// Sum of the complete exit intervals.
    pub exit_ns: u64,
    /// Time in intervals that were lost: of unpaired exits and entries, or because the clock went back.
    pub lost_ns: u64,
    /// Time off the CPU between entry and exit.
    pub away_ns: u64,
    /// Cause of the open exit below its reason, see [`crate::subkey`]; 0 if none is known.
    pub open_subkey: u64,
    /// The kernel's `struct kvm_vcpu` that the thread runs, between two returns of KVM_RUN; 0 when it is not
    /// known. Raw tracepoints are given it: within one call of KVM_RUN, which holds the vCPU's mutex, it
    /// tells the thread.
    pub kvm_vcpu: u64,
    /// The kernel's `struct task_struct` of the thread, beside `kvm_vcpu` where a return of KVM_RUN can be
    /// missed.
    pub task: u64,
    /// The control block of the same time, while it is that of the guest itself and not of a guest in it; 0
    /// when it is not known. AMD only.
    pub vmcb: u64,
    /// The slot of the guest intervals.
    pub guest_slot: SlotRef,
    /// Not 0 while a program of `bpf/split.rs` is at work on the entry. From Linux 7.0 on raw tracepoints do
    /// not keep the thread from losing its CPU meanwhile (commit a46023d5616e): the scheduler's programs
    /// then leave it alone.
    pub busy: u32,
    /// The parts of the open exit and of the complete ones.
    pub breakdown: Breakdown,
    /// Name of the thread at its first exit.
    pub comm: [u8; 16],
    /// Indexed by [`loss::PerVcpu`].
    pub lost: [u64; loss::PerVcpu::COUNT],
    /// By [`crate::slot::direct_index`].
    pub direct: [SlotRef; DIRECT],
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
    pub isa: Isa,
    /// The exit code, flags included.
    pub code: u32,
    /// Which of `extremes` samples go to. Starts at 1, 0 while the slot is not handed out; after that user
    /// space raises it whenever it has taken the samples so far, so that minimum and maximum start afresh.
    pub epoch: u32,
    /// Which samples of the exit, or which cause of it; see [`crate::subkey`].
    pub subkey: u64,
    /// Samples whose update was begun; written first.
    pub begun: u64,
    /// Sum of all samples.
    pub sum_ns: u64,
    /// Sum of their parts; [`Part::Kernel`] stays 0, it is the rest.
    pub parts: [u64; Part::COUNT],
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
        open_isa: Isa::NONE,
        isa: Isa::NONE,
        vcpu_id: 0,
        state: state::FREE,
        pid: 0,
        tid: 0,
        generation: 0,
        first_ns: 0,
        entered_ns: 0,
        guest_ns: 0,
        exit_ns: 0,
        lost_ns: 0,
        away_ns: 0,
        open_subkey: 0,
        kvm_vcpu: 0,
        task: 0,
        vmcb: 0,
        guest_slot: SlotRef::NONE,
        busy: 0,
        breakdown: Breakdown::NONE,
        comm: [0; 16],
        lost: [0; loss::PerVcpu::COUNT],
        direct: [SlotRef::NONE; DIRECT],
        rare: [Rare { isa: Isa::NONE, code: 0, slot: SlotRef::NONE }; RARE],
    };
}

impl Breakdown {
    /// All zero: the thread runs, in the guest or in KVM.
    pub const NONE: Self = Self {
        touched: 0,
        mode: Mode::KERNEL,
        off: Off::RUNNING,
        user_reason: 0,
        since_ns: 0,
        woken_ns: 0,
        parts: [0; Part::COUNT],
        closed: [0; Part::COUNT],
        halting_ns: 0,
        asleep_ns: 0,
        preempted_ns: 0,
        preempted_for_ns: 0,
        trip_ns: 0,
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

impl Slot {
    /// All zero.
    pub const UNUSED: Self = Self {
        vcpu: 0,
        isa: Isa::NONE,
        code: 0,
        epoch: 0,
        subkey: 0,
        begun: 0,
        sum_ns: 0,
        parts: [0; Part::COUNT],
        extremes: [Extremes { epoch: 0, pad: 0, min_ns: 0, max_ns: 0 }; 2],
        done: 0,
        buckets: [0; BUCKETS],
    };
}

const _: () = assert!(size_of::<Breakdown>() == 72 + 16 * Part::COUNT);
const _: () = assert!(size_of::<Vcpu>() == 192 + size_of::<Breakdown>() + 4 * DIRECT + 12 * RARE);
const _: () = assert!(offset_of!(Vcpu, lost) == 152 + size_of::<Breakdown>());
const _: () = assert!(size_of::<Slot>() == 96 + 8 * Part::COUNT + 4 * BUCKETS);
const _: () = assert!(offset_of!(Slot, buckets) == 96 + 8 * Part::COUNT);
