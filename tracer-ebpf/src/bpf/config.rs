//! What the loader tells the programs. Read-only globals are constants to the verifier, which removes the
//! branches they switch off.

use aya_ebpf::Global;
use tracer_ebpf::abi::{ABSENT, MAX_FILTER_PIDS};

/// Offset of `exit_reason` in the record of `kvm:kvm_exit`.
#[unsafe(no_mangle)]
pub static OFF_EXIT_REASON: Global<u32> = Global::new(ABSENT);
/// Offset of `isa` there.
#[unsafe(no_mangle)]
pub static OFF_EXIT_ISA: Global<u32> = Global::new(ABSENT);
/// Offset of `vcpu_id` there.
#[unsafe(no_mangle)]
pub static OFF_EXIT_VCPU: Global<u32> = Global::new(ABSENT);
/// Offset of the exit reason from a VMX vCPU.
#[unsafe(no_mangle)]
pub static OFF_VMX_REASON: Global<u32> = Global::new(ABSENT);
/// Offset of the pointer to the control block from an SVM vCPU.
#[unsafe(no_mangle)]
pub static OFF_SVM_VMCB: Global<u32> = Global::new(ABSENT);
/// Whether the control block of a vCPU can be kept from exit to exit.
#[unsafe(no_mangle)]
pub static KEEP_VMCB: Global<u32> = Global::new(0);
/// Offset of the exit code in the control block.
#[unsafe(no_mangle)]
pub static OFF_SVM_CODE: Global<u32> = Global::new(ABSENT);
/// Offset of the number in a vCPU.
#[unsafe(no_mangle)]
pub static OFF_VCPU_ID: Global<u32> = Global::new(ABSENT);
/// Offset of `prev_pid` in the record of `sched:sched_switch`.
#[unsafe(no_mangle)]
pub static OFF_SWITCH_PREV: Global<u32> = Global::new(ABSENT);
/// Offset of the lower half of `prev_state` there.
#[unsafe(no_mangle)]
pub static OFF_SWITCH_STATE: Global<u32> = Global::new(ABSENT);
/// Offset of `next_pid` there.
#[unsafe(no_mangle)]
pub static OFF_SWITCH_NEXT: Global<u32> = Global::new(ABSENT);
/// Offset of `pid` in the record of `sched:sched_wakeup`.
#[unsafe(no_mangle)]
pub static OFF_WAKEUP_PID: Global<u32> = Global::new(ABSENT);
/// Offset of a task's tid.
#[unsafe(no_mangle)]
pub static OFF_TASK_PID: Global<u32> = Global::new(ABSENT);
/// Offset of a task's state, where `sched_switch` does not give it.
#[unsafe(no_mangle)]
pub static OFF_TASK_STATE: Global<u32> = Global::new(ABSENT);
/// Whether kernel memory can be read by typed loads.
#[unsafe(no_mangle)]
pub static CAST: Global<u32> = Global::new(0);
/// Whether a thread can lose its CPU while a program runs, so that a return of KVM_RUN can be missed.
#[unsafe(no_mangle)]
pub static PREEMPTIBLE: Global<u32> = Global::new(0);
/// Whether the scheduler's events are followed.
#[unsafe(no_mangle)]
pub static SCHED: Global<u32> = Global::new(0);
/// Whether guest intervals get a histogram.
#[unsafe(no_mangle)]
pub static GUEST: Global<u32> = Global::new(0);
/// Whether exits of this machine can have a cause below their reason.
#[unsafe(no_mangle)]
pub static DETAILS: Global<u32> = Global::new(0);
/// Offset of `icptcode` in the record of `kvm:kvm_s390_sie_exit`.
#[unsafe(no_mangle)]
pub static OFF_SIE_ICPTCODE: Global<u32> = Global::new(ABSENT);
/// Offset of `id` there.
#[unsafe(no_mangle)]
pub static OFF_SIE_VCPU: Global<u32> = Global::new(ABSENT);
/// Offset of `instruction` in the record of `kvm:kvm_s390_intercept_instruction`.
#[unsafe(no_mangle)]
pub static OFF_INSTRUCTION: Global<u32> = Global::new(ABSENT);
/// Offset of `code` in the record of `kvm:kvm_s390_handle_diag`.
#[unsafe(no_mangle)]
pub static OFF_DIAG: Global<u32> = Global::new(ABSENT);
/// Offset of `order_code` in the record of `kvm:kvm_s390_handle_sigp`.
#[unsafe(no_mangle)]
pub static OFF_SIGP: Global<u32> = Global::new(ABSENT);
/// Offset of `order_code` in the record of `kvm:kvm_s390_handle_sigp_pei`.
#[unsafe(no_mangle)]
pub static OFF_SIGP_PEI: Global<u32> = Global::new(ABSENT);
/// Offset of `code` in the record of `kvm:kvm_s390_intercept_prog`.
#[unsafe(no_mangle)]
pub static OFF_PROGRAM: Global<u32> = Global::new(ABSENT);
/// Offset of `viwhy` in the record of `kvm:kvm_s390_intercept_validity`.
#[unsafe(no_mangle)]
pub static OFF_VALIDITY: Global<u32> = Global::new(ABSENT);
/// Offset of `instruction` in the record of `kvm:kvm_s390_handle_operexc`.
#[unsafe(no_mangle)]
pub static OFF_OPERATION: Global<u32> = Global::new(ABSENT);
/// Isa of the events if the record does not say.
#[unsafe(no_mangle)]
pub static ISA_DEFAULT: Global<u32> = Global::new(0);
/// Number of processes in the filter; 0 lets all pass.
#[unsafe(no_mangle)]
static FILTER_LEN: Global<u32> = Global::new(0);
/// The processes that pass.
#[unsafe(no_mangle)]
static FILTER_PIDS: [u32; MAX_FILTER_PIDS] = [0; MAX_FILTER_PIDS];

/// Whether events of this process are traced. Touches no map.
#[inline(always)]
pub fn wanted(pid: u32) -> bool {
    let len = FILTER_LEN.load() as usize;
    if len == 0 {
        return true;
    }
    #[expect(clippy::needless_range_loop, reason = "the verifier follows an index, not a moving pointer")]
    for index in 0..MAX_FILTER_PIDS {
        if index >= len {
            return false;
        }
        // SAFETY: in bounds by the loop; volatile because the loader rewrites the array before the load.
        if pid == unsafe { core::ptr::read_volatile(&raw const FILTER_PIDS[index]) } {
            return true;
        }
    }
    false
}
