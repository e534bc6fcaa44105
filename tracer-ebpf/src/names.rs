//! Names that cross the border between the BPF object and its loader: maps, programs, read-only globals.
//!
//! A test loads the object and checks that each of these exists in it.

/// Per-vCPU-thread state: array of [`crate::abi::Vcpu`], mmapable.
pub const VCPUS: &str = "VCPUS";
/// Aggregates: array of [`crate::abi::Slot`], mmapable.
pub const SLOTS: &str = "SLOTS";
/// Thread (tid) to index in [`VCPUS`]: hash.
pub const VCPU_OF: &str = "VCPU_OF";
/// [`crate::abi::DetailKey`] to slot number: hash.
pub const DETAIL_OF: &str = "DETAIL_OF";
/// Free indices of [`VCPUS`]: stack, filled by user space.
pub const FREE_VCPUS: &str = "FREE_VCPUS";
/// Free indices of [`SLOTS`]: stack, filled by user space.
pub const FREE_SLOTS: &str = "FREE_SLOTS";
/// Which tables are full, by [`crate::abi::table`]: array.
pub const FULL: &str = "FULL";
/// Losses that belong to no vCPU, by [`crate::lost::Global`]: per-CPU array.
pub const LOST: &str = "LOST";
/// Hits of the `silence_N` programs: per-CPU array.
pub const SILENCE: &str = "SILENCE";

