//! What an exit interval consists of: the state machine behind [`Part`].
//!
//! Most exits are handled by KVM without a pause, and nothing here runs for them. The others pass through
//! these functions, each called at one kind of event of the vCPU's own thread; only [`woken`] is called by
//! whoever wakes it. Every function charges the time since the last one to one part. [`Part::Kernel`] is
//! never charged: it is what the others leave of the interval, so the parts sum to it whatever happened.

use crate::{
    abi::{Isa, Vcpu, touched},
    pairing,
    part::Part,
    pause::{self, Span},
    slot::{add, clear, set},
};

/// Where the thread is while an exit is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Mode(pub u32);

impl Mode {
    /// In KVM.
    pub const KERNEL: Self = Self(0);
    /// Returned to the VMM.
    pub const USER: Self = Self(1);
    /// The VMM seems to have called KVM_RUN. x86 tells by the loading of the guest's FPU registers, which
    /// other calls do too: those for MSRs that the FPU state holds (`__msr_io`, arch/x86/kvm/x86.c). An
    /// entry, a halt or a return confirms it; if the registers are loaded once more before that, it was
    /// another call, and the thread was in the VMM all the time.
    pub const CALLED: Self = Self(2);
}

/// Why the thread is not on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Off(pub u32);

impl Off {
    /// It is on one.
    pub const RUNNING: Self = Self(0);
    /// Preempted: it could run.
    pub const RUNNABLE: Self = Self(1);
    /// Asleep in a way that signals interrupt: the way in which vCPUs halt.
    pub const INTERRUPTIBLE: Self = Self(2);
    /// Asleep in any other way.
    pub const ASLEEP: Self = Self(3);
    /// Stopped or traced.
    pub const STOPPED: Self = Self(4);
}

/// KVM_EXIT_HLT: the VMM lets the guest halt (`include/uapi/linux/kvm.h`).
pub const KVM_EXIT_HLT: u32 = 5;
/// KVM_EXIT_INTR: a signal for the thread.
pub const KVM_EXIT_INTR: u32 = 10;
/// Added to the negated error of a KVM_RUN that failed, to tell it from a reason.
pub const KVM_EXIT_ERROR: u32 = 1 << 16;

/// A stay in the VMM that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    /// KVM_EXIT_* reason with which it began.
    pub reason: u32,
    /// Running or asleep in the VMM; neither preempted, halted nor stopped.
    pub ns: u64,
}

/// Whether a vCPU that leaves its guest for this reason wants to halt: HLT, MWAIT of Intel and AMD, and the
/// exits of protected guests, which do not tell a halt apart. On s390 only a wait state blocks.
#[inline(always)]
pub const fn is_halt(isa: Isa, code: u32) -> bool {
    match isa {
        Isa::VMX => matches!(code, 12 | 36),
        Isa::SVM => matches!(code, 0x78 | 0x8b | 0x8c | 0x403),
        _ => true,
    }
}

/// A stretch in which a thread slept in the VMM after a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// When it began.
    pub from_ns: u64,
    /// When it ended.
    pub until_ns: u64,
    /// How much of this stretch the thread slept, in ns.
    pub most_ns: u64,
}

/// What a thread's `prev_state` in `sched_switch` means: bits of `include/linux/sched.h`. `preempted` is an
/// argument of the raw tracepoint; in the tracepoint's record it is bit 8 (TASK_REPORT_MAX).
#[inline(always)]
pub const fn off_by_state(preempted: bool, state: u32) -> Off {
    const INTERRUPTIBLE: u32 = 1;
    const STOPPED_OR_TRACED: u32 = 4 | 8;
    if preempted || state == 0 {
        Off::RUNNABLE
    } else if state & STOPPED_OR_TRACED != 0 {
        Off::STOPPED
    } else if state & INTERRUPTIBLE != 0 {
        Off::INTERRUPTIBLE
    } else {
        Off::ASLEEP
    }
}

