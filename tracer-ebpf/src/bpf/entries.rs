//! Entries of threads: how one is found, registered and retired, and which vCPU a thread runs.

use core::ptr::NonNull;

use aya_ebpf::helpers::{bpf_get_current_task, generated::bpf_get_current_comm};
use tracer_ebpf::{
    abi::{Isa, NOBODY, Vcpu, state, table},
    breakdown,
    config::PREEMPTIBLE,
    loss::Global,
    ring, slot,
    tables::Place,
};

use crate::{
    config::{asks, flag},
    maps::{self, FREE_VCPUS, LOST, VCPU_OF, VCPUS, bump},
    slots::Maps,
};

/// Where an entry is.
///
/// A pointer and not a reference: an event may find its entry again by index while it holds this.
#[derive(Clone, Copy)]
pub struct EntryRef(NonNull<Vcpu>);

impl EntryRef {
    /// The entry with this index.
    #[inline(always)]
    pub fn at(index: u32) -> Option<Self> {
        Self::guess(&raw const index)
    }

    /// The entry whose index is at `hint`, which may be stale or torn, or that of nobody: callers check what
    /// they find.
    #[inline(always)]
    fn guess(hint: *const u32) -> Option<Self> {
        // SAFETY: hints are in the object's data, and other indices on the stack.
        unsafe { maps::element(&VCPUS, hint) }.map(Self)
    }

    /// The entry with this index, unless it is [`NOBODY`].
    #[inline(always)]
    pub fn of(index: u32) -> Option<Self> {
        if index == NOBODY { None } else { Self::at(index) }
    }

    /// Its index in the table.
    #[inline(always)]
    pub fn index(self) -> u32 {
        self.vcpu().index
    }

    /// The entry.
    #[inline(always)]
    pub fn vcpu<'a>(self) -> &'a mut Vcpu {
        // SAFETY: array elements live as long as the program; an entry is one vCPU on one thread, and a
        // thread has one event at a time, but for the scheduler's, which keep off (`Vcpu::busy`).
        // User space only reads while the thread lives. Callers let go of one reference before they
        // ask for the next.
        unsafe { &mut *self.0.as_ptr() }
    }
}

/// The entry of the thread that runs this `struct kvm_vcpu`, if that is known. The address is asked for
/// twice, as it may take less to read it anew than to keep it.
#[inline(always)]
pub fn running(kvm_vcpu: impl Fn() -> u64) -> Option<EntryRef> {
    let entry = EntryRef::guess(maps::run_hint(kvm_vcpu()))?;
    let kvm_vcpu = kvm_vcpu();
    let vcpu = entry.vcpu();
    if vcpu.kvm_vcpu != kvm_vcpu || (asks::<PREEMPTIBLE>(kvm_vcpu) && vcpu.task != current_task()) {
        return None;
    }
    Some(entry)
}

/// The current task. Since Linux 7.0 the verifier turns the call into a load (commit eaedea154eb9).
#[inline(always)]
fn current_task() -> u64 {
    // SAFETY: the helper has no requirements.
    unsafe { bpf_get_current_task() }
}

/// Notes that the thread of this entry runs this `struct kvm_vcpu` until KVM_RUN returns.
#[inline(always)]
pub fn runs(entry: EntryRef, kvm_vcpu: u64) {
    let vcpu = entry.vcpu();
    vcpu.kvm_vcpu = kvm_vcpu;
    vcpu.vmcb = 0;
    if flag::<PREEMPTIBLE>() {
        vcpu.task = current_task();
    }
    let hint = maps::run_hint(kvm_vcpu);
    // SAFETY: in bounds. Written when it changes only: other CPUs read the values beside it at every event.
    unsafe {
        if hint.read_volatile() != entry.index() {
            hint.write_volatile(entry.index());
        }
    }
}

/// The entry of a thread, `tgid << 32 | tid`.
#[inline(always)]
pub fn find(pid_tgid: u64) -> Option<EntryRef> {
    let guess = EntryRef::guess(maps::hint(pid_tgid as u32));
    if let Some(entry) = guess
        && entry.vcpu().pid_tgid == pid_tgid
    {
        return Some(entry);
    }
    // A tid that was used before, by a thread whose end was missed, is not this one.
    find_by_hash(pid_tgid as u32).filter(|entry| entry.vcpu().pid_tgid == pid_tgid)
}

/// The entry of any thread of the host. Most threads are no vCPUs, and for them no map is touched.
#[inline(always)]
pub fn find_tid(tid: u32) -> Option<EntryRef> {
    if !maps::may_be_vcpu(tid) {
        return None;
    }
    // A dead entry has no tid.
    let is_its = |entry: &EntryRef| entry.vcpu().pid_tgid as u32 == tid;
    if let Some(entry) = EntryRef::guess(maps::hint(tid))
        && is_its(&entry)
    {
        return Some(entry);
    }
    // A tid that was used before, by a thread whose end was missed, is not this one.
    find_by_hash(tid).filter(is_its)
}

