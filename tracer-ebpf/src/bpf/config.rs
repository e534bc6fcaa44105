//! What the loader tells the programs.

use tracer_ebpf::{abi::verdict, config::FILTER, loss::Global};

use crate::maps::{LOST, TRACED, bump};

/// The number that the loader has put in the place of this mark; see [`tracer_ebpf::config`]. [`ABSENT_IMM`]
/// for an absent offset.
#[inline(always)]
pub fn value<const MARK: i32>() -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let number;
        // SAFETY: moves a number to a register.
        unsafe {
            core::arch::asm!("{0} = {mark}", out(reg) number, mark = const MARK, options(pure, nomem, nostack));
        }
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        MARK as u64
    }
}

/// Whether the loader has put in 1.
#[inline(always)]
pub fn flag<const MARK: i32>() -> bool {
    value::<MARK>() == 1
}

/// Whether the loader was given 1 for this mark, for the path that most events take: it costs nothing there.
/// The loader turns the comparison of any number at hand, which must be no pointer, into one that is always
/// or never true; the verifier removes that and what is never reached. The answer is mostly no: the compiler
/// puts what follows a yes out of the way.
#[inline(always)]
pub fn asks<const MARK: i32>(number: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    // SAFETY: jumps, and nothing else.
    unsafe {
        core::arch::asm!(
            "if {number} == {mark} goto {yes}",
            number = in(reg) number,
            mark = const MARK,
            yes = label { return true },
            options(nomem, nostack),
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = number;
    false
}

/// As [`asks`], where the answer is mostly yes.
#[inline(always)]
pub fn expects<const MARK: i32>(number: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    // SAFETY: jumps, and nothing else.
    unsafe {
        core::arch::asm!(
            "if {number} != {mark} goto {no}",
            number = in(reg) number,
            mark = const MARK,
            no = label { return false },
            options(nomem, nostack),
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = number;
    true
}

/// [`tracer_ebpf::abi::ABSENT`] as it comes out of an instruction, which extends the sign.
pub const ABSENT_IMM: u64 = u64::MAX;

/// Whether events of this process are traced. Touches no map where all processes are.
///
/// A process that user space has not judged yet is noted, and not traced until it is.
#[inline(always)]
pub fn is_traced(pid: u32) -> bool {
    if !asks::<FILTER>(pid.into()) {
        return true;
    }
    // SAFETY: the value is copied at once.
    match unsafe { TRACED.get(pid).copied() } {
        Some(known) => known == verdict::TRACED,
        None => {
            note_process(pid);
            false
        }
    }
}

#[cold]
#[inline(never)]
fn note_process(pid: u32) {
    // Another thread of the process may have been faster.
    const BPF_NOEXIST: u64 = 1;
    // SAFETY: the value is copied at once.
    if TRACED.insert(pid, verdict::UNDECIDED, BPF_NOEXIST).is_err() && unsafe { TRACED.get(pid) }.is_none() {
        bump(&LOST, Global::FilterFull as u32);
    }
}
