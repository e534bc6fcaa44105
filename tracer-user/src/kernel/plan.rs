//! Which programs will be attached to which events: the table of events, filtered by what the running kernel
//! has. Made once, before anything is loaded.

mod wanted;

use tracer_ebpf::part::Part;

use crate::{
    kernel::{
        Unsupported,
        arch::Arch,
        btf::Cast,
        features::{Feature, Kernel},
        hook::{Field, Hook, How, IfMissing, Role, Source, Unless, Way},
    },
    model::MeasuredParts,
    tracepoint::fields::{self, Field as Found},
};

pub use wanted::{Attach, Causes, ExitStamp, Wanted};

/// A program that will be attached.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The event.
    pub hook: &'static Hook,
    /// The program.
    pub way: &'static Way,
    /// The constants that its fields give.
    constants: Vec<(i32, u32)>,
    /// What is lost because the event's record lacks a field.
    pub without: Vec<&'static str>,
    /// The number of the event's type, for a program whose arguments are typed.
    pub type_id: Option<u32>,
}

/// An event that will not be seen.
#[derive(Clone, Debug)]
pub struct Missing {
    /// The event.
    pub hook: &'static Hook,
    /// Why the event will not be seen.
    pub why: String,
    /// The effect on the trace, for people.
    pub effect: &'static str,
    /// Whether something is lost; else the trace costs more.
    pub is_loss: bool,
}

impl Missing {
    /// [`None`] for an event that is needed.
    fn new(hook: &'static Hook, why: String) -> Option<Self> {
        let (effect, is_loss) = match hook.if_missing {
            IfMissing::Refuse => return None,
            IfMissing::Lose(effect) => (effect, true),
            IfMissing::Cost(effect) => (effect, false),
        };
        Some(Self { hook, why, effect, is_loss })
    }
}

/// The effect of a raw program that the kernel may skip.
const SKIPPABLE: &str = "the kernel may skip its program; such runs are counted";

/// All that will be attached.
#[derive(Debug)]
pub struct Plan {
    /// The programs, in the order in which they are attached.
    pub attachments: Vec<Attachment>,
    /// Events that are not there, or not wanted.
    pub missing: Vec<Missing>,
    /// Numbers for typed loads, if raw programs use them.
    pub cast: Option<Cast>,
    /// Raw programs outside of the scheduler can be preempted.
    pub preemptible: bool,
    /// The event that ends a halt comes at no other wait.
    pub halts_only: bool,
    /// Whether the host's interrupts run before the exit event; [`None`] if that is not known.
    late_exits: Option<bool>,
    /// Why exits are not seen by raw tracepoints.
    why_not_raw: Option<String>,
}

impl Plan {
    /// Filters the table.
    ///
    /// # Errors
    /// [`Unsupported`] if the kernel lacks an event that is needed, or the means that `wanted` asks for.
    pub fn choose(kernel: &Kernel, arch: &Arch, wanted: &Wanted) -> Result<Self, Unsupported> {
        let preemptible = kernel.has(Feature::PreemptibleRaw);
        let halts_only = kernel.has(Feature::HaltsOnly);
        let mut plan = Self {
            attachments: Vec::new(),
            missing: Vec::new(),
            cast: None,
            preemptible,
            halts_only,
            late_exits: kernel.has_late_exits(),
            why_not_raw: None,
        };
        let table = Table { kernel, hooks: arch.events(), preemptible };
        let exit = plan.exits(&table, arch, wanted.attach)?;
        let breakdown: &[How] =
            if preemptible { &[How::Tp, How::Raw, How::Kprobe] } else { &[How::Raw, How::Tp, How::Kprobe] };
        for role in [Role::KvmRunReturn, Role::HaltEnd, Role::KvmRunEntry, Role::ThreadEnd] {
            plan.take(table.first(role, breakdown))?;
        }
        let sched: &[How] = if wanted.attach == Attach::Tp { &[How::Tp] } else { &[How::Typed, How::Tp] };
        plan.scheduler(&table, sched, wanted.sched)?;
        if wanted.exit_stamp == ExitStamp::IrqOff {
            plan.stamp(&table, arch)?;
        }
        let has_own_vmcb = kernel
            .kvm_types
            .as_ref()
            .is_ok_and(|found| found.iter().any(|(constant, _)| *constant == tracer_ebpf::config::KEEP_VMCB));
        if exit == How::Raw && has_own_vmcb {
            plan.take(table.first(Role::NestedEntry, &[How::Raw]))?;
        }
        for hook in &table.hooks {
            if let Role::Cause { kind, by_default } = hook.role
                && wanted.causes.has(kind, by_default)
            {
                plan.take(table.resolve(hook, &[How::Raw, How::Tp]))?;
            }
        }
        plan.attachments.sort_by_key(|attachment| attachment.hook.role);
        plan.cast = kernel.cast.filter(|_| plan.attachments.iter().any(|it| it.way.how == How::Raw));
        Ok(plan)
    }

