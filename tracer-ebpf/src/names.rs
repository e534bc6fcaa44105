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

/// Offset of `exit_reason` in the record of `kvm:kvm_exit`.
pub const OFF_EXIT_REASON: &str = "OFF_EXIT_REASON";
/// Offset of `isa` in the record of `kvm:kvm_exit`, or [`crate::abi::ABSENT`].
pub const OFF_EXIT_ISA: &str = "OFF_EXIT_ISA";
/// Offset of `vcpu_id` in the record of `kvm:kvm_exit`, or [`crate::abi::ABSENT`].
pub const OFF_EXIT_VCPU: &str = "OFF_EXIT_VCPU";
/// Offset of the 32-bit exit reason from a VMX vCPU, or [`crate::abi::ABSENT`].
pub const OFF_VMX_REASON: &str = "OFF_VMX_REASON";
/// Offset of the pointer to the control block from an SVM vCPU, or [`crate::abi::ABSENT`].
pub const OFF_SVM_VMCB: &str = "OFF_SVM_VMCB";
/// 1 if the control block of a vCPU may be kept from exit to exit, because [`NESTED`] is attached.
pub const KEEP_VMCB: &str = "KEEP_VMCB";
/// Offset of the exit code in the control block, or [`crate::abi::ABSENT`].
pub const OFF_SVM_CODE: &str = "OFF_SVM_CODE";
/// Offset of the vCPU number from a vCPU, or [`crate::abi::ABSENT`].
pub const OFF_VCPU_ID: &str = "OFF_VCPU_ID";
/// Offset of `prev_pid` in the record of `sched:sched_switch`.
pub const OFF_SWITCH_PREV: &str = "OFF_SWITCH_PREV";
/// Offset of the lower half of `prev_state` there.
pub const OFF_SWITCH_STATE: &str = "OFF_SWITCH_STATE";
/// Offset of `next_pid` there.
pub const OFF_SWITCH_NEXT: &str = "OFF_SWITCH_NEXT";
/// Offset of `pid` in the record of `sched:sched_wakeup`.
pub const OFF_WAKEUP_PID: &str = "OFF_WAKEUP_PID";
/// Offset of a task's tid, or [`crate::abi::ABSENT`].
pub const OFF_TASK_PID: &str = "OFF_TASK_PID";
/// Offset of a task's state; [`crate::abi::ABSENT`] where raw `sched_switch` has it as an argument.
pub const OFF_TASK_STATE: &str = "OFF_TASK_STATE";
/// 1 if [`CAST_CALL`] and [`CAST_TYPE`] have been replaced in the object.
pub const CAST: &str = "CAST";
/// Stands in the object for the number of the kernel function `bpf_rdonly_cast` in a call.
pub const CAST_CALL: i32 = 0x7ffe_0001;
/// Stands in the object for the number of a structure that begins with 8 bytes of integer, in a move to register 2.
pub const CAST_TYPE: i32 = 0x7ffe_0002;
/// 1 where a thread can lose its CPU while a program runs.
pub const PREEMPTIBLE: &str = "PREEMPTIBLE";
/// 1 if the scheduler's events are followed.
pub const SCHED: &str = "SCHED";
/// 1 if guest intervals get a histogram.
pub const GUEST: &str = "GUEST";
/// 1 if exits of this machine can have a cause below their reason.
pub const DETAILS: &str = "DETAILS";
/// Offset of `icptcode` in the record of `kvm:kvm_s390_sie_exit`.
pub const OFF_SIE_ICPTCODE: &str = "OFF_SIE_ICPTCODE";
/// Offset of `id` there.
pub const OFF_SIE_VCPU: &str = "OFF_SIE_VCPU";
/// Offset of `instruction` in the record of `kvm:kvm_s390_intercept_instruction`.
pub const OFF_INSTRUCTION: &str = "OFF_INSTRUCTION";
/// Offset of `code` in the record of `kvm:kvm_s390_handle_diag`.
pub const OFF_DIAG: &str = "OFF_DIAG";
/// Offset of `order_code` in the record of `kvm:kvm_s390_handle_sigp`.
pub const OFF_SIGP: &str = "OFF_SIGP";
/// Offset of `order_code` in the record of `kvm:kvm_s390_handle_sigp_pei`.
pub const OFF_SIGP_PEI: &str = "OFF_SIGP_PEI";
/// Offset of `code` in the record of `kvm:kvm_s390_intercept_prog`.
pub const OFF_PROGRAM: &str = "OFF_PROGRAM";
/// Offset of `viwhy` in the record of `kvm:kvm_s390_intercept_validity`.
pub const OFF_VALIDITY: &str = "OFF_VALIDITY";
/// Offset of `instruction` in the record of `kvm:kvm_s390_handle_operexc`.
pub const OFF_OPERATION: &str = "OFF_OPERATION";
/// The isa of events whose record has none.
pub const ISA_DEFAULT: &str = "ISA_DEFAULT";
/// How many of [`FILTER_PIDS`] are set; 0 traces every process.
pub const FILTER_LEN: &str = "FILTER_LEN";
/// The processes to trace.
pub const FILTER_PIDS: &str = "FILTER_PIDS";
/// The level from which aya-log statements are compiled out by the verifier.
pub const LOG_LEVEL: &str = "AYA_LOG_LEVEL";
