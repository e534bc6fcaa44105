//! Names that cross the border between the BPF object and its loader: maps, programs, read-only globals.
//!
//! The loader asks for globals and most maps when it starts; a test asks for the other maps and for each
//! program.

/// Per-vCPU-thread state: array of [`crate::abi::Vcpu`], mmapable.
pub const VCPUS: &str = "VCPUS";
/// Aggregates: array of [`crate::abi::Slot`], mmapable.
pub const SLOTS: &str = "SLOTS";
/// Thin records: array of [`crate::abi::Tally`], mmapable.
pub const TALLIES: &str = "TALLIES";
/// Free indices of [`TALLIES`]: stack, filled by user space.
pub const FREE_TALLIES: &str = "FREE_TALLIES";
/// Who holds how many places: array of [`crate::abi::Held`], mmapable.
pub const HELD: &str = "HELD";
/// Thread (tid) to index in [`VCPUS`]: hash.
pub const VCPU_OF: &str = "VCPU_OF";
/// [`crate::abi::SlotKey`] to slot number: hash.
pub const SLOT_OF: &str = "SLOT_OF";
/// Free indices of [`VCPUS`]: stack, filled by user space.
pub const FREE_VCPUS: &str = "FREE_VCPUS";
/// Free indices of [`SLOTS`]: stack, filled by user space.
pub const FREE_SLOTS: &str = "FREE_SLOTS";
/// Which tables are full, by [`crate::abi::table`]: array.
pub const FULL: &str = "FULL";
/// Losses that belong to no vCPU, by [`crate::loss::Global`]: per-CPU array.
pub const LOST: &str = "LOST";
/// Process (tgid) to [`crate::abi::verdict`]: hash.
pub const TRACED: &str = "TRACED";
/// Hits of [`ACTIVITY_PROGRAMS`]: per-CPU array.
pub const ACTIVITY: &str = "ACTIVITY";

