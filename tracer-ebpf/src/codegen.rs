//! What has to be said to the compiler twice because it also compiles for BPF.

/// What every BPF object has beside its programs: the licence, as the kernel gives helpers that read its
/// memory to GPL-compatible programs only, and the handler of panics that Rust asks for.
#[macro_export]
macro_rules! object {
    () => {
        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

        #[cfg(not(test))]
        #[panic_handler]
        fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
            // SAFETY: the programs contain no panicking path that the verifier would let through.
            unsafe { core::hint::unreachable_unchecked() }
        }
    };
}

/// The smaller and the larger of two times, without a branch: in a loop the verifier would follow both ways
/// of each. Times are below 2^63.
#[inline(always)]
pub(crate) fn min_max(a: u64, b: u64) -> (u64, u64) {
    let more = b.wrapping_sub(a);
    // All ones if `b` is the smaller one. Hidden, or the compiler would make a branch of it.
    let negative = opaque(((more as i64) >> 63) as usize) as u64;
    (a.wrapping_add(more & negative), b.wrapping_sub(more & negative))
}

/// Hides where a number comes from, so that a bound check after it stays in the program: the compiler can
/// prove the bound, the verifier cannot.
#[inline(always)]
pub(crate) fn opaque(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // A real instruction: an empty one leaves two line records at one offset, which the kernel refuses
        // ("Invalid line_info").
        // SAFETY: moves a register to itself.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// A number less another one, by an instruction of its own: the verifier follows what is compared with it.
#[inline(always)]
pub(crate) fn less<const LESS: i32>(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: subtracts a number from a register.
        unsafe {
            core::arch::asm!("{0} += -{less}", inout(reg) value, less = const LESS, options(pure, nomem, nostack));
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value.wrapping_sub(LESS as u64)
}

/// Whether a number is 0. The compiler would join the question with the next one, and take longer.
#[inline(always)]
pub(crate) fn is_zero(number: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    // SAFETY: jumps, and nothing else.
    unsafe {
        core::arch::asm!(
            "if {number} == 0 goto {yes}",
            number = in(reg) number,
            yes = label { return true },
            options(nomem, nostack),
        );
        false
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        number == 0
    }
}

/// The bits of `MASK`. The mask is a real instruction: the compiler may know that the other bits are 0 where
/// the verifier does not. On paths that cannot be taken, the verifier may hold contradictory bounds, which a
/// mask resolves.
#[inline(always)]
pub fn masked<const MASK: i32>(value: u64) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: masks a register.
        unsafe {
            core::arch::asm!("{0} &= {mask}", inout(reg) value, mask = const MASK, options(pure, nomem, nostack));
        }
        value as usize
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        (value & MASK as u64) as usize
    }
}

/// The address of what is `offset` bytes behind the field at `FIELD` of a structure. The compiler would add
/// to a copy of the structure's address, which takes more instructions and often one more register.
#[inline(always)]
pub fn behind<T, U, const FIELD: usize>(structure: *mut T, offset: u64) -> *mut U {
    moved(structure.cast::<u8>(), offset).wrapping_add(FIELD).cast()
}

#[inline(always)]
#[cfg_attr(
    target_arch = "bpf",
    expect(clippy::pointers_in_nomem_asm_block, reason = "adds to the pointer and reads nothing")
)]
fn moved(base: *mut u8, offset: u64) -> *mut u8 {
    #[cfg(target_arch = "bpf")]
    {
        let mut address = offset;
        // SAFETY: adds two registers.
        unsafe {
            core::arch::asm!("{0} += {1}", inout(reg) address, in(reg) base, options(pure, nomem, nostack));
        }
        address as *mut u8
    }
    #[cfg(not(target_arch = "bpf"))]
    base.wrapping_add(offset as usize)
}

/// Shifts to the right by less than 64. The compiler cannot know that bound, and would mask the amount. The
/// amount is in the register that x86 shifts by: the JIT would move any other there and back.
#[inline(always)]
pub(crate) fn shifted(value: u64, by: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: shifts a register.
        unsafe {
            core::arch::asm!("{0} >>= r4", inout(reg) value, in("r4") by, options(pure, nomem, nostack))
        };
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        value >> by
    }
}
