//! By which of the kernel's events everything is seen: chosen once, before anything is loaded.

use tracer_ebpf::{abi::ABSENT, config, part::Part};

use crate::{
    kernel::{
        Unsupported,
        btf::{BtfError, SchedOffsets, Types},
        host,
        raw::{self, RawLayout},
        session::Attach,
        sie,
        tracefs::{self, Layout, SchedLayout},
    },
    model::MeasuredParts,
};

/// Since when raw tracepoints do not keep preemption off (commit a46023d5616e).
const PREEMPTIBLE: (u32, u32) = (7, 0);

/// How exits are seen.
#[derive(Debug)]
pub enum Exits {
    /// By raw tracepoints, and where the classic records have their fields.
    Raw(Layout, RawLayout),
    /// By classic tracepoints, and why.
    Classic(Layout, String),
    /// By s390's classic tracepoints.
    Sie(sie::Layout),
}

/// How the scheduler's events are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sched {
    /// By raw tracepoints.
    Raw(SchedOffsets),
    /// By classic tracepoints.
    Classic(SchedLayout),
    /// Not at all, and why.
    Off(String),
}

/// What marks the call of KVM_RUN, so that the way back into KVM is not taken for the VMM's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// x86's `kvm_fpu`, some hundred instructions after the call.
    Fpu,
    /// A kprobe on `kvm_arch_vcpu_ioctl_run`.
    Probe,
    /// Nothing: time in the VMM ends with the entry into the guest.
    Nothing,
}

/// All of them.
#[derive(Debug)]
pub struct Plan {
    /// How exits are seen.
    pub exits: Exits,
    /// How the scheduler is seen.
    pub sched: Sched,
    /// What ends a stay in the VMM.
    pub call: Call,
    /// Raw tracepoints outside the scheduler let the thread lose its CPU while a program runs, and skip the program
    /// for others meanwhile.
    pub preemptible: bool,
    /// Classic ones do for the parts because of that.
    pub classic_parts: bool,
}

impl Plan {
    /// Looks at the kernel.
    ///
    /// # Errors
    /// [`Unsupported`] if it lacks what is needed, or what `path` asks for.
    pub fn choose(path: Attach, sched: bool) -> Result<Self, Unsupported> {
        // Raw tracepoints of s390 would need its structures, for no gain without a JIT.
        let types = if host::IS_S390X { None } else { Some(Types::read_host()) };
        let exits = match &types {
            None => sie_exits(path)?,
            Some(types) => exits(path, types)?,
        };
        let types = types.and_then(Result::ok).filter(|_| path != Attach::Tp);
        let sched = match (sched, types.as_ref().map(Types::sched)) {
            (false, _) => Sched::Off("as asked for by --no-sched".to_owned()),
            (true, Some(Ok(offsets))) => Sched::Raw(offsets),
            (true, _) => {
                tracefs::sched_layout().map_or_else(|missing| Sched::Off(missing.what), Sched::Classic)
            }
        };
        // With MPX, KVM_GET_MP_STATE loads the guest's registers too (`kvm_arch_vcpu_ioctl_get_mpstate`).
        // Other architectures have the event, which never fires there.
        let fpu = cfg!(target_arch = "x86_64") && tracefs::has("kvm_fpu") && !host::has_cpu_flag("mpx");
        let call = if fpu { Call::Fpu } else { Call::Probe };
        let preemptible = host::kernel_version() >= PREEMPTIBLE;
        let classic_parts = preemptible && tracefs::part_records_are_known();
        Ok(Self { exits, sched, call, preemptible, classic_parts })
    }

    /// Where x86's records have their fields.
    pub fn layout(&self) -> Option<Layout> {
        match &self.exits {
            Exits::Raw(layout, _) | Exits::Classic(layout, _) => Some(*layout),
            Exits::Sie(_) => None,
        }
    }

