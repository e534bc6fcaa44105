//! Numbers that the loader puts into the programs' own instructions, before it gives them to the kernel.
//!
//! Each stands there as a mark that nothing else has. What is then an immediate number costs one
//! instruction, where a read-only global costs two or three at each use; the verifier knows both, and
//! removes the branches they decide.

/// The first mark.
const FIRST: i32 = 0x7ffe_0100;

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[repr(i32)]
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "numbers the constants of these names")]
        enum Number { $($name),* }

        $($(#[$doc])* pub const $name: i32 = FIRST + Number::$name as i32;)*

        /// All of them: mark and name.
        pub const ALL: &[(i32, &str)] = &[$(($name, stringify!($name))),*];
    };
}

marks! {
    /// Offset of `exit_reason` in the record of `kvm:kvm_exit`.
    OFF_EXIT_REASON,
    /// Offset of `isa` in the record of `kvm:kvm_exit`, or [`crate::abi::ABSENT`].
    OFF_EXIT_ISA,
    /// Offset of `vcpu_id` in the record of `kvm:kvm_exit`, or [`crate::abi::ABSENT`].
    OFF_EXIT_VCPU,
    /// Offset of `vcpu_id` in the record of `kvm:kvm_entry`, or [`crate::abi::ABSENT`].
    OFF_ENTRY_VCPU,
    /// 1 if the records of `kvm:kvm_exit` and `kvm:kvm_entry` have their fields at the offsets of [`usual`].
    USUAL_RECORDS,
    /// Offset of the 32-bit exit reason from a VMX vCPU, or [`crate::abi::ABSENT`].
    OFF_VMX_REASON,
    /// Offset of the pointer to the VMCB from an SVM vCPU, or [`crate::abi::ABSENT`].
    OFF_SVM_VMCB,
    /// 1 if the VMCB of a vCPU may be kept from exit to exit, because [`crate::symbols::NESTED`] is attached.
    KEEP_VMCB,
    /// Offset of the exit code in the VMCB, or [`crate::abi::ABSENT`].
    OFF_SVM_CODE,
    /// Offset of the vCPU number from a vCPU, or [`crate::abi::ABSENT`].
    OFF_VCPU_ID,
    /// Offset of the pointer to the VM from a vCPU, or [`crate::abi::ABSENT`].
    OFF_VCPU_KVM,
    /// Offset of `prev_pid` in the record of `sched:sched_switch`.
    OFF_SWITCH_PREV,
    /// Offset of the lower half of `prev_state` in the record of `sched:sched_switch`.
    OFF_SWITCH_STATE,
    /// Offset of `next_pid` in the record of `sched:sched_switch`.
    OFF_SWITCH_NEXT,
    /// Offset of `pid` in the record of `sched:sched_wakeup`.
    OFF_WAKEUP_PID,
    /// Offset of a task's tid, or [`crate::abi::ABSENT`].
    OFF_TASK_PID,
    /// Offset of a task's state; [`crate::abi::ABSENT`] where raw `sched_switch` has it as an argument.
    OFF_TASK_STATE,
    /// 1 if [`CAST_CALL`] and [`CAST_TYPE`] have been replaced in the object.
    CAST,
    /// 1 where a thread can lose its CPU while a program runs.
    PREEMPTIBLE,
    /// 1 if the scheduler's events are followed.
    SCHED,
    /// 1 if guest intervals get a histogram.
    GUEST,
    /// 1 if exits of this machine can have a cause below their reason.
    CAUSES,
    /// Offset of `icptcode` in the record of `kvm:kvm_s390_sie_exit`.
    OFF_SIE_ICPTCODE,
    /// Offset of `id` in the record of `kvm:kvm_s390_sie_exit`.
    OFF_SIE_VCPU,
    /// Offset of `id` in the record of `kvm:kvm_s390_sie_enter`.
    OFF_SIE_ENTER_VCPU,
    /// Offset of `instruction` in the record of `kvm:kvm_s390_intercept_instruction`.
    OFF_INSTRUCTION,
    /// Offset of `code` in the record of `kvm:kvm_s390_handle_diag`.
    OFF_DIAG,
    /// Offset of `order_code` in the record of `kvm:kvm_s390_handle_sigp`.
    OFF_SIGP,
    /// Offset of `order_code` in the record of `kvm:kvm_s390_handle_sigp_pei`.
    OFF_SIGP_PEI,
    /// Offset of `code` in the record of `kvm:kvm_s390_intercept_prog`.
    OFF_PROGRAM,
    /// Offset of `viwhy` in the record of `kvm:kvm_s390_intercept_validity`.
    OFF_VALIDITY,
    /// Offset of `instruction` in the record of `kvm:kvm_s390_handle_operexc`.
    OFF_OPERATION,
    /// Offset of `rw` in the record of `kvm:kvm_cr`.
    OFF_CR_RW,
    /// Offset of `cr` in the record of `kvm:kvm_cr`.
    OFF_CR_NUMBER,
    /// Offset of `write` in the record of `kvm:kvm_msr`.
    OFF_MSR_WRITE,
    /// Offset of `ecx`, the MSR's number, in the record of `kvm:kvm_msr`.
    OFF_MSR_NUMBER,
    /// The isa of events whose record has none, and of vCPUs whose first record cannot be read.
    ISA_DEFAULT,
    /// 1 if the vCPUs that raw tracepoints report are those of SVM, else they are those of VMX.
    RAW_SVM,
    /// How many places the table of vCPUs was asked to have; see [`crate::quota`].
    ASKED_VCPUS,
    /// How many places the table of slots was asked to have.
    ASKED_SLOTS,
    /// How many places the table of thin records was asked to have.
    ASKED_TALLIES,
    /// How many causes a vCPU may have.
    MAX_CAUSES,
    /// 1 where `kvm_vcpu_wakeup` comes at the end of halts only; else also when a vCPU waits for something
    /// else (before commit fac426889439, Linux 5.17).
    HALTS_ONLY,
    /// 1 if only the processes are traced that [`crate::symbols::TRACED`] has as such; 0 traces all.
    FILTER,
}

