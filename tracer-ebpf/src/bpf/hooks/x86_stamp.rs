//! The stamp of an exit before KVM lets the host's interrupts in. Before Linux 6.5 `kvm_amd` fires `kvm_exit`
//! after that (commit 791a089861fc), so that their time would count as the guest's.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::kprobe, programs::ProbeContext};
use tracer_ebpf::event;

use crate::{entries, event::clock_ns, slots::Maps};

/// `svm_handle_exit_irqoff`. By thread, as both kinds of tracepoints know it; interrupts are off.
#[kprobe]
pub fn exit_stamp(_ctx: ProbeContext) -> u32 {
    if let Some(entry) = entries::find_tid(bpf_get_current_pid_tgid() as u32) {
        event::stamp(&mut Maps, entry, clock_ns());
    }
    0
}
