//! Events of a thread that is known by its number: its entry is found or registered, and the shared rules do
//! the rest.

use aya_ebpf::{EbpfContext, helpers::bpf_ktime_get_ns};
use aya_log_ebpf::debug;
use tracer_ebpf::{
    abi::{Isa, table},
    event,
    loss::Global,
    pairing,
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

/// A vCPU left its guest. `vcpu_id` is asked for at the thread's first exit only. The thread's entry, if it
/// had one.
#[inline(always)]
pub fn exit<C: EbpfContext>(
    ctx: &C,
    pid_tgid: u64,
    now_ns: u64,
    isa: Isa,
    code: u32,
    vcpu_id: impl FnOnce(&C) -> u32,
) -> Option<EntryRef> {
    if let Some(entry) = entries::find(pid_tgid) {
        event::exit(&mut Maps, entry, now_ns, isa, code);
        return Some(entry);
    }
    match entries::register(pid_tgid, now_ns, isa, vcpu_id(ctx)) {
        Some(entry) => {
            debug!(ctx, "thread {} is a vCPU: first exit, isa {} code {}", pid_tgid as u32, isa.0, code);
            pairing::on_exit(entry.vcpu(), now_ns, isa, code);
            entries::publish(entry);
        }
        None => {
            bump(&LOST, Global::VcpuTableFull as u32);
            debug!(ctx, "thread {}: the vCPU table is full", pid_tgid as u32);
        }
    }
    None
}

/// A vCPU entered its guest. The thread's entry, if it has one.
#[inline(always)]
pub fn entry(pid_tgid: u64, now_ns: u64) -> Option<EntryRef> {
    let Some(entry) = entries::find(pid_tgid) else {
        // A thread that found no place has had its exit counted.
        if !maps::is_full(table::VCPUS) {
            bump(&LOST, Global::EarlyEntries as u32);
        }
        return None;
    };
    event::entry(&mut Maps, entry, now_ns);
    Some(entry)
}

/// The cause, below its reason, of the exit that is open.
#[inline(always)]
pub fn cause(pid_tgid: u64, subkey: u64) {
    if let Some(entry) = entries::find(pid_tgid) {
        event::cause(&mut Maps, entry, subkey);
    }
}
