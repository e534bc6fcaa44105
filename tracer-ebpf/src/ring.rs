//! The entries of one thread that runs several vCPUs: one of them is that of the vCPU which it runs now, the
//! others are parked. Most threads have one entry and never come here.

use crate::{
    abi::{NOBODY, Vcpu, state},
    loss::PerVcpu,
    pairing,
    slot::set,
    tables::Tables,
};

/// The most entries of a thread. One more takes the place of the one that was parked first.
pub const MOST: u32 = 16;

/// The thread leaves this vCPU for another one, or another thread has taken the vCPU. An exit that is open
/// has lost its entry.
pub fn park(vcpu: &mut Vcpu, now_ns: u64) {
    // Parked before: a thread without an entry for its new vCPU comes here at each event.
    if vcpu.state == state::PARKED {
        return;
    }
    if vcpu.open_ns != 0 {
        vcpu.lost[PerVcpu::Moved as usize] += 1;
    }
    pairing::changing(vcpu, |vcpu| {
        pairing::lose(vcpu, now_ns, 0, now_ns);
        vcpu.kvm_vcpu = 0;
        set(&mut vcpu.state, state::PARKED);
    });
}

/// The thread runs this vCPU again: it is in its guest since now. Where an exit tells so, the entry before it
/// was not seen, and [`Vcpu::entered_ns`] is still to be cleared.
pub fn resume(vcpu: &mut Vcpu, now_ns: u64) {
    pairing::changing(vcpu, |vcpu| {
        if vcpu.state == state::PARKED {
            let parked_ns = vcpu.parked_ns.wrapping_add(now_ns.wrapping_sub(vcpu.entered_ns));
            set(&mut vcpu.parked_ns, parked_ns);
            set(&mut vcpu.state, state::LIVE);
        }
        set(&mut vcpu.entered_ns, now_ns);
    });
}

/// Whether the thread runs this vCPU now, by its [`Vcpu::identity`]. A parked entry may be the one that a
/// thread is known by, if there was no place for the vCPU that it went on to.
#[inline(always)]
pub fn runs(vcpu: &Vcpu, identity: u64) -> bool {
    vcpu.identity == identity && vcpu.state == state::LIVE
}

/// The thread of `entry` runs this vCPU from now on. Returns its entry of that vCPU, if it has one.
#[inline(always)]
pub fn change<T: Tables>(tables: &mut T, entry: T::Entry, identity: u64, now_ns: u64) -> Option<T::Entry> {
    park(tables.vcpu(entry), now_ns);
    let entry = find(tables, entry, identity)?;
    resume(tables.vcpu(entry), now_ns);
    Some(entry)
}

/// The entry of the thread of `entry` that has this identity.
#[inline(always)]
fn find<T: Tables>(tables: &mut T, entry: T::Entry, identity: u64) -> Option<T::Entry> {
    let first = T::index(entry);
    let mut other = entry;
    for _ in 0..MOST {
        let vcpu = tables.vcpu(other);
        if vcpu.identity == identity {
            return Some(other);
        }
        let next = vcpu.next;
        if next == first {
            return None;
        }
        other = tables.entry_at(next)?;
    }
    None
}

/// Puts a new entry into the ring of a thread. In a full ring it takes the place of the entry that was parked
/// first, which is left to user space.
#[inline(always)]
pub fn insert<T: Tables>(tables: &mut T, entry: T::Entry, new: T::Entry) {
    let first = T::index(entry);
    let next = match tables.vcpu(entry).next {
        NOBODY => first,
        next => next,
    };
    tables.vcpu(new).next = next;
    tables.vcpu(entry).next = T::index(new);
    let (mut before, mut oldest, mut oldest_ns, mut len) = (new, None, u64::MAX, 2);
    let mut next = next;
    for _ in 0..MOST {
        if next == first {
            break;
        }
        let Some(other) = tables.entry_at(next) else { return };
        let vcpu = tables.vcpu(other);
        next = vcpu.next;
        if vcpu.entered_ns < oldest_ns {
            oldest_ns = vcpu.entered_ns;
            oldest = Some((before, other));
        }
        before = other;
        len += 1;
    }
    if len > MOST
        && let Some((before, other)) = oldest
    {
        let after = tables.vcpu(other).next;
        tables.vcpu(before).next = after;
        let vcpu = tables.vcpu(other);
        vcpu.next = NOBODY;
        give_up(vcpu);
    }
}

/// The thread of `entry` has ended, and with it all entries of its ring. `each` sees them before they go.
#[inline(always)]
pub fn end<T: Tables>(tables: &mut T, entry: T::Entry, mut each: impl FnMut(&Vcpu)) {
    // Asked for now: an entry that was given up may have another number.
    let first = T::index(entry);
    let mut other = entry;
    for _ in 0..MOST {
        let vcpu = tables.vcpu(other);
        // Before it is given up: from then on user space may clear it.
        let next = vcpu.next;
        each(vcpu);
        give_up(vcpu);
        if next == first {
            return;
        }
        let Some(next) = tables.entry_at(next) else { return };
        other = next;
    }
}

/// An entry that nothing will ever refer to again: user space takes its last numbers.
pub fn give_up(vcpu: &mut Vcpu) {
    vcpu.pid_tgid = 0;
    vcpu.kvm_vcpu = 0;
    // Last: from here on the entry is user space's.
    set(&mut vcpu.state, state::DEAD);
}