/// The reason under which a return to the VMM is counted. KVM_RUN fails with EINTR when a signal is pending,
/// without always having set the reason; and with EFAULT or EHWPOISON where it reports a fault of guest
/// memory, which is a reason like others (`Documentation/virt/kvm/api.rst`, KVM_EXIT_MEMORY_FAULT).
#[inline(always)]
pub const fn user_reason(reason: u32, errno: i32) -> u32 {
    const EINTR: i32 = -4;
    const EFAULT: i32 = -14;
    const EHWPOISON: i32 = -133;
    const MEMORY_FAULT: u32 = 39;
    if errno >= 0 {
        // The VMM can write to the reason at any time: it must not look like an error.
        if reason < KVM_EXIT_ERROR { reason } else { KVM_EXIT_ERROR - 1 }
    } else if reason == MEMORY_FAULT && (errno == EFAULT || errno == EHWPOISON) {
        reason
    } else if errno == EINTR {
        KVM_EXIT_INTR
    } else {
        KVM_EXIT_ERROR + errno.unsigned_abs()
    }
}

/// KVM_RUN returned to the VMM. Ends the stay before it, if nothing marked its end.
#[inline(always)]
pub fn left_kvm(vcpu: &mut Vcpu, now_ns: u64, reason: u32) -> Option<Trip> {
    if vcpu.open_ns == 0 {
        return None;
    }
    let trip = entered_kvm(vcpu, now_ns);
    vcpu.touched |= touched::PARTS;
    let breakdown = &mut vcpu.breakdown;
    breakdown.mode = Mode::USER;
    breakdown.since_ns = now_ns;
    breakdown.user_reason = reason;
    clear(&mut breakdown.trip_ns);
    // A sleep that was no halt by now is none.
    clear(&mut breakdown.halting_ns);
    clear(&mut breakdown.asleep_ns);
    trip
}

/// The VMM called KVM_RUN, or another call that looks the same. Tells a sleep since the last such call as
/// [`switched_in`] does.
#[inline(always)]
pub fn called_kvm(vcpu: &mut Vcpu, now_ns: u64) -> Option<Sleep> {
    switched_in(vcpu, now_ns);
    if vcpu.open_ns == 0 || vcpu.breakdown.mode == Mode::KERNEL {
        return None;
    }
    let mut slept = None;
    let breakdown = &mut vcpu.breakdown;
    if breakdown.mode == Mode::CALLED {
        // The last call was another one.
        let in_user_ns = now_ns.saturating_sub(breakdown.call_ns);
        let ran_ns = in_user_ns.saturating_sub(breakdown.call_away_ns);
        let slept_ns = breakdown.call_slept_ns;
        let part = sleep_part(Mode::USER, Off::ASLEEP, breakdown.user_reason);
        breakdown.parts[Part::User as usize] += ran_ns;
        breakdown.parts[Part::Blocked as usize] -= slept_ns;
        breakdown.parts[part as usize] += slept_ns;
        breakdown.trip_ns += ran_ns;
        if matches!(part, Part::UserBlocked) {
            breakdown.trip_ns += slept_ns;
            if breakdown.user_reason == KVM_EXIT_INTR && slept_ns >= pause::SHORTEST_NS {
                slept = Some(Sleep { from_ns: breakdown.call_ns, until_ns: now_ns, most_ns: slept_ns });
            }
        }
        clear(&mut breakdown.halting_ns);
        clear(&mut breakdown.asleep_ns);
        if breakdown.stay.until_ns == breakdown.call_ns {
            breakdown.stay.until_ns = pause::LATER_NS;
        }
    } else {
        let ran_ns = since(vcpu, now_ns);
        let breakdown = &mut vcpu.breakdown;
        breakdown.parts[Part::User as usize] += ran_ns;
        breakdown.trip_ns += ran_ns;
    }
    let breakdown = &mut vcpu.breakdown;
    breakdown.mode = Mode::CALLED;
    breakdown.since_ns = now_ns;
    breakdown.call_ns = now_ns;
    clear(&mut breakdown.call_away_ns);
    clear(&mut breakdown.call_slept_ns);
    if breakdown.stay.goes_on() {
        breakdown.stay.until_ns = now_ns;
    }
    slept
}

