//! Which entry belongs to which exit: the state machine of one vCPU thread.
//!
//! The rule is the same on every architecture: an exit interval runs from an exit event of a vCPU thread to
//! its next entry event, a guest interval from there to the next exit. An entry always closes, whatever
//! happened before, so nothing is ever measured from a stale stamp; an exit always opens, the newest one
//! wins.
//!
//! Between a thread's first exit and its newest event no nanosecond is left out: each is in a guest interval,
//! in an exit interval, in [`Vcpu::lost_ns`] or, while the thread runs other vCPUs, in [`Vcpu::parked_ns`].
//! The reader checks that sum.

use crate::{
    abi::{Isa, Vcpu, pseudo, state},
    breakdown,
    loss::PerVcpu,
};

/// What an exit event meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest ran for this many ns.
    Opened(u64),
    /// No entry was seen before it: the thread's first exit, or a loss that has been counted.
    First,
    /// It is the one that was stamped: only its reason is news.
    Stamped,
}

/// What an entry event meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The open exit is complete and took this many ns.
    Closed(u64),
    /// There is no sample; the loss has been counted.
    Lost(PerVcpu),
}

/// Notes an exit at `now_ns`. Where exits can have a cause, [`Vcpu::open_subkey`] is still to be cleared.
#[inline(always)]
pub fn on_exit(vcpu: &mut Vcpu, now_ns: u64, isa: Isa, code: u32) -> Exit {
    let open_ns = vcpu.open_ns;
    if open_ns != 0 {
        let stamped = is_stamped(vcpu);
        vcpu.open_isa = isa;
        vcpu.open_code = code;
        if stamped {
            return Exit::Stamped;
        }
        vcpu.open_ns = now_ns;
        vcpu.lost[PerVcpu::UnpairedExit as usize] += 1;
        vcpu.lost_ns = vcpu.lost_ns.wrapping_add(now_ns.wrapping_sub(open_ns));
        breakdown::discard(vcpu);
        return Exit::First;
    }
    let entered_ns = vcpu.entered_ns;
    let meant = now_ns.wrapping_sub(entered_ns);
    vcpu.open_isa = isa;
    vcpu.open_code = code;
    vcpu.open_ns = now_ns;
    // One comparison for "no entry yet" and "before it".
    if entered_ns.wrapping_sub(1) >= now_ns {
        if entered_ns != 0 {
            vcpu.lost[PerVcpu::ClockBack as usize] += 1;
            vcpu.lost_ns = vcpu.lost_ns.wrapping_add(meant);
        }
        return Exit::First;
    }
    vcpu.guest_ns = vcpu.guest_ns.wrapping_add(meant);
    Exit::Opened(meant)
}

/// Notes an entry at `now_ns` and closes the exit that was open. The parts of the exit are still to be
/// settled, see [`breakdown::close`].
#[inline(always)]
pub fn on_entry(vcpu: &mut Vcpu, now_ns: u64) -> Entry {
    let open_ns = vcpu.open_ns;
    vcpu.open_ns = 0;
    if open_ns != 0 && now_ns >= open_ns {
        vcpu.exit_ns = vcpu.exit_ns.wrapping_add(now_ns - open_ns);
        vcpu.entered_ns = now_ns;
        return Entry::Closed(now_ns - open_ns);
    }
    let (cause, from_ns) =
        if open_ns == 0 { (PerVcpu::UnpairedEntry, vcpu.entered_ns) } else { (PerVcpu::ClockBack, open_ns) };
    vcpu.lost[cause as usize] += 1;
    // Wrapping: what went back with the clock is given back by the sum.
    vcpu.lost_ns = vcpu.lost_ns.wrapping_add(now_ns.wrapping_sub(from_ns));
    vcpu.entered_ns = now_ns;
    breakdown::discard(vcpu);
    Entry::Lost(cause)
}

/// Whether the vCPU is in its guest, as far as its events tell. Not if the thread runs another vCPU.
#[inline(always)]
pub fn is_in_guest(vcpu: &Vcpu) -> bool {
    vcpu.open_ns == 0 && vcpu.entered_ns != 0 && vcpu.state == state::LIVE
}

/// Whether the open exit was stamped, and its event has not come yet.
#[inline(always)]
pub fn is_stamped(vcpu: &Vcpu) -> bool {
    vcpu.open_ns != 0 && vcpu.open_isa == Isa::NONE && vcpu.open_code == pseudo::STAMPED
}

/// The time of the newest exit or entry, on the clock of [`accounted_ns`].
pub fn stamp_ns(vcpu: &Vcpu) -> u64 {
    if vcpu.open_ns != 0 { vcpu.open_ns } else { vcpu.entered_ns }
}

/// Where the thread's intervals add up to. Equal to [`stamp_ns`] in every consistent copy of an entry.
pub fn accounted_ns(vcpu: &Vcpu) -> u64 {
    [vcpu.guest_ns, vcpu.exit_ns, vcpu.lost_ns, vcpu.away_ns, vcpu.parked_ns]
        .into_iter()
        .fold(vcpu.first_ns, u64::wrapping_add)
}