macro_rules! programs {
    ($($(#[$doc:meta])* $constant:ident = $name:literal,)*) => {
        $($(#[$doc])* pub const $constant: &str = $name;)*

        /// All programs but those of [`ACTIVITY_PROGRAMS`].
        pub const PROGRAMS: &[&str] = &[$($name),*];
    };
}

programs! {
    /// Tracepoint program on `kvm:kvm_exit`.
    TP_EXIT = "tp_exit",
    /// Tracepoint program on `kvm:kvm_entry`.
    TP_ENTRY = "tp_entry",
    /// Raw tracepoint program on `kvm_exit`.
    RAW_EXIT = "raw_exit",
    /// Raw tracepoint program on `kvm_entry`.
    RAW_ENTRY = "raw_entry",
    /// Kprobe on [`EXIT_STAMP_FUNCTION`]: a vCPU left its guest.
    EXIT_STAMP = "exit_stamp",
    /// Raw tracepoint program on `kvm_nested_vmrun` or `kvm_nested_vmenter`: a nested guest is about to run.
    NESTED = "nested",
    /// Raw tracepoint program on `kvm_userspace_exit`: KVM_RUN returns.
    LEFT_KVM = "left_kvm",
    /// Raw tracepoint program on x86's `kvm_fpu`: KVM_RUN is called.
    ENTERED_KVM = "entered_kvm",
    /// Kprobe on [`ENTERED_KVM_FUNCTION`]: KVM_RUN is called.
    ENTERED_KVM_PROBE = "entered_kvm_probe",
    /// Raw tracepoint program on `kvm_vcpu_wakeup`: the end of a halt.
    HALTED = "halted",
    /// Tracepoint program on `kvm:kvm_userspace_exit`.
    TP_LEFT_KVM = "tp_left_kvm",
    /// Tracepoint program on `kvm:kvm_fpu`.
    TP_ENTERED_KVM = "tp_entered_kvm",
    /// Tracepoint program on `kvm:kvm_vcpu_wakeup`.
    TP_HALTED = "tp_halted",
    /// Tracepoint program on `sched:sched_process_exit`.
    TP_THREAD_EXIT = "tp_thread_exit",
    /// Typed tracepoint program on `sched_switch`.
    TYPED_SWITCH = "typed_switch",
    /// Typed tracepoint program on `sched_wakeup`.
    TYPED_WAKEUP = "typed_wakeup",
    /// Tracepoint program on `sched:sched_switch`.
    TP_SWITCH = "tp_switch",
    /// Tracepoint program on `sched:sched_wakeup`.
    TP_WAKEUP = "tp_wakeup",
    /// Tracepoint program on `kvm:kvm_s390_sie_exit`.
    SIE_EXIT = "sie_exit",
    /// Tracepoint program on `kvm:kvm_s390_sie_enter`.
    SIE_ENTER = "sie_enter",
    /// Tracepoint program on `kvm:kvm_s390_intercept_instruction`.
    CAUSE_INSTRUCTION = "cause_instruction",
    /// Tracepoint program on `kvm:kvm_s390_handle_diag`.
    CAUSE_DIAG = "cause_diag",
    /// Tracepoint program on `kvm:kvm_s390_handle_sigp`.
    CAUSE_SIGP = "cause_sigp",
    /// Tracepoint program on `kvm:kvm_s390_handle_sigp_pei`.
    CAUSE_SIGP_PEI = "cause_sigp_pei",
    /// Tracepoint program on `kvm:kvm_s390_intercept_prog`.
    CAUSE_PROGRAM = "cause_program",
    /// Tracepoint program on `kvm:kvm_s390_intercept_validity`.
    CAUSE_VALIDITY = "cause_validity",
    /// Tracepoint program on `kvm:kvm_s390_handle_operexc`.
    CAUSE_OPERATION = "cause_operation",
    /// Tracepoint program on `kvm:kvm_s390_sie_fault`.
    CAUSE_SIE_FAULT = "cause_sie_fault",
    /// Tracepoint program on `kvm:kvm_cr`.
    CAUSE_CR = "cause_cr",
    /// Tracepoint program on `kvm:kvm_msr`.
    CAUSE_MSR = "cause_msr",
    /// Raw tracepoint program on `sched_process_exit`.
    THREAD_EXIT = "thread_exit",
    /// Raw tracepoint program for tests: an exit event as plain numbers.
    SYNTHETIC_EXIT = "synthetic_exit",
    /// Raw tracepoint program for tests: an entry event as plain numbers.
    SYNTHETIC_ENTRY = "synthetic_entry",
    /// Raw tracepoint program for tests: the death of a thread as plain numbers.
    SYNTHETIC_DEATH = "synthetic_death",
    /// Raw tracepoint program for tests: an event between exit and entry as plain numbers, see [`synthetic`].
    SYNTHETIC_PART = "synthetic_part",
}

/// The architecture's part of KVM_RUN, present on all (`virt/kvm/kvm_main.c`).
pub const ENTERED_KVM_FUNCTION: &str = "kvm_arch_vcpu_ioctl_run";

/// What KVM calls first after an AMD processor has left the guest, before it lets interrupts in
/// (`vcpu_enter_guest`, arch/x86/kvm/x86.c).
pub const EXIT_STAMP_FUNCTION: &str = "svm_handle_exit_irqoff";

/// The third argument of [`SYNTHETIC_PART`]; the first two are the tid and the time.
pub mod synthetic {
    /// KVM_RUN returned; with reason and error.
    pub const LEFT: u32 = 1;
    /// KVM_RUN was called.
    pub const CALL: u32 = 2;
    /// The end of a halt; with its length and whether the thread slept.
    pub const HALTED: u32 = 3;
    /// The thread lost its CPU; with [`crate::breakdown::Off`].
    pub const OUT: u32 = 4;
    /// The thread got a CPU.
    pub const IN: u32 = 5;
    /// The thread was woken.
    pub const WOKEN: u32 = 6;
    /// The cause of the open exit; with [`crate::subkey`].
    pub const CAUSE: u32 = 7;
    /// The guest was left, before the exit event tells.
    pub const STAMP: u32 = 8;
}

/// The programs of the object `exitlat-null-bpf`.
pub mod null {
    /// Raw tracepoint program that does nothing.
    pub const RAW: &str = "null_raw";
    /// Raw tracepoint program that does nothing but read the clock.
    pub const CLOCK: &str = "null_clock";
    /// Tracepoint program that does nothing.
    pub const TP: &str = "null_tp";
}

/// The programs and the map of the object `exitlat-burn-bpf`.
pub mod burn {
    /// The raw tracepoint programs and their events.
    pub const PROGRAMS: [(&str, &str); 3] =
        [("burn_entry", "kvm_entry"), ("burn_exit", "kvm_exit"), ("burn_timer", "local_timer_entry")];
    /// Numbers by the indices below: array.
    pub const MAP: &str = "BURN";
    /// The thread whose timer interrupts take their time.
    pub const TID: u32 = 0;
    /// 1 between an entry event and an exit event.
    pub const IN_GUEST: u32 = 1;
    /// 1 from the first exit event on.
    pub const IS_KNOWN: u32 = 2;
    /// Nanoseconds burnt since the last entry event: before the exit event and, one further, after it.
    pub const PENDING: u32 = 3;
    /// Nanoseconds burnt up to the last entry event: before exit events and, one further, after them.
    pub const BURNT: u32 = 5;
    /// Number of indices.
    pub const COUNT: u32 = 7;
}

/// Tracepoint programs that only count, to tell which KVM events move on a silent host.
pub const ACTIVITY_PROGRAMS: [&str; 5] =
    ["activity_0", "activity_1", "activity_2", "activity_3", "activity_4"];

/// The level from which aya-log statements are compiled out by the verifier.
pub const LOG_LEVEL: &str = "AYA_LOG_LEVEL";
