//! Which entry belongs to which exit: the state machine of one vCPU thread.
//!
//! The rule is the same on every architecture: an exit interval runs from an exit event of a vCPU thread to
//! its next entry event. An entry always closes, whatever happened before, so nothing is ever measured from
//! a stale stamp; an exit always opens, the newest one wins.

use crate::{abi::Vcpu, lost::PerVcpu};

/// What an entry event meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The open exit is complete and took this many ns.
    Closed(u64),
    /// There is no sample; the loss has been counted.
    Lost(PerVcpu),
}

/// Notes an exit at `now_ns`. Returns whether the exit before it had found no entry.
#[inline(always)]
pub fn on_exit(vcpu: &mut Vcpu, now_ns: u64, isa: u32, code: u32) -> bool {
    let unpaired = vcpu.open_ns != 0;
    if unpaired {
        vcpu.lost[PerVcpu::UnpairedExit as usize] += 1;
    }
    vcpu.open_ns = now_ns;
    vcpu.open_isa = isa;
    vcpu.open_code = code;
    unpaired
}

/// Notes an entry at `now_ns` and closes the exit that was open.
#[inline(always)]
pub fn on_entry(vcpu: &mut Vcpu, now_ns: u64) -> Entry {
    let open_ns = vcpu.open_ns;
    vcpu.open_ns = 0;
    let cause = if open_ns == 0 {
        PerVcpu::UnpairedEntry
    } else if now_ns < open_ns {
        PerVcpu::ClockBack
    } else {
        return Entry::Closed(now_ns - open_ns);
    };
    vcpu.lost[cause as usize] += 1;
    Entry::Lost(cause)
}
