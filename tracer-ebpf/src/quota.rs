//! Who may take a place in a table that others need too.
//!
//! A table has as many places as it was asked for, and an eighth on top: the reserve. While fewer places are
//! taken than were asked for, whoever comes gets one: a lone VM may fill the table. After that the reserve is
//! for processes that hold few places. One process that takes all it can get leaves others their reasons and
//! causes.

use crate::abi::table;

/// A process may take places of the reserve until it holds this many, by [`table`].
pub const FEW: [u64; table::COUNT as usize] = [4, 48, 64];

/// Places beyond those that a table was asked for.
pub const fn reserve(asked: u32) -> u32 {
    asked / 8
}

/// Whether a process that holds `held` places may take one more of a table that was asked to have `asked`, of
/// which `used` are taken.
///
/// ```
/// # use tracer_ebpf::{abi::table::VCPUS, quota::admits};
/// assert!(admits(VCPUS, 1024, 1023, 1023));
/// assert!(!admits(VCPUS, 1024, 1024, 1024));
/// assert!(admits(VCPUS, 1024, 1024, 3));
/// ```
#[inline(always)]
pub const fn admits(table: u32, asked: u64, used: u64, held: u64) -> bool {
    used < asked || held < FEW[table as usize % FEW.len()]
}