/// KVM_RUN is under way: the VMM called it at this moment, or before.
#[inline(always)]
pub fn entered_kvm(vcpu: &mut Vcpu, now_ns: u64) -> Option<Trip> {
    // A thread that does something has a CPU, whether or not that was seen.
    switched_in(vcpu, now_ns);
    if vcpu.open_ns == 0 || vcpu.breakdown.mode == Mode::KERNEL {
        return None;
    }
    if vcpu.breakdown.mode == Mode::USER {
        called_kvm(vcpu, now_ns);
    }
    vcpu.breakdown.mode = Mode::KERNEL;
    Some(Trip { reason: vcpu.breakdown.user_reason, ns: vcpu.breakdown.trip_ns })
}

/// The thread lost its CPU.
#[inline(always)]
pub fn switched_out(vcpu: &mut Vcpu, now_ns: u64, why: Off) {
    if vcpu.open_ns != 0 {
        let ran_ns = since(vcpu, now_ns);
        vcpu.touched |= touched::PARTS;
        let breakdown = &mut vcpu.breakdown;
        if breakdown.mode == Mode::USER {
            breakdown.parts[Part::User as usize] += ran_ns;
            breakdown.trip_ns += ran_ns;
            let asleep = why == Off::INTERRUPTIBLE || why == Off::ASLEEP;
            if asleep && breakdown.user_reason == KVM_EXIT_INTR && !breakdown.stay.goes_on() {
                breakdown.stay = Span { from_ns: now_ns, until_ns: pause::LATER_NS };
            } else if why != Off::RUNNABLE && breakdown.user_reason == KVM_EXIT_HLT {
                clear(&mut breakdown.stay.from_ns);
                breakdown.stay.until_ns = pause::LATER_NS;
            }
        } else if why == Off::INTERRUPTIBLE && breakdown.asleep_ns == 0 {
            breakdown.asleep_ns = now_ns;
        }
    }
    vcpu.breakdown.off = why;
    vcpu.breakdown.since_ns = now_ns;
}

/// The thread got a CPU. The sleep is told if it may have been a pause of the whole VM: a long one in the
/// VMM, after a signal.
#[inline(always)]
pub fn switched_in(vcpu: &mut Vcpu, now_ns: u64) -> Option<Sleep> {
    if vcpu.breakdown.off == Off::RUNNING {
        return None;
    }
    pairing::changing(vcpu, |vcpu| got_cpu(vcpu, now_ns))
}