/// Classic tracepoint program on `kvm:kvm_exit`.
pub const CLASSIC_EXIT: &str = "classic_exit";
/// Classic tracepoint program on `kvm:kvm_entry`.
pub const CLASSIC_ENTRY: &str = "classic_entry";
/// Raw tracepoint program on `kvm_exit`.
pub const FAST_EXIT: &str = "fast_exit";
/// Raw tracepoint program on `kvm_entry`.
pub const FAST_ENTRY: &str = "fast_entry";
/// Raw tracepoint program on `kvm_nested_vmrun` or `kvm_nested_vmenter`: a guest in the guest is about to run.
pub const NESTED: &str = "nested";
/// Raw tracepoint program on `kvm_userspace_exit`: KVM_RUN returns.
pub const LEFT_KVM: &str = "left_kvm";
/// Raw tracepoint program on x86's `kvm_fpu`: KVM_RUN is called.
pub const ENTERED_KVM: &str = "entered_kvm";
/// Kprobe on [`ENTERED_KVM_FUNCTION`]: KVM_RUN is called.
pub const ENTERED_KVM_PROBE: &str = "entered_kvm_probe";
/// The architecture's part of KVM_RUN, present on all (`virt/kvm/kvm_main.c`).
pub const ENTERED_KVM_FUNCTION: &str = "kvm_arch_vcpu_ioctl_run";
/// Raw tracepoint program on `kvm_vcpu_wakeup`: the end of a halt.
pub const HALTED: &str = "halted";
/// Classic tracepoint program on `kvm:kvm_userspace_exit`.
pub const CLASSIC_LEFT_KVM: &str = "classic_left_kvm";
/// Classic tracepoint program on `kvm:kvm_fpu`.
pub const CLASSIC_ENTERED_KVM: &str = "classic_entered_kvm";
/// Classic tracepoint program on `kvm:kvm_vcpu_wakeup`.
pub const CLASSIC_HALTED: &str = "classic_halted";
/// Classic tracepoint program on `sched:sched_process_exit`.
pub const CLASSIC_THREAD_EXIT: &str = "classic_thread_exit";
/// Raw tracepoint program on `sched_switch`.
pub const FAST_SWITCH: &str = "fast_switch";
/// Raw tracepoint program on `sched_wakeup`.
pub const FAST_WAKEUP: &str = "fast_wakeup";
/// Classic tracepoint program on `sched:sched_switch`.
pub const CLASSIC_SWITCH: &str = "classic_switch";
/// Classic tracepoint program on `sched:sched_wakeup`.
pub const CLASSIC_WAKEUP: &str = "classic_wakeup";
/// Classic tracepoint program on `kvm:kvm_s390_sie_exit`.
pub const SIE_EXIT: &str = "sie_exit";
/// Classic tracepoint program on `kvm:kvm_s390_sie_enter`.
pub const SIE_ENTER: &str = "sie_enter";
/// Classic tracepoint program on `kvm:kvm_s390_intercept_instruction`.
pub const CAUSE_INSTRUCTION: &str = "cause_instruction";
/// Classic tracepoint program on `kvm:kvm_s390_handle_diag`.
pub const CAUSE_DIAG: &str = "cause_diag";
/// Classic tracepoint program on `kvm:kvm_s390_handle_sigp`.
pub const CAUSE_SIGP: &str = "cause_sigp";
/// Classic tracepoint program on `kvm:kvm_s390_handle_sigp_pei`.
pub const CAUSE_SIGP_PEI: &str = "cause_sigp_pei";
/// Classic tracepoint program on `kvm:kvm_s390_intercept_prog`.
pub const CAUSE_PROGRAM: &str = "cause_program";
/// Classic tracepoint program on `kvm:kvm_s390_intercept_validity`.
pub const CAUSE_VALIDITY: &str = "cause_validity";
/// Classic tracepoint program on `kvm:kvm_s390_handle_operexc`.
pub const CAUSE_OPERATION: &str = "cause_operation";
/// Classic tracepoint program on `kvm:kvm_s390_sie_fault`.
pub const CAUSE_SIE_FAULT: &str = "cause_sie_fault";
/// Raw tracepoint program that does nothing.
pub const FLOOR_RAW: &str = "floor_raw";
/// Raw tracepoint program that does nothing but read the clock.
pub const FLOOR_CLOCK: &str = "floor_clock";
/// Classic tracepoint program that does nothing.
pub const FLOOR_CLASSIC: &str = "floor_classic";
/// Raw tracepoint program on `sched_process_exit`.
pub const THREAD_EXIT: &str = "thread_exit";
/// Raw tracepoint program for tests: an exit event as plain numbers.
pub const SYNTHETIC_EXIT: &str = "synthetic_exit";
/// Raw tracepoint program for tests: an entry event as plain numbers.
pub const SYNTHETIC_ENTRY: &str = "synthetic_entry";
/// Raw tracepoint program for tests: the death of a thread as plain numbers.
pub const SYNTHETIC_DEATH: &str = "synthetic_death";
/// Raw tracepoint program for tests: any event between exit and entry as plain numbers, see [`synthetic`].
pub const SYNTHETIC_PART: &str = "synthetic_part";

/// What [`SYNTHETIC_PART`] is told: its third argument. The first two are the tid and the time.
pub mod synthetic {
    /// KVM_RUN returned; with reason and error.
    pub const LEFT: u32 = 1;
    /// KVM_RUN was called.
    pub const CALL: u32 = 2;
    /// The end of a halt; with its length and whether the thread slept.
    pub const HALTED: u32 = 3;
    /// The thread lost its CPU; with [`crate::split::off`].
    pub const OUT: u32 = 4;
    /// The thread got a CPU.
    pub const IN: u32 = 5;
    /// The thread was woken.
    pub const WOKEN: u32 = 6;
    /// The cause of the open exit; with [`crate::detail`].
    pub const CAUSE: u32 = 7;
}

/// Classic tracepoint programs that only count, to tell which KVM events move on a silent host.
pub const SILENCE_PROGRAMS: [&str; 5] = ["silence_0", "silence_1", "silence_2", "silence_3", "silence_4"];

/// The processes to trace.
pub const FILTER_PIDS: &str = "FILTER_PIDS";
/// The level from which aya-log statements are compiled out by the verifier.
pub const LOG_LEVEL: &str = "AYA_LOG_LEVEL";