    /// Plans exits and entries: both by raw tracepoints, or both by tracepoints.
    fn exits(&mut self, table: &Table<'_>, arch: &Arch, attach: Attach) -> Result<How, Unsupported> {
        let has_raw = table
            .hooks
            .iter()
            .filter(|hook| hook.role == Role::Exit)
            .any(|hook| hook.ways.iter().any(|way| way.how == How::Raw));
        let raw = match attach {
            Attach::Tp => Err("as asked for".to_owned()),
            Attach::Raw if !has_raw => {
                let what = format!("raw tracepoints are not used on {}", arch.name);
                return Err(Unsupported::new(what, "use --attach tp or auto"));
            }
            _ => table
                .first(Role::Exit, &[How::Raw])
                .map_err(|missing| format!("because {}", missing.why.what)),
        };
        let exit = match raw {
            Ok(exit) => exit,
            Err(why) if attach == Attach::Raw => {
                let why = why.trim_start_matches("because ");
                let what = format!("raw tracepoints cannot be used: {why}");
                return Err(Unsupported::new(what, "use --attach tp or auto"));
            }
            Err(why) => {
                self.why_not_raw = has_raw.then_some(why);
                let entry = table.first(Role::Entry, &[How::Tp]);
                table.first(Role::Exit, &[How::Tp]).map_err(|missing| match entry {
                    Ok(_) => missing.why,
                    // Without KVM both are absent.
                    Err(Absent { why, .. }) => {
                        Unsupported::new(format!("{}; {}", missing.why.what, why.what), missing.why.remedy)
                    }
                })?
            }
        };
        let how = exit.way.how;
        self.attachments.push(exit);
        self.take(table.first(Role::Entry, &[how]))?;
        Ok(how)
    }

    /// Stamps of exits before the host's interrupts, where the exit event comes after them.
    fn stamp(&mut self, table: &Table<'_>, arch: &Arch) -> Result<(), Unsupported> {
        match self.late_exits {
            Some(false) => Ok(()),
            Some(true) => self.take(table.first(Role::ExitStamp, &[How::Kprobe])),
            None => {
                let what =
                    format!("it is not known where exits can be stamped on this {} processor", arch.name);
                Err(Unsupported::new(what, "leave out --exit-stamp"))
            }
        }
    }

