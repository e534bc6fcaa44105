//! Which entry belongs to which exit: the state machine of one vCPU thread.
//!
//! The rule is the same on every architecture: an exit interval runs from an exit event of a vCPU thread to
//! its next entry event, a guest interval from there to the next exit. An entry always closes, whatever
//! happened before, so nothing is ever measured from a stale stamp; an exit always opens, the newest one
//! wins.
//!
//! Between a thread's first exit and its newest event no nanosecond is left out: each is in an exit interval,
//! off the CPU ([`Vcpu::away_ns`]), in [`Vcpu::lost_ns`] or, while the thread runs other vCPUs, in
//! [`Vcpu::parked_ns`]; what is left is the guest's.
//!
//! A reader must never see half of an update. An exit changes one time. An entry changes three, in an order
//! that tells a reader how far it came ([`is_settled`]). All other updates are marked ([`changing`]).

use crate::{
    abi::{Isa, Vcpu, pseudo, state, touched},
    breakdown,
    codegen::is_zero,
    loss::PerVcpu,
    slot::set,
};

/// Changes several times of an entry at once, in the eyes of a reader: each by [`set`], which the compiler
/// keeps in its place.
#[inline(always)]
pub fn changing<R>(vcpu: &mut Vcpu, change: impl FnOnce(&mut Vcpu) -> R) -> R {
    set(&mut vcpu.changing, 1);
    let result = change(vcpu);
    set(&mut vcpu.changing, 0);
    result
}

/// Loses the time since the newest event, and an open exit with its parts and cause. `open_ns` and
/// `entered_ns` are the stamps from here on. To be called within [`changing`].
#[inline(always)]
pub(crate) fn lose(vcpu: &mut Vcpu, now_ns: u64, open_ns: u64, entered_ns: u64) {
    // Wrapping: the sum gives back what went back with the clock.
    let lost_ns = vcpu.lost_ns.wrapping_add(now_ns.wrapping_sub(stamp_ns(vcpu)));
    set(&mut vcpu.lost_ns, lost_ns);
    set(&mut vcpu.open_ns, open_ns);
    set(&mut vcpu.entered_ns, entered_ns);
    vcpu.open_subkey = 0;
    breakdown::discard(vcpu);
}

/// No length of time. It is no [`Option`]: that would take two registers of the BPF programs.
pub const UNKNOWN_NS: u64 = u64::MAX;

/// Whether an exit at `now_ns` follows an entry, or is the first: [`open`] notes it. Any other is odd.
#[inline(always)]
pub fn opens(vcpu: &Vcpu, now_ns: u64) -> bool {
    vcpu.open_ns == 0 && vcpu.entered_ns <= now_ns
}

/// Notes an exit at `now_ns`; `isa` is [`None`] if it is the vCPU's own. Returns how long the guest ran, or
/// [`UNKNOWN_NS`] if no entry was seen before: the thread's first exit, or one after a loss that has been
/// counted.
#[inline(always)]
pub fn open(vcpu: &mut Vcpu, now_ns: u64, isa: Option<Isa>, code: u32) -> u64 {
    let entered_ns = vcpu.entered_ns;
    set_reason(vcpu, isa, code);
    set(&mut vcpu.open_ns, now_ns);
    if entered_ns == 0 { UNKNOWN_NS } else { now_ns - entered_ns }
}

/// Notes an exit while one is open or before the last entry. The entry between them was lost, or the clock
/// went back, which is counted; or the exit was stamped before, and only its reason is news.
#[inline(always)]
pub fn on_odd_exit(vcpu: &mut Vcpu, now_ns: u64, isa: Option<Isa>, code: u32) {
    if is_stamped(vcpu) {
        own_isa(vcpu);
    } else {
        let cause = if vcpu.open_ns != 0 { PerVcpu::UnpairedExit } else { PerVcpu::ClockBack };
        vcpu.lost[cause as usize] += 1;
        changing(vcpu, |vcpu| lose(vcpu, now_ns, now_ns, 0));
    }
    set_reason(vcpu, isa, code);
}

#[inline(always)]
fn set_reason(vcpu: &mut Vcpu, isa: Option<Isa>, code: u32) {
    set(&mut vcpu.open_code, code);
    if let Some(isa) = isa
        && isa != vcpu.isa
    {
        let touched = vcpu.touched | touched::ISA;
        set(&mut vcpu.open_isa, isa);
        set(&mut vcpu.touched, touched);
    }
}

/// The open exit, if any, has the vCPU's own isa from here on.
#[inline(always)]
pub fn own_isa(vcpu: &mut Vcpu) {
    vcpu.open_isa = vcpu.isa;
    vcpu.touched &= !touched::ISA;
}

/// Whether an entry at `now_ns` closes the exit that is open: [`close`] notes it. Any other is odd.
#[inline(always)]
pub fn closes(vcpu: &Vcpu, now_ns: u64) -> bool {
    let open_ns = vcpu.open_ns;
    !is_zero(open_ns) && open_ns <= now_ns
}

/// Notes an entry at `now_ns` and closes the exit that was open. Returns how long the exit took, in ns. Its
/// parts and its cause are still to be settled, see [`breakdown::close`] and [`Vcpu::open_subkey`].
#[inline(always)]
pub fn close(vcpu: &mut Vcpu, now_ns: u64) -> u64 {
    let ns = now_ns - vcpu.open_ns;
    // In this order: see `is_settled`.
    set(&mut vcpu.entered_ns, now_ns);
    let exit_ns = vcpu.exit_ns.wrapping_add(ns);
    set(&mut vcpu.exit_ns, exit_ns);
    set(&mut vcpu.open_ns, 0);
    ns
}

/// Notes an entry without an exit, or before it. There is no sample; the loss is counted.
#[inline(always)]
pub fn on_odd_entry(vcpu: &mut Vcpu, now_ns: u64) {
    let cause = if vcpu.open_ns == 0 { PerVcpu::UnpairedEntry } else { PerVcpu::ClockBack };
    vcpu.lost[cause as usize] += 1;
    changing(vcpu, |vcpu| lose(vcpu, now_ns, 0, now_ns));
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

/// The time of the newest exit or entry: up to here all time is in some interval.
#[inline(always)]
pub fn stamp_ns(vcpu: &Vcpu) -> u64 {
    if vcpu.open_ns != 0 { vcpu.open_ns } else { vcpu.entered_ns }
}

/// Whether nothing was under way on this copy, if its times are all of one moment. An entry sets
/// [`Vcpu::entered_ns`] first and clears [`Vcpu::open_ns`] last. What it found in [`Vcpu::touched`] it clears
/// later still.
pub fn is_settled(vcpu: &Vcpu) -> bool {
    let Vcpu { open_ns, entered_ns, .. } = *vcpu;
    let between = if open_ns == 0 { entered_ns != 0 && vcpu.touched == 0 } else { entered_ns <= open_ns };
    between && vcpu.changing == 0
}

/// Sum of the complete guest intervals in a settled copy, in ns.
pub fn guest_ns(vcpu: &Vcpu) -> u64 {
    [vcpu.first_ns, vcpu.exit_ns, vcpu.lost_ns, vcpu.away_ns, vcpu.parked_ns]
        .into_iter()
        .fold(stamp_ns(vcpu), u64::wrapping_sub)
}