#[inline(always)]
fn find_by_hash(tid: u32) -> Option<EntryRef> {
    // SAFETY: the value is copied at once.
    let index = unsafe { VCPU_OF.get(tid).copied() }?;
    maps::point_to(tid, index);
    EntryRef::at(index)
}

/// Gives a thread its first entry, or one more, which [`publish`] still has to show. User space has zeroed
/// it, but for the generation. [`None`] if there is none; then it is noted whom that hit.
#[inline(always)]
pub fn register(pid_tgid: u64, now_ns: u64, isa: Isa, identity: u64, vcpu_id: u32) -> Option<EntryRef> {
    EntryRef::of(take_entry(pid_tgid, now_ns, isa.0, identity, vcpu_id))
}

/// The entry's index, or [`NOBODY`]: more would not fit into the registers of a call.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn take_entry(pid_tgid: u64, now_ns: u64, isa: u32, identity: u64, vcpu_id: u32) -> u32 {
    let (pid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    let index = match maps::take::<{ table::VCPUS }>(&FREE_VCPUS, pid) {
        Place::Free(place) => place.0,
        refused => {
            let loss = if refused == Place::Full { Global::VcpuTableFull } else { Global::VcpuQuota };
            bump(&LOST, loss as u32);
            maps::note_refused(pid);
            return NOBODY;
        }
    };
    let Some(entry) = EntryRef::at(index) else { return NOBODY };
    let before = find(pid_tgid);
    if VCPU_OF.insert(tid, index, 0).is_err() {
        maps::put_back::<{ table::VCPUS }>(&FREE_VCPUS, pid, index);
        bump(&LOST, Global::VcpuTableFull as u32);
        return NOBODY;
    }
    maps::point_to(tid, index);
    let vcpu = entry.vcpu();
    vcpu.index = index;
    vcpu.pid = pid;
    vcpu.tid = tid;
    vcpu.first_ns = now_ns;
    vcpu.isa = Isa(isa);
    vcpu.open_isa = Isa(isa);
    // The name is written in place; aya's own function zeroes a buffer on the stack first.
    // SAFETY: as many bytes are written as there are; if it fails, they stay zero.
    unsafe { bpf_get_current_comm(vcpu.comm.as_mut_ptr().cast(), vcpu.comm.len() as u32) };
    vcpu.vcpu_id = vcpu_id;
    vcpu.identity = identity;
    vcpu.pid_tgid = pid_tgid;
    match before {
        Some(before) => ring::insert(&mut Maps, before, entry),
        None => maps::came(tid),
    }
    index
}

/// The thread of this entry runs another vCPU from now on: parks the entry, and takes the thread's entry of
/// that vCPU, if it has one.
#[inline(always)]
pub fn change(index: u32, identity: u64, now_ns: u64) -> Option<EntryRef> {
    EntryRef::of(change_entry(index, identity, now_ns))
}

#[cold]
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn change_entry(index: u32, identity: u64, now_ns: u64) -> u32 {
    let Some(entry) = EntryRef::at(index) else { return NOBODY };
    let Some(other) = ring::change(&mut Maps, entry, identity, now_ns) else { return NOBODY };
    let tid = entry.vcpu().pid_tgid as u32;
    maps::point_to(tid, other.index());
    let _ = VCPU_OF.insert(tid, other.index(), 0);
    other.index()
}

/// Whether another thread has run this `struct kvm_vcpu` since the thread of this entry did.
#[inline(always)]
pub fn has_moved(entry: EntryRef, kvm_vcpu: u64) -> bool {
    EntryRef::guess(maps::run_hint(kvm_vcpu)).is_some_and(|last| {
        let (last, vcpu) = (last.vcpu(), entry.vcpu());
        last.identity == kvm_vcpu && last.pid == vcpu.pid && last.tid != vcpu.tid
    })
}

/// Publishes a new entry. User space reads it once it sees generation and state, which are stored in this
/// order.
#[inline(always)]
pub fn publish(entry: EntryRef) {
    let vcpu = entry.vcpu();
    let generation = vcpu.generation + 1;
    slot::set(&mut vcpu.generation, generation);
    slot::set(&mut vcpu.state, state::LIVE);
}

/// A thread is gone. Its entries stay for user space to read, open exit included.
#[inline(always)]
pub fn retire(tid: u32, now_ns: impl FnOnce() -> u64) {
    let Some(entry) = find_tid(tid) else { return };
    breakdown::ended(entry.vcpu(), now_ns());
    let _ = VCPU_OF.remove(tid);
    maps::left(tid);
    ring::end(&mut Maps, entry, |_| ());
}
