//! Reads of kernel memory, at offsets that the loader took from the kernel's types.

use core::hint::cold_path;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use tracer_ebpf::{config::CAST, loss::Global};

use crate::{
    config::{ABSENT_IMM, expects},
    maps::{LOST, bump},
};

/// Reads a value at an offset from a kernel pointer. [`None`], which has been counted, if it cannot be read,
/// or if the kernel's types did not say where it is.
///
/// Since 6.2 a pointer can be declared to be one of a type (commit a35b9af4ec2c), and what it points to
/// loaded by an instruction, which gives 0 where there is no memory; before, a helper has to do it, which
/// takes ten times as long.
#[inline(always)]
pub fn read<T>(base: u64, offset: u64) -> Option<T> {
    if offset == ABSENT_IMM {
        cold_path();
        failed();
        return None;
    }
    let address = base.wrapping_add(offset) as *const T;
    if expects::<CAST>(base) {
        // SAFETY: the verifier makes the load one that cannot fault.
        return Some(unsafe { core::ptr::read_volatile(cast(address)) });
    }
    // SAFETY: the helper checks the address.
    let value = unsafe { bpf_probe_read_kernel(address) };
    if value.is_err() {
        failed();
    }
    value.ok()
}

/// Counts a failed read.
#[cold]
#[inline(never)]
pub fn failed() {
    bump(&LOST, Global::ReadFailed as u32);
}

/// Calls `bpf_rdonly_cast(pointer, type)`. The loader puts the numbers of both into the object, by the
/// kernel's BTF. The call is no call: the verifier replaces it by a move.
#[inline(always)]
fn cast<T>(pointer: *const T) -> *const T {
    let typed;
    #[cfg(target_arch = "bpf")]
    // SAFETY: clobbers what it names; never reached unless the loader has replaced the numbers.
    unsafe {
        core::arch::asm!(
            "r2 = {kind}",
            "call {call}",
            kind = const tracer_ebpf::config::CAST_TYPE,
            call = const tracer_ebpf::config::CAST_CALL,
            in("r1") pointer,
            lateout("r0") typed,
            lateout("r1") _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
            options(nostack),
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        typed = pointer;
    }
    typed
}
