//! The table of events: which event of the kernel exitlat attaches to, by which program, which fields the
//! program reads, what the event tells, and what is lost without it.
//!
//! [`COMMON`] holds what every architecture has; [`crate::kernel::arch`] adds the rest.
//! [`crate::kernel::plan`] filters the table by what the running kernel has.

use tracer_ebpf::{
    config::{self, record as fixed},
    symbols,
};

/// One event. The first of its ways that the kernel allows is taken.
#[derive(Debug)]
pub struct Hook {
    /// `group:name` of a tracepoint, or the name of a kernel function.
    pub event: &'static str,
    /// What the event is for. Of several hooks with one role the first that the kernel allows is taken;
    /// causes are all taken.
    pub role: Role,
    /// What the event tells, in a few words.
    pub tells: &'static str,
    /// How a program can be attached to it.
    pub ways: &'static [Way],
    /// Where the event does not tell what it should.
    pub unless: Unless,
    /// The effect on the trace without it.
    pub if_missing: IfMissing,
}

impl Hook {
    /// The raw tracepoint program that can stand in for the tracepoint program `refused` after loading: the
    /// loader writes no constant into it.
    pub fn raw_without_fields(&self, refused: &Way) -> Option<&'static Way> {
        let raw = self.ways.iter().find(|way| way.how == How::Raw && way.fields.is_empty());
        raw.filter(|_| refused.how == How::Tp)
    }
}

/// One program for an event.
#[derive(Debug)]
pub struct Way {
    /// How it is attached.
    pub how: How,
    /// Name of the program in the object.
    pub program: &'static str,
    /// The constants that the loader writes into it.
    pub fields: &'static [Field],
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// To the raw tracepoint: no record is made.
    Raw,
    /// To the raw tracepoint, with arguments whose types the verifier knows: fields are read by loads.
    Typed,
    /// To the tracepoint: the program reads the record.
    Tp,
    /// To a kernel function.
    Kprobe,
}

impl How {
    /// The word for it in tables; `--attach` takes `raw` and `tp`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Typed => "typed",
            Self::Tp => "tp",
            Self::Kprobe => "kprobe",
        }
    }

    /// Its plural in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw tracepoints",
            Self::Typed => "typed tracepoints",
            Self::Tp => "tracepoints",
            Self::Kprobe => "kprobes",
        }
    }
}

/// What an event is for, in the order in which programs are attached.
///
/// The breakdown comes first: its programs ignore threads of which no exit was seen. Entries come before
/// exits: an entry without an exit is counted and otherwise ignored, while an exit whose entry or cause is
/// missed would have to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// KVM_RUN returns to the VMM.
    KvmRunReturn,
    /// The end of a halt.
    HaltEnd,
    /// The VMM calls KVM_RUN.
    KvmRunEntry,
    /// A thread is woken.
    Wakeup,
    /// A thread loses its CPU, another gets it.
    Switch,
    /// A thread ends.
    ThreadEnd,
    /// A nested guest is about to run.
    NestedEntry,
    /// A vCPU enters its guest.
    Entry,
    /// A vCPU left its guest, before the event tells.
    ExitStamp,
    /// The cause of the open exit.
    Cause {
        /// [`tracer_ebpf::subkey::kind`].
        kind: u8,
        /// Whether it is told unless other causes are asked for.
        by_default: bool,
    },
    /// A vCPU leaves its guest.
    Exit,
}

impl Role {
    /// Whether the event belongs to the breakdown of exits, not to the exits themselves.
    pub fn is_breakdown(self) -> bool {
        self < Self::ThreadEnd
    }

    /// Whether nothing that interrupts its program runs the same program, so that the kernel skips none of
    /// its runs unless threads can lose their CPU in it.
    pub fn is_exclusive(self) -> bool {
        use Role::{HaltEnd, KvmRunEntry, KvmRunReturn, NestedEntry, ThreadEnd};
        matches!(self, KvmRunReturn | HaltEnd | KvmRunEntry | ThreadEnd | NestedEntry)
    }

    /// Whether it is one of the scheduler's events, which fire for every thread of the host.
    pub fn is_scheduler(self) -> bool {
        matches!(self, Self::Wakeup | Self::Switch)
    }
}

/// Where an event is not what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unless {
    /// Nowhere: the event is reliable on every host.
    Never,
    /// On processors with this flag in /proc/cpuinfo.
    CpuFlag(&'static str),
    /// Where the kernel may skip the program.
    Skippable,
}