    /// Whether exits are stamped before or after the host's interrupts run; empty if that is not known.
    pub fn exit_stamp(&self) -> &'static str {
        match self.late_exits {
            Some(true) if self.of(Role::ExitStamp).is_none() => "after interrupts",
            Some(_) => "before interrupts",
            None => "",
        }
    }

    /// The scheduler's events: all in one way, or none.
    fn scheduler(&mut self, table: &Table<'_>, ways: &[How], wanted: bool) -> Result<(), Unsupported> {
        let both = |how: How| -> Result<Vec<Attachment>, Absent> {
            [Role::Wakeup, Role::Switch].into_iter().map(|role| table.first(role, &[how])).collect()
        };
        let turned_off = || Unsupported::new("turned off", "leave out --no-sched");
        let mut outcome = Err(turned_off());
        for how in ways.iter().copied().filter(|_| wanted) {
            outcome = both(how).map_err(|absent| absent.why);
            if outcome.is_ok() {
                break;
            }
        }
        match outcome {
            Ok(attachments) => self.attachments.extend(attachments),
            Err(why) => {
                for hook in table.hooks.iter().copied().filter(|hook| hook.role.is_scheduler()) {
                    self.take(Err(Absent { hook, why: why.clone() }))?;
                }
            }
        }
        Ok(())
    }

    /// Notes what was found, or what is lost without it.
    fn take(&mut self, found: Result<Attachment, Absent>) -> Result<(), Unsupported> {
        match found {
            Ok(attachment) => self.attachments.push(attachment),
            Err(Absent { hook, why }) => {
                let missing = Missing::new(hook, why.what.clone());
                self.missing.push(missing.ok_or(why)?);
            }
        }
        Ok(())
    }

    /// Removes an event that the kernel refuses to attach to.
    pub(super) fn give_up(&mut self, program: &str, why: String) {
        let Some(place) = self.attachments.iter().position(|it| it.way.program == program) else { return };
        let hook = self.attachments.remove(place).hook;
        self.missing.extend(Missing::new(hook, why));
    }

    /// Replaces a program that the kernel refuses to attach by a raw one.
    pub(super) fn replace(&mut self, program: &str, raw: &'static Way) {
        let Some(attachment) = self.attachments.iter_mut().find(|it| it.way.program == program) else {
            return;
        };
        attachment.way = raw;
        attachment.constants.clear();
        if self.preemptible {
            attachment.without.push(SKIPPABLE);
        }
    }

    /// Whether the breakdown comes from programs that the kernel may skip, though others are available.
    pub fn is_breakdown_in_doubt(&self) -> bool {
        self.attachments.iter().any(|it| it.hook.role.is_breakdown() && it.without.contains(&SKIPPABLE))
    }

    /// The constants that the programs need, each once; all others of the object are absent.
    pub fn constants(&self) -> Vec<(i32, u32)> {
        let mut constants: Vec<(i32, u32)> = Vec::new();
        for (constant, value) in self.attachments.iter().flat_map(|it| &it.constants) {
            if constants.iter().all(|(known, _)| known != constant) {
                constants.push((*constant, *value));
            }
        }
        constants
    }

    fn of(&self, role: Role) -> Option<&Attachment> {
        self.attachments.iter().find(|attachment| attachment.hook.role == role)
    }

    /// By which kind of program exits are seen.
    pub fn exits_by(&self) -> How {
        self.of(Role::Exit).map_or(How::Tp, |exit| exit.way.how)
    }

    /// How exits are seen and, if not in the cheapest way, why; for headers and `check`.
    pub fn path(&self) -> String {
        let how = self.exits_by();
        match (&self.why_not_raw, how) {
            (Some(why), _) => format!("{}, {why}", how.name()),
            (None, How::Raw) if self.cast.is_some() => format!("{} and typed loads", how.name()),
            (None, _) => how.name().to_owned(),
        }
    }

    /// How the breakdown is seen, and how exact it is; for `check`.
    pub fn breakdown(&self) -> String {
        let missing = |role: Role| self.missing.iter().find(|missing| missing.hook.role == role);
        let sched = match (self.of(Role::Switch), missing(Role::Switch)) {
            (Some(switch), _) => format!("the scheduler by {}", switch.way.how.name()),
            (None, Some(missing)) => {
                format!("the scheduler not at all ({}): {}", missing.why, missing.effect)
            }
            (None, None) => "the scheduler not at all".to_owned(),
        };
        let call = match (self.of(Role::KvmRunEntry), missing(Role::KvmRunEntry)) {
            (Some(call), _) => {
                format!("KVM_RUN entry by {} ({}): {}", call.hook.event, call.way.how.id(), call.hook.tells)
            }
            (None, Some(missing)) => format!("KVM_RUN entry not traced: {}", missing.effect),
            (None, None) => "KVM_RUN entry not traced".to_owned(),
        };
        format!("{sched}; {call}")
    }

    /// The parts that are told apart.
    pub fn measured(&self) -> MeasuredParts {
        let mut measured = vec![Part::Kernel, Part::Poll, Part::Halt, Part::User];
        if self.of(Role::Switch).is_some() {
            measured.extend([Part::Blocked, Part::Runqueue, Part::UserBlocked, Part::Stopped]);
        }
        MeasuredParts::of(&measured)
    }
}

/// An event that the kernel does not have, and why.
#[derive(Debug)]
struct Absent {
    hook: &'static Hook,
    why: Unsupported,
}

/// The table of events, checked against a kernel.
struct Table<'a> {
    kernel: &'a Kernel,
    hooks: Vec<&'static Hook>,
    preemptible: bool,
}

