//! Hands events of threads to the replay, in the order of their times.

use std::collections::HashMap;

use tracer_ebpf::abi::ABSENT;

use super::{
    events::Decoded,
    gaps::{Gap, Gaps},
};
use crate::replay::{Event, Replay};

/// The limits of the kernel side for `--max-vcpus` and `--slots`.
pub(super) const MAX_VCPUS: usize = 1 << 16;
pub(super) const MAX_SLOTS: usize = 1 << 17;

/// An item that waits for its turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Queued {
    /// An event of a thread.
    Task(TaskEvent),
    /// From here on events are missing.
    Gap(Gap),
}

/// An event of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskEvent {
    /// The process in the upper half, the thread in the lower, as the kernel side numbers threads.
    pub thread: u64,
    /// The CPU it was on, or [`ABSENT`].
    pub cpu: u32,
    pub kind: TaskEventKind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum TaskEventKind {
    /// The thread, a vCPU, left its guest or enters it.
    Kvm(Decoded),
    /// The thread ends.
    Death,
}

/// The thread's number as the kernel side has it.
pub(super) fn thread_number(pid: u32, tid: u32) -> u64 {
    u64::from(pid) << 32 | u64::from(tid)
}

/// Hands events to the replay, in the order of their times.
#[derive(Debug)]
pub(super) struct Dispatcher {
    pub replay: Replay,
    pub gaps: Gaps,
    /// Numbers of vCPUs by thread, for kernels whose exits do not say but whose entries do.
    pub vcpus: HashMap<u64, u32>,
}

impl Dispatcher {
    /// The next event.
    pub(super) fn dispatch(&mut self, now_ns: u64, queued: Queued) {
        let TaskEvent { thread, cpu, kind } = match queued {
            Queued::Task(event) => event,
            Queued::Gap(gap) => return self.gaps.add(gap),
        };
        if self.gaps.since(thread, cpu) {
            self.replay.event(thread, Event::Lost);
        }
        match kind {
            TaskEventKind::Kvm(decoded) => {
                self.gaps.event(thread, now_ns, cpu);
                if decoded.vcpu != ABSENT && self.vcpus.len() < MAX_VCPUS {
                    self.vcpus.insert(thread, decoded.vcpu);
                }
                let vcpu = self.vcpus.get(&thread).copied().unwrap_or(decoded.vcpu);
                self.replay.event(thread, decoded.event(now_ns, vcpu));
            }
            TaskEventKind::Death => {
                self.vcpus.remove(&thread);
                self.gaps.forget(thread);
                self.replay.event(thread, Event::Death);
            }
        }
    }
}