/// The effect on the trace without an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// Nothing can be traced.
    Refuse,
    /// This is lost.
    Lose(&'static str),
    /// Nothing is lost, but the trace costs more, in this way.
    Cost(&'static str),
}

/// A constant in the object (`tracer_ebpf::config`) and its source.
#[derive(Debug)]
pub struct Field {
    /// The constant.
    pub constant: i32,
    /// Name of the field in the record, or of the member in the kernel's types.
    pub name: &'static str,
    /// Where its value comes from.
    pub source: Source,
}

/// Where a constant's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The offset of a field in the event's record, by the field's size in bytes.
    Record(u32),
    /// The offset of a field that some kernels lack: its size in bytes, and what is lost without it.
    Optional(u32, &'static str),
    /// The offset of the lower half of a field of 4 or 8 bytes.
    Low32,
    /// No constant: the program reads the field at this offset, which the record is checked for.
    At(u32, u32),
    /// An offset in the kernel's types, which the architecture finds.
    Types,
    /// 1: the program is attached.
    Flag,
}

/// A field of a record that the program needs.
pub const fn record(constant: i32, name: &'static str, size: u32) -> Field {
    Field { constant, name, source: Source::Record(size) }
}

/// A field of 4 bytes that some kernels' records lack.
pub const fn optional(constant: i32, name: &'static str, without: &'static str) -> Field {
    Field { constant, name, source: Source::Optional(4, without) }
}

/// A field of 4 or 8 bytes, of which the lower half is read.
pub const fn low32(constant: i32, name: &'static str) -> Field {
    Field { constant, name, source: Source::Low32 }
}

/// A field that the program reads at a fixed place.
pub const fn at(name: &'static str, (offset, size): (u32, u32)) -> Field {
    Field { constant: 0, name, source: Source::At(offset, size) }
}

/// A member of a kernel structure.
pub const fn types(constant: i32, name: &'static str) -> Field {
    Field { constant, name, source: Source::Types }
}

/// A constant that says that the program is attached.
pub const fn flag(constant: i32) -> Field {
    Field { constant, name: "", source: Source::Flag }
}

/// By raw tracepoint, with nothing but the event's arguments.
pub const fn raw(program: &'static str, fields: &'static [Field]) -> Way {
    Way { how: How::Raw, program, fields }
}

/// By raw tracepoint, with typed arguments.
pub const fn typed(program: &'static str, fields: &'static [Field]) -> Way {
    Way { how: How::Typed, program, fields }
}

/// By tracepoint.
pub const fn tp(program: &'static str, fields: &'static [Field]) -> Way {
    Way { how: How::Tp, program, fields }
}

const NO_SLEEPS: &str = "waits for a CPU and sleeps are not told apart";

/// The events that every architecture has.
pub static COMMON: [Hook; 6] = [
    Hook {
        event: "kvm:kvm_userspace_exit",
        role: Role::KvmRunReturn,
        tells: "KVM_RUN returns to the VMM",
        ways: &[
            raw(symbols::LEFT_KVM, &[]),
            tp(symbols::TP_LEFT_KVM, &[at("reason", fixed::LEFT_REASON), at("errno", fixed::LEFT_ERRNO)]),
        ],
        unless: Unless::Never,
        if_missing: IfMissing::Refuse,
    },
    Hook {
        event: "kvm:kvm_vcpu_wakeup",
        role: Role::HaltEnd,
        tells: "the end of a halt",
        ways: &[
            raw(symbols::HALTED, &[]),
            tp(symbols::TP_HALTED, &[at("ns", fixed::HALT_NS), at("waited", fixed::HALT_WAITED)]),
        ],
        unless: Unless::Never,
        if_missing: IfMissing::Refuse,
    },
    Hook {
        event: symbols::ENTERED_KVM_FUNCTION,
        role: Role::KvmRunEntry,
        tells: "the VMM calls KVM_RUN",
        ways: &[Way { how: How::Kprobe, program: symbols::ENTERED_KVM_PROBE, fields: &[] }],
        unless: Unless::Never,
        if_missing: IfMissing::Lose("the return into KVM counts as VMM time"),
    },
    Hook {
        event: "sched:sched_wakeup",
        role: Role::Wakeup,
        tells: "a thread is woken",
        ways: &[
            typed(symbols::TYPED_WAKEUP, &[types(config::OFF_TASK_PID, "task_struct.pid")]),
            tp(symbols::TP_WAKEUP, &[low32(config::OFF_WAKEUP_PID, "pid")]),
        ],
        unless: Unless::Never,
        if_missing: IfMissing::Lose(NO_SLEEPS),
    },
    Hook {
        event: "sched:sched_switch",
        role: Role::Switch,
        tells: "threads lose and get their CPU",
        ways: &[
            typed(
                symbols::TYPED_SWITCH,
                &[
                    flag(config::SCHED),
                    types(config::OFF_TASK_PID, "task_struct.pid"),
                    types(config::OFF_TASK_STATE, "task_struct.__state"),
                ],
            ),
            tp(
                symbols::TP_SWITCH,
                &[
                    flag(config::SCHED),
                    low32(config::OFF_SWITCH_PREV, "prev_pid"),
                    low32(config::OFF_SWITCH_STATE, "prev_state"),
                    low32(config::OFF_SWITCH_NEXT, "next_pid"),
                ],
            ),
        ],
        unless: Unless::Never,
        if_missing: IfMissing::Lose(NO_SLEEPS),
    },
    Hook {
        event: "sched:sched_process_exit",
        role: Role::ThreadEnd,
        tells: "a vCPU thread ends",
        ways: &[raw(symbols::THREAD_EXIT, &[]), tp(symbols::TP_THREAD_EXIT, &[])],
        unless: Unless::Never,
        if_missing: IfMissing::Refuse,
    },
];