    /// The event that tells when an SVM vCPU's control block changes, which is kept until then; [`None`] if it cannot be,
    /// or if the event could be missed.
    pub fn nested_event(&self) -> Option<&'static str> {
        match &self.exits {
            Exits::Raw(_, raw) if !self.preemptible => raw.nested,
            _ => None,
        }
    }

    /// How exits are seen and, if not in the cheapest way, why; for headers and `check`.
    pub fn path(&self) -> String {
        match &self.exits {
            Exits::Raw(_, RawLayout { cast: Some(_), .. }) => "raw tracepoints and typed loads".to_owned(),
            Exits::Raw(..) => "raw tracepoints".to_owned(),
            Exits::Classic(_, why) => why.clone(),
            Exits::Sie(_) => "classic tracepoints".to_owned(),
        }
    }

    /// How the parts are seen, and how exact they are; for `check`.
    pub fn parts(&self) -> String {
        let sched = match &self.sched {
            Sched::Raw(_) => "the scheduler by raw tracepoints".to_owned(),
            Sched::Classic(_) => "the scheduler by classic tracepoints".to_owned(),
            Sched::Off(why) => format!("the scheduler not at all ({why}): run queue and sleeps are unknown"),
        };
        let call = match self.call {
            Call::Fpu => "KVM_RUN's call by kvm_fpu, exact to its first few hundred instructions",
            Call::Probe => "KVM_RUN's call by a kprobe on kvm_arch_vcpu_ioctl_run",
            Call::Nothing => "KVM_RUN's call by nothing: the way back into KVM counts as the VMM's time",
        };
        format!("{sched}; {call}")
    }

    /// The parts that are told apart.
    pub fn known(&self) -> MeasuredParts {
        let mut known = vec![Part::Kernel, Part::Poll, Part::Halt, Part::User];
        if !matches!(self.sched, Sched::Off(_)) {
            known.extend([Part::Blocked, Part::Runqueue, Part::UserBlocked, Part::Stopped]);
        }
        MeasuredParts::of(&known)
    }

    /// The constants of s390's programs.
    pub fn sie_constants(&self) -> &[(i32, u32)] {
        match &self.exits {
            Exits::Sie(layout) => &layout.offsets,
            _ => &[],
        }
    }

    /// The constants of the scheduler's programs; those of the way that is not taken are absent.
    pub fn sched_constants(&self) -> Vec<(i32, u32)> {
        match self.sched {
            Sched::Raw(offsets) => vec![
                (config::SCHED, 1),
                (config::OFF_TASK_PID, offsets.pid),
                (config::OFF_TASK_STATE, offsets.state.unwrap_or(ABSENT)),
            ],
            Sched::Classic(layout) => vec![
                (config::SCHED, 1),
                (config::OFF_SWITCH_PREV, layout.prev_pid),
                (config::OFF_SWITCH_STATE, layout.prev_state),
                (config::OFF_SWITCH_NEXT, layout.next_pid),
                (config::OFF_WAKEUP_PID, layout.woken_pid),
            ],
            Sched::Off(_) => vec![(config::SCHED, 0)],
        }
    }
}

fn exits(path: Attach, types: &Result<Types, BtfError>) -> Result<Exits, Unsupported> {
    let layout = tracefs::layout()?;
    if path == Attach::Tp {
        return Ok(Exits::Classic(layout, "classic tracepoints, as asked for".to_owned()));
    }
    match raw::layout(types) {
        Ok(raw) => Ok(Exits::Raw(layout, raw)),
        Err(why) if path == Attach::Raw => Err(Unsupported::new(
            format!("raw tracepoints cannot be used: {why}"),
            "use --attach tp or auto",
        )),
        Err(why) => Ok(Exits::Classic(layout, format!("classic tracepoints, because {why}"))),
    }
}

fn sie_exits(path: Attach) -> Result<Exits, Unsupported> {
    let layout = sie::layout()?;
    if path == Attach::Raw {
        let what = "raw tracepoints are not used on s390x";
        return Err(Unsupported::new(what, "use --attach tp or auto"));
    }
    Ok(Exits::Sie(layout))
}