/// As [`switched_in`], of a thread that had no CPU. All changes are stores that the compiler keeps in place.
#[inline(always)]
fn got_cpu(vcpu: &mut Vcpu, now_ns: u64) -> Option<Sleep> {
    let why = vcpu.breakdown.off;
    let from_ns = vcpu.breakdown.since_ns;
    let away_ns = since(vcpu, now_ns);
    let woken_ns = vcpu.breakdown.woken_ns;
    let slept_ns = if why == Off::RUNNABLE {
        0
    } else if from_ns <= woken_ns && woken_ns <= now_ns {
        away_ns - (now_ns - woken_ns).min(away_ns)
    } else {
        away_ns
    };
    let waited_ns = away_ns - slept_ns;
    let open = vcpu.open_ns != 0;
    let breakdown = &mut vcpu.breakdown;
    set(&mut breakdown.off, Off::RUNNING);
    set(&mut breakdown.since_ns, now_ns);
    if !open {
        // Between entry and exit: the exit was not reported yet, or the entry not carried out.
        add(&mut breakdown.closed[Part::Runqueue as usize], waited_ns);
        add(&mut breakdown.closed[Part::Blocked as usize], slept_ns);
        add(&mut vcpu.entered_ns, away_ns);
        add(&mut vcpu.away_ns, away_ns);
        return None;
    }
    let touched = vcpu.touched | touched::PARTS;
    set(&mut vcpu.touched, touched);
    add(&mut breakdown.parts[Part::Runqueue as usize], waited_ns);
    if breakdown.mode == Mode::CALLED {
        breakdown.call_away_ns += away_ns;
    }
    if why == Off::RUNNABLE {
        breakdown.preempted_ns = from_ns;
        breakdown.preempted_for_ns = waited_ns;
        return None;
    }
    if breakdown.stay == Span::ALWAYS {
        breakdown.stay = Span { from_ns, until_ns: now_ns };
    }
    match sleep_part(breakdown.mode, why, breakdown.user_reason) {
        Part::Stopped => add(&mut breakdown.parts[Part::Stopped as usize], slept_ns),
        Part::Halt => add(&mut breakdown.parts[Part::Halt as usize], slept_ns),
        Part::UserBlocked => {
            add(&mut breakdown.parts[Part::UserBlocked as usize], slept_ns);
            breakdown.trip_ns += slept_ns;
            if breakdown.user_reason == KVM_EXIT_INTR && slept_ns >= pause::SHORTEST_NS {
                let (from_ns, until_ns) = (now_ns - away_ns, now_ns - waited_ns);
                return Some(Sleep { from_ns, until_ns, most_ns: slept_ns });
            }
        }
        _ => {
            add(&mut breakdown.parts[Part::Blocked as usize], slept_ns);
            if breakdown.mode == Mode::CALLED {
                breakdown.call_slept_ns += slept_ns;
            }
            if why == Off::INTERRUPTIBLE {
                add(&mut breakdown.halting_ns, slept_ns);
            }
        }
    }
    None
}

/// Notes that `paused_ns` of the sleep that ended just now were a pause of the whole VM.
#[inline(always)]
pub fn was_paused(vcpu: &mut Vcpu, paused_ns: u64) {
    let breakdown = &mut vcpu.breakdown;
    breakdown.parts[Part::UserBlocked as usize] -= paused_ns;
    breakdown.parts[Part::Stopped as usize] += paused_ns;
    breakdown.trip_ns -= paused_ns;
}

/// Which part a sleep is, as far as that is known when it begins.
#[inline(always)]
pub const fn sleep_part(mode: Mode, why: Off, user_reason: u32) -> Part {
    if why.0 == Off::STOPPED.0 {
        Part::Stopped
    } else if mode.0 != Mode::USER.0 {
        Part::Blocked
    } else if user_reason == KVM_EXIT_HLT {
        Part::Halt
    } else {
        Part::UserBlocked
    }
}

/// Somebody made the thread runnable; runs on any CPU.
#[inline(always)]
pub fn woken(vcpu: &mut Vcpu, now_ns: u64) {
    set(&mut vcpu.breakdown.woken_ns, now_ns);
}

/// The thread ends: its time in the VMM does too. [`crate::abi::Breakdown::since_ns`] is the time of its end
/// from then on.
#[inline(always)]
pub fn ended(vcpu: &mut Vcpu, now_ns: u64) {
    switched_in(vcpu, now_ns);
    if vcpu.open_ns != 0 && vcpu.breakdown.mode == Mode::USER {
        let ran_ns = since(vcpu, now_ns);
        vcpu.breakdown.parts[Part::User as usize] += ran_ns;
    }
    vcpu.breakdown.since_ns = now_ns;
}

