//! Names that cross the border between the BPF object and its loader: maps, programs, read-only globals.
//!
//! A test loads the object and checks that each of these exists in it.

/// Per-vCPU-thread state: array of [`crate::abi::Vcpu`], mmapable.
pub const VCPUS: &str = "VCPUS";
/// Aggregates: array of [`crate::abi::Slot`], mmapable.
pub const SLOTS: &str = "SLOTS";
/// Thread (`tgid << 32 | tid`) to index in [`VCPUS`]: hash.
pub const VCPU_OF: &str = "VCPU_OF";
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
/// Offset of the exit code in the control block, or [`crate::abi::ABSENT`].
pub const OFF_SVM_CODE: &str = "OFF_SVM_CODE";
/// Offset of the vCPU number from a vCPU, or [`crate::abi::ABSENT`].
pub const OFF_VCPU_ID: &str = "OFF_VCPU_ID";
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