/// Stands for the number of the kernel function `bpf_rdonly_cast` in a call.
pub const CAST_CALL: i32 = 0x7ffe_0001;
/// Stands for the number of a structure that begins with 8 bytes of integer, in a move to register 2.
pub const CAST_TYPE: i32 = 0x7ffe_0002;

/// Where almost all x86 kernels have the fields of two records. A field at a known offset is read by one
/// instruction.
pub mod usual {
    /// [`super::OFF_EXIT_REASON`].
    pub const EXIT_REASON: usize = 8;
    /// [`super::OFF_EXIT_ISA`].
    pub const EXIT_ISA: usize = 24;
    /// [`super::OFF_EXIT_VCPU`].
    pub const EXIT_VCPU: usize = 56;
    /// [`super::OFF_ENTRY_VCPU`].
    pub const ENTRY_VCPU: usize = 8;

    /// All of them.
    pub const ALL: [(i32, usize); 4] = [
        (super::OFF_EXIT_REASON, EXIT_REASON),
        (super::OFF_EXIT_ISA, EXIT_ISA),
        (super::OFF_EXIT_VCPU, EXIT_VCPU),
        (super::OFF_ENTRY_VCPU, ENTRY_VCPU),
    ];
}

/// Fields that the programs read at a fixed place, as (offset, size in bytes). The loader checks the
/// records of the running kernel against this.
pub mod record {
    /// `reason` of `kvm:kvm_userspace_exit`.
    pub const LEFT_REASON: (u32, u32) = (8, 4);
    /// `errno` of `kvm:kvm_userspace_exit`.
    pub const LEFT_ERRNO: (u32, u32) = (12, 4);
    /// `load` of `kvm:kvm_fpu`.
    pub const FPU_LOAD: (u32, u32) = (8, 4);
    /// `ns` of `kvm:kvm_vcpu_wakeup`.
    pub const HALT_NS: (u32, u32) = (8, 8);
    /// `waited` of `kvm:kvm_vcpu_wakeup`.
    pub const HALT_WAITED: (u32, u32) = (16, 1);
}