/// KVM let the vCPU halt for `ns` up to now; `waited` if it slept, else it only polled (`kvm_vcpu_halt`,
/// `virt/kvm/kvm_main.c`). With `sched`, the switches of the thread have been followed.
#[inline(always)]
pub fn halted(vcpu: &mut Vcpu, now_ns: u64, ns: u64, waited: bool, sched: bool) {
    switched_in(vcpu, now_ns);
    if vcpu.open_ns == 0 || vcpu.breakdown.mode != Mode::KERNEL {
        return;
    }
    let left_ns = kernel_ns(vcpu, now_ns);
    vcpu.touched |= touched::PARTS;
    let breakdown = &mut vcpu.breakdown;
    if !sched {
        let part = if waited { Part::Halt } else { Part::Poll };
        breakdown.parts[part as usize] += ns.min(left_ns);
        return;
    }
    let from_ns = now_ns.wrapping_sub(ns);
    if waited {
        // Not more than the halt took: what is left was another sleep.
        let slept_ns = breakdown.halting_ns.min(ns);
        breakdown.parts[Part::Blocked as usize] -= slept_ns;
        breakdown.parts[Part::Halt as usize] += slept_ns;
    }
    // KVM took its time a little before this event.
    let asleep = waited && breakdown.asleep_ns != 0;
    let until_ns = if asleep { breakdown.asleep_ns } else { now_ns };
    let mut polled_ns = until_ns.saturating_sub(from_ns);
    // KVM stops polling when the thread has to give way, so there is at most one such wait.
    if breakdown.preempted_ns >= from_ns && breakdown.preempted_ns < until_ns {
        polled_ns = polled_ns.saturating_sub(breakdown.preempted_for_ns);
    }
    breakdown.parts[Part::Poll as usize] += polled_ns.min(left_ns);
    clear(&mut breakdown.halting_ns);
    clear(&mut breakdown.asleep_ns);
}

/// Adds the parts of the exit that an entry has closed to the thread's own, and forgets them. Its isa is
/// still to be forgotten, see [`pairing::own_isa`].
#[inline(always)]
pub fn close(vcpu: &mut Vcpu) {
    for index in 0..Part::COUNT {
        let part = vcpu.breakdown.parts[index];
        vcpu.breakdown.closed[index] += part;
    }
    forget(vcpu);
}

/// The open exit was lost, and its parts with it.
#[inline(always)]
pub fn discard(vcpu: &mut Vcpu) {
    if vcpu.touched != 0 {
        forget(vcpu);
        pairing::own_isa(vcpu);
    }
}

#[inline(always)]
fn forget(vcpu: &mut Vcpu) {
    vcpu.touched = 0;
    let breakdown = &mut vcpu.breakdown;
    breakdown.off = Off::RUNNING;
    breakdown.mode = Mode::KERNEL;
    breakdown.parts.iter_mut().for_each(clear);
    clear(&mut breakdown.halting_ns);
    clear(&mut breakdown.asleep_ns);
    clear(&mut breakdown.preempted_ns);
    // A stay that is over is kept: vCPUs that wake up later still ask for it.
    if breakdown.stay.goes_on() {
        clear(&mut breakdown.stay.from_ns);
        clear(&mut breakdown.stay.until_ns);
    }
}

/// What the parts leave of an interval of `total_ns`: [`Part::Kernel`].
#[inline(always)]
pub fn rest_ns(parts: &[u64; Part::COUNT], total_ns: u64) -> u64 {
    let mut rest_ns = total_ns;
    for part in parts {
        rest_ns = rest_ns.saturating_sub(*part);
    }
    rest_ns
}

/// Time in KVM of the open exit so far.
#[inline(always)]
fn kernel_ns(vcpu: &Vcpu, now_ns: u64) -> u64 {
    rest_ns(&vcpu.breakdown.parts, now_ns.saturating_sub(vcpu.open_ns))
}

/// Time since the present mode, or time off the CPU, began; never from before the open exit or the entry.
#[inline(always)]
fn since(vcpu: &Vcpu, now_ns: u64) -> u64 {
    let stamp_ns = pairing::stamp_ns(vcpu);
    let from_ns = if vcpu.breakdown.since_ns < stamp_ns { stamp_ns } else { vcpu.breakdown.since_ns };
    now_ns.saturating_sub(from_ns)
}
