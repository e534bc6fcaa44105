//! Events of a thread that is known by its number: its entry is found or registered, and the shared rules do
//! the rest.

use aya_ebpf::{EbpfContext, helpers::bpf_ktime_get_ns};
use aya_log_ebpf::debug;
use tracer_ebpf::{
    abi::{ABSENT, Isa, pseudo, table},
    event,
    loss::Global,
    pairing, ring,
};

use crate::{
    entries::{self, EntryRef},
    maps::{self, LOST, bump},
    slots::Maps,
};

/// CLOCK_MONOTONIC: it does not run while the host is suspended, and user space has it too.
#[inline(always)]
pub fn clock_ns() -> u64 {
    // SAFETY: the helper has no requirements.
    unsafe { bpf_ktime_get_ns() }
}

/// Tells vCPUs of one thread apart by their numbers, see [`tracer_ebpf::abi::Vcpu::identity`]: 0 if the event
/// has none.
#[inline(always)]
pub fn by_number(vcpu_id: u32) -> u64 {
    if vcpu_id == ABSENT { 0 } else { u64::from(vcpu_id) + 1 }
}

/// Which vCPU it is.
#[derive(Clone, Copy)]
pub struct Who {
    /// See [`tracer_ebpf::abi::Vcpu::vcpu_id`].
    pub vcpu_id: u32,
    /// See [`tracer_ebpf::abi::Vcpu::kvm`].
    pub kvm: u64,
}

impl Who {
    /// A vCPU of which the event tells the number only.
    pub const fn numbered(vcpu_id: u32) -> Self {
        Self { vcpu_id, kvm: 0 }
    }
}

/// Why a vCPU left its guest.
#[derive(Clone, Copy)]
pub struct Reason {
    /// Isa of the vCPU.
    pub own: Isa,
    /// Isa of the code.
    pub isa: Isa,
    /// The exit code.
    pub code: u32,
}

impl Reason {
    /// What is recorded where a vCPU of this isa left its guest and the reason could not be read.
    pub const fn unreadable(own: Isa) -> Self {
        Self { own, isa: Isa::NONE, code: pseudo::UNREADABLE }
    }

    /// A code of the vCPU's own isa.
    #[inline(always)]
    pub const fn new(own: Isa, code: u32) -> Self {
        Self { own, isa: own, code }
    }
}

/// A vCPU left its guest. `identity` tells the vCPUs of one thread apart, see
/// [`tracer_ebpf::abi::Vcpu::identity`]; `who` is asked for at a vCPU's first exit only. Returns the
/// vCPU's entry, if it has one or could get one.
#[inline(always)]
pub fn exit<C: EbpfContext>(
    ctx: &C,
    pid_tgid: u64,
    now_ns: u64,
    Reason { own, isa, code }: Reason,
    identity: u64,
    who: impl FnOnce(&C) -> Who,
) -> Option<EntryRef> {
    if let Some(entry) = entries::find(pid_tgid) {
        if ring::runs(entry.vcpu(), identity) {
            event::exit(&mut Maps, entry, now_ns, Some(isa), code);
            return Some(entry);
        }
        if let Some(entry) = entries::change(entry.index(), identity, now_ns) {
            // The entry before this exit was not seen.
            entry.vcpu().entered_ns = 0;
            event::exit(&mut Maps, entry, now_ns, Some(isa), code);
            return Some(entry);
        }
    }
    let Who { vcpu_id, kvm } = who(ctx);
    match entries::register(pid_tgid, now_ns, own, identity, vcpu_id) {
        Some(entry) => {
            entry.vcpu().kvm = kvm;
            debug!(ctx, "thread {} is a vCPU: first exit, isa {} code {}", pid_tgid as u32, isa.0, code);
            pairing::open(entry.vcpu(), now_ns, Some(isa), code);
            entries::publish(entry);
            Some(entry)
        }
        None => {
            debug!(ctx, "thread {}: no entry of the vCPU table", pid_tgid as u32);
            None
        }
    }
}

/// A vCPU entered its guest. Returns the thread's entry, if it has one. `identity` is 0 if the event does not
/// name the vCPU. It is no [`Option`]: the compiler may put that on the stack half written, and the verifier
/// refuses to read it.
#[inline(always)]
pub fn entry(pid_tgid: u64, now_ns: u64, identity: u64) -> Option<EntryRef> {
    let Some(entry) = entries::find(pid_tgid) else {
        early(pid_tgid);
        return None;
    };
    if identity != 0 && !ring::runs(entry.vcpu(), identity) {
        // Without an exit before it, it only says that the vCPU is in its guest.
        return entries::change(entry.index(), identity, now_ns);
    }
    event::entry(&mut Maps, entry, now_ns);
    Some(entry)
}

/// Counts an entry before the first exit of its thread. A thread that finds no place has its exits counted.
#[cold]
#[inline(never)]
fn early(pid_tgid: u64) {
    if !maps::refuses::<{ table::VCPUS }>((pid_tgid >> 32) as u32) {
        bump(&LOST, Global::EarlyEntries as u32);
    }
}

/// Notes the cause of the open exit.
#[inline(always)]
pub fn cause(pid_tgid: u64, subkey: u64) {
    if let Some(entry) = entries::find(pid_tgid) {
        event::cause(&mut Maps, entry, subkey);
    }
}
