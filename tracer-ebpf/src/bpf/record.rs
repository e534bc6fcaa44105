//! Fields of a tracepoint's record.

use aya_ebpf::{EbpfContext as _, programs::TracePointContext};
use tracer_ebpf::loss::Global;

use crate::maps::{LOST, bump};

/// A field at the offset that the loader gave. [`None`] has been counted.
///
/// The verifier takes a direct load only at a constant offset, so the offset that almost every kernel has
/// (`USUAL`) is a direct load, and any other goes through a helper. The verifier knows the offset: only one
/// of the two survives.
#[inline(always)]
pub fn field<T: Copy, const USUAL: usize>(ctx: &TracePointContext, offset: u64) -> Option<T> {
    if offset as usize == USUAL {
        return Some(fixed::<T, USUAL>(ctx));
    }
    // SAFETY: the helper checks the address.
    match unsafe { ctx.read_at(offset as usize) } {
        Ok(value) => Some(value),
        Err(_) => {
            bump(&LOST, Global::ReadFailed as u32);
            None
        }
    }
}

/// A field at an offset that is the same on every supported kernel; the loader has checked it.
#[inline(always)]
pub fn fixed<T: Copy, const OFFSET: usize>(ctx: &TracePointContext) -> T {
    // SAFETY: the loader has checked against the `format` file that a field of this size is here.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().byte_add(OFFSET).cast()) }
}
