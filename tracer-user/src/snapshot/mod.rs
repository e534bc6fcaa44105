//! What the tables of the kernel side hold, as values of the model. Pure: copies in, values out. The reader
//! of the maps and the replay of events share it.

pub mod accounting;

use tracer_ebpf::{
    abi::{ABSENT, Vcpu},
    breakdown::{self, Mode},
    part::Part,
};

use crate::model::{LastExit, LastReason, Parts, Thread, kinds};

/// The thread that an entry belongs to, of a VM of this name.
pub fn thread(vcpu: &Vcpu, vm: String) -> Thread {
    let number = (vcpu.vcpu_id != ABSENT).then_some(vcpu.vcpu_id);
    Thread { pid: vcpu.pid, tid: vcpu.tid, vcpu: number, vm, ..Thread::default() }
}

/// The exit in which a thread has ended, the one of this index; [`None`] if it ended in its guest.
pub fn last_exit(vcpu: &Vcpu, thread: usize) -> Option<LastExit> {
    if vcpu.open_ns == 0 {
        return None;
    }
    let user_exit = (vcpu.breakdown.mode == Mode::USER).then_some(vcpu.breakdown.user_reason);
    let reason = LastReason::new(vcpu.open_isa, vcpu.open_code, user_exit);
    Some(LastExit { thread, reason, count: 1 })
}

/// The parts of a slot's samples, which took `sum_ns` together; `parts` are sums in ns without
/// [`Part::Kernel`]. Causes have no parts of their own.
pub fn parts(subkey: u64, parts: [u64; Part::COUNT], sum_ns: u64) -> Parts {
    let mut parts = Parts(parts);
    if !kinds::is_exit(subkey) {
        return Parts::default();
    }
    let unhandled_ns = parts.get(Part::Halt) + parts.get(Part::Stopped);
    let whole_ns = sum_ns + unhandled_ns;
    let over_ns = parts.total_ns().saturating_sub(whole_ns);
    if over_ns != 0 {
        // Events of one thread that got in each other's way; the parts must not claim more than the exits
        // took.
        let handled = Part::ALL.into_iter().filter(|part| !matches!(part, Part::Halt | Part::Stopped));
        let largest = handled.max_by_key(|part| parts.get(*part)).expect("there are parts");
        parts.0[largest as usize] = parts.get(largest).saturating_sub(over_ns);
    }
    parts.add(Part::Kernel, breakdown::rest_ns(&parts.0, whole_ns));
    parts
}
