//! What programs must know of the kernel apart from KVM: the scheduler's tracepoints, and casts.

use tracer_ebpf::config;

use super::parse::Kind;
use super::query::{Arg, Shape};
use super::{Btf, BtfError};

/// Where a task keeps what the programs read. Offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedOffsets {
    /// `task_struct.pid`, which is the thread's number.
    pub pid: u32,
    /// The lower half of the task's state; none where `sched_switch` has it as its fourth argument.
    pub state: Option<u32>,
}

impl SchedOffsets {
    /// As constants for the object.
    pub fn constants(&self) -> Vec<(i32, u32)> {
        let state = self.state.map(|offset| (config::OFF_TASK_STATE, offset));
        [(config::OFF_TASK_PID, self.pid)].into_iter().chain(state).collect()
    }
}

/// BTF ids that calls of `bpf_rdonly_cast` need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// Id of the function.
    pub function: u32,
    /// Id of a structure that begins with an integer of 8 bytes.
    pub structure: u32,
}

/// Finds the BTF ids; [`None`] before Linux 6.2.
pub fn cast(vmlinux: &Btf) -> Option<Cast> {
    let function = vmlinux.find("bpf_rdonly_cast", Kind::Func)?;
    let structure = vmlinux.find("timespec64", Kind::Struct)?;
    let first = vmlinux.member_of(structure, &["tv_sec"]).ok()?;
    let fits = (first.offset, first.size) == (0, 8);
    fits.then_some(Cast { function: function.0, structure: structure.0 })
}

/// Derives the offsets from the BTF of `vmlinux`.
///
/// # Errors
/// If a type is missing or has a form this reader does not know; tracepoints must serve then.
pub fn sched_offsets(vmlinux: &Btf) -> Result<SchedOffsets, BtfError> {
    let fail = |event: &str, why| BtfError::Prototype { event: event.to_owned(), why };
    let is_task = |arg: &Arg| matches!(arg.shape, Shape::Pointer(to) if vmlinux.get(to).is_some_and(|it| it.is_named(b"task_struct")));
    let switch = vmlinux.raw_tracepoint_args("sched_switch")?;
    let given = match switch.as_slice() {
        [preempt, prev, next, rest @ ..]
            if preempt.shape == Shape::Integer(1) && is_task(prev) && is_task(next) =>
        {
            match rest {
                [] => false,
                [state] if state.shape == Shape::Integer(4) => true,
                _ => return Err(fail("sched_switch", "more arguments than known")),
            }
        }
        _ => return Err(fail("sched_switch", "arguments in an unknown order")),
    };
    if !matches!(vmlinux.raw_tracepoint_args("sched_wakeup")?.as_slice(), [task] if is_task(task)) {
        return Err(fail("sched_wakeup", "arguments other than a task"));
    }
    let task = vmlinux
        .find("task_struct", Kind::Struct)
        .ok_or_else(|| BtfError::NoType("struct task_struct".to_owned()))?;
    let pid = vmlinux.member_of(task, &["pid"])?;
    let state = if given {
        None
    } else {
        // `__state` since 5.14 (commit 2f064a59a11f), a `long` before.
        let state = vmlinux.member_of(task, &["__state"]).or_else(|_| vmlinux.member_of(task, &["state"]))?;
        let lower = if cfg!(target_endian = "big") { state.size.saturating_sub(4) } else { 0 };
        Some(state.offset + lower)
    };
    Ok(SchedOffsets { pid: pid.offset, state })
}