impl Table<'_> {
    /// The first hook of a role that the kernel allows, by the first of these ways; else why the last one is
    /// absent.
    fn first(&self, role: Role, ways: &[How]) -> Result<Attachment, Absent> {
        let mut hooks = self.hooks.iter().filter(|hook| hook.role == role);
        let mut outcome = self.resolve(hooks.next().expect("every role has a hook"), ways);
        while outcome.is_err()
            && let Some(hook) = hooks.next()
        {
            outcome = self.resolve(hook, ways);
        }
        outcome
    }

    /// The first of these ways that the kernel allows for a hook; else why the last one is not.
    fn resolve(&self, hook: &'static Hook, ways: &[How]) -> Result<Attachment, Absent> {
        if let Some(why) = self.misleading(hook) {
            return Err(Absent { hook, why: Unsupported::new(why, "") });
        }
        let mut last = Unsupported::new(format!("there is no program for {}", hook.event), "");
        for way in ways.iter().filter_map(|how| hook.ways.iter().find(|way| way.how == *how)) {
            match self.attachment(hook, way) {
                Ok(attachment) => return Ok(attachment),
                Err(why) => last = why,
            }
        }
        Err(Absent { hook, why: last })
    }

    fn misleading(&self, hook: &Hook) -> Option<String> {
        match hook.unless {
            Unless::CpuFlag(flag) if self.kernel.cpu_flags.iter().any(|known| known == flag) => {
                Some(format!("misleading on processors with {flag}"))
            }
            Unless::Skippable if self.preemptible => Some("the kernel may skip its program".to_owned()),
            _ => None,
        }
    }

    /// A program with the constants of its fields.
    fn attachment(&self, hook: &'static Hook, way: &'static Way) -> Result<Attachment, Unsupported> {
        let (mut constants, mut without) = (Vec::new(), Vec::new());
        let format = match way.how {
            How::Kprobe => String::new(),
            How::Raw | How::Typed | How::Tp => (self.kernel.format)(hook.event)?,
        };
        for field in way.fields {
            match field.source {
                Source::Flag => constants.push((field.constant, 1)),
                Source::Types => constants.extend(self.typed(hook, field)?),
                Source::Optional(_, lost) if fields::field(&format, field.name).is_none() => {
                    without.push(lost)
                }
                _ => {
                    let found = fields::field(&format, field.name).and_then(|found| offset(field, found));
                    let offset = found.ok_or_else(|| unlike(hook, field))?;
                    if !matches!(field.source, Source::At(..)) {
                        constants.push((field.constant, offset));
                    }
                }
            }
        }
        let type_id = match way.how {
            How::Typed => Some((self.kernel.type_id)(hook.event).ok_or_else(|| {
                let what = format!("BTF has no type of the tracepoint {}", hook.event);
                Unsupported::new(what, "use --attach tp or auto")
            })?),
            _ => None,
        };
        Ok(Attachment { hook, way, constants, without, type_id })
    }

    /// A constant from the kernel's types; none where the running kernel does without.
    fn typed(&self, hook: &Hook, field: &Field) -> Result<Option<(i32, u32)>, Unsupported> {
        let types = if hook.role.is_scheduler() { &self.kernel.sched_types } else { &self.kernel.kvm_types };
        let types = types.as_ref().map_err(|why| Unsupported::new(why.clone(), "use --attach tp or auto"))?;
        Ok(types.iter().find(|(constant, _)| *constant == field.constant).copied())
    }
}

/// The constant for a field that was found, if the field is as the program reads it.
fn offset(field: &Field, found: Found) -> Option<u32> {
    let fits = match field.source {
        Source::Record(size) | Source::Optional(size, _) => found.size == size,
        Source::Low32 => [4, 8].contains(&found.size),
        Source::At(offset, size) => (found.offset, found.size) == (offset, size),
        Source::Types | Source::Flag => false,
    };
    // The lower half of a long comes last on big-endian machines.
    let lower = field.source == Source::Low32 && cfg!(target_endian = "big");
    fits.then_some(found.offset + if lower { found.size.saturating_sub(4) } else { 0 })
}

fn unlike(hook: &Hook, field: &Field) -> Unsupported {
    let event = hook.event.rsplit(':').next().unwrap_or_default();
    let form = match field.source {
        Source::Record(size) | Source::Optional(size, _) => format!(" of {size} bytes"),
        Source::Low32 => " of 4 or 8 bytes".to_owned(),
        Source::At(offset, size) => format!(" of {size} bytes at offset {offset}"),
        Source::Types | Source::Flag => String::new(),
    };
    Unsupported::new(
        format!("this kernel's {event} record has no field `{}`{form}", field.name),
        format!("please report it with the contents of events/{}/format", hook.event.replace(':', "/")),
    )
}

#[cfg(test)]
pub(super) mod tests;
