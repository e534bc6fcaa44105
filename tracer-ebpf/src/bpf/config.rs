//! What the loader tells the programs.

use tracer_ebpf::{abi::MAX_FILTER_PIDS, config::FILTER_LEN};

/// The number that the loader has put in the place of this mark; see [`tracer_ebpf::config`]. [`NOWHERE`] for an
/// absent offset.
#[inline(always)]
pub fn number<const MARK: i32>() -> u64 {
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
pub fn is<const MARK: i32>() -> bool {
    number::<MARK>() == 1
}

/// [`tracer_ebpf::abi::ABSENT`] as it comes out of an instruction, which extends the sign.
pub const NOWHERE: u64 = u64::MAX;

/// The processes that pass.
#[unsafe(no_mangle)]
static FILTER_PIDS: [u32; MAX_FILTER_PIDS] = [0; MAX_FILTER_PIDS];

/// Whether events of this process are traced. Touches no map.
#[inline(always)]
pub fn wanted(pid: u32) -> bool {
    let len = number::<FILTER_LEN>() as usize;
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
