//! From nothing to running programs, in phases: requirements, layout, load, attach. Everything ends with the
//! process: no pins, so nothing stays behind however it dies.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::Result;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel, programs::RawTracePoint};
use tracer_ebpf::{abi, config, subkey, symbols};

use crate::{
    kernel::{
        activity::Activity,
        arch, attach, check,
        features::Kernel,
        filter::ProcessFilter,
        hook::{How, IfMissing, Role},
        host, log,
        object::{self, Jit},
        plan::{Attach, Causes, ExitStamp, Plan, Wanted},
        reader::{Missed, Reader},
        sizes,
    },
    model::{Disagreement, Interval, MeasuredParts, Threads, Unseen},
};

/// The programs, built for this machine's byte order by the build script.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/exitlat-bpf"));

/// What is traced, and with how much memory.
#[derive(Clone, Debug)]
pub struct Options {
    /// By which tracepoints exits are seen.
    pub attach: Attach,
    /// Where exits are stamped.
    pub exit_stamp: ExitStamp,
    /// Trace only the processes that [`Session::decide_process`] admits.
    pub filter: bool,
    /// Capacity of the slot table.
    pub slots: u32,
    /// Capacity of the vCPU table.
    pub vcpus: u32,
    /// Causes that each vCPU may have.
    pub max_causes: u32,
    /// Follow the scheduler's events.
    pub sched: bool,
    /// Which causes are told below a reason.
    pub causes: Causes,
    /// Keep a histogram of each vCPU's time in the guest.
    pub guest: bool,
    /// Programs report rare events from 1 on.
    pub verbose: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            attach: Attach::Auto,
            exit_stamp: ExitStamp::Event,
            filter: false,
            slots: abi::DEFAULT_SLOTS,
            vcpus: abi::DEFAULT_VCPUS,
            max_causes: abi::DEFAULT_CAUSES,
            sched: true,
            causes: Causes::Usual,
            guest: false,
            verbose: 0,
        }
    }
}

/// The programs in the kernel, attached or not.
pub struct Session {
    ebpf: Ebpf,
    reader: Reader,
    plan: Option<Plan>,
    filter: ProcessFilter,
}

impl Session {
    /// Checks the host, loads the programs and attaches them. With a filter `admitted` are the processes that
    /// are traced from the start.
    ///
    /// # Errors
    /// [`crate::kernel::Unsupported`] if the host lacks something; others if the kernel refuses.
    pub fn start(options: &Options, admitted: &[u32]) -> Result<Self> {
        check::may_load()?;
        let wanted = Wanted {
            attach: options.attach,
            exit_stamp: options.exit_stamp,
            sched: options.sched,
            causes: options.causes.clone(),
        };
        let mut plan = Plan::choose(&Kernel::read(arch::host()), arch::host(), &wanted)?;
        let mut session = match Self::loaded(options, &plan) {
            // Typed loads need the JIT, whose setting other network namespaces do not show.
            Err(error) if plan.cast.is_some() && object::jit() == Jit::NotShown => {
                ::log::debug!("no typed loads: {error:#}");
                plan.cast = None;
                Self::loaded(options, &plan)?
            }
            session => session?,
        };
        for pid in admitted {
            session.decide_process(*pid, true)?;
        }
        session.attach(&mut plan)?;
        session.reader.start(plan.measured());
        session.plan = Some(plan);
        Ok(session)
    }

    /// Loads the object. Without a plan, only programs that read no event can be attached.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn load(options: &Options, plan: Option<&Plan>) -> Result<Self> {
        let log_level = log::program_level(options.verbose);
        let mut object = OBJECT.to_vec();
        let casts = plan.and_then(|plan| plan.cast).map_or(0, |numbers| object::casts(&mut object, numbers));
        let tallies = sizes::tallies(options.slots, plan.is_none_or(has_causes_of_guests));
        let mut constants = vec![
            (config::ISA_DEFAULT, host::default_isa().map_or(0, |isa| isa.0)),
            (config::FILTER, options.filter.into()),
            (config::CAST, (casts != 0).into()),
            (config::PREEMPTIBLE, plan.is_some_and(|plan| plan.preemptible).into()),
            (config::GUEST, options.guest.into()),
            (config::ASKED_VCPUS, options.vcpus),
            (config::ASKED_SLOTS, options.slots),
            (config::ASKED_TALLIES, tallies),
            (config::MAX_CAUSES, options.max_causes),
        ];
        match plan {
            Some(plan) => {
                let found = plan.constants();
                let usual =
                    config::usual::ALL.iter().all(|(mark, offset)| found.contains(&(*mark, *offset as u32)));
                constants.push((config::USUAL_RECORDS, usual.into()));
                constants.extend(found);
                constants.push((config::HALTS_ONLY, plan.halts_only.into()));
            }
            // The events come from a test, which brings all kinds.
            None => constants.extend([(config::SCHED, 1), (config::CAUSES, 1), (config::HALTS_ONLY, 1)]),
        }
        object::constants(&mut object, &constants)?;
        let [slots, tallies, vcpus] = [options.slots, tallies, options.vcpus].map(sizes::with_reserve);
        let mut ebpf = EbpfLoader::new()
            // The default prints all states of every program, which only costs time; an error brings the log.
            .verifier_log_level(VerifierLogLevel::STATS)
            .override_global(symbols::LOG_LEVEL, &log_level, true)
            .map_max_entries(symbols::SLOTS, sizes::with_nobody(slots))
            .map_max_entries(symbols::TALLIES, sizes::with_nobody(tallies))
            .map_max_entries(symbols::SLOT_OF, slots.saturating_add(tallies))
            .map_max_entries(symbols::FREE_SLOTS, slots)
            .map_max_entries(symbols::FREE_TALLIES, tallies)
            .map_max_entries(symbols::VCPUS, sizes::with_nobody(vcpus))
            .map_max_entries(symbols::VCPU_OF, vcpus)
            .map_max_entries(symbols::FREE_VCPUS, vcpus)
            .load(&object)
            .map_err(|error| attach::refused(error.into()))?;
        let reader = Reader::new(&mut ebpf)?;
        let filter = ProcessFilter::new(&mut ebpf)?;
        Ok(Self { ebpf, reader, filter, plan: None })
    }

    /// Loads the object and all programs of the plan. They are loaded before one is attached, to keep the
    /// time between the attachments short.
    fn loaded(options: &Options, plan: &Plan) -> Result<Self> {
        let mut session = Self::load(options, Some(plan))?;
        for attachment in &plan.attachments {
            attach::load(&mut session.ebpf, attachment.hook, attachment.way, attachment.type_id)?;
        }
        Ok(session)
    }

    /// Attaches in the order of the plan. What the kernel refuses is known only by trying.
    fn attach(&mut self, plan: &mut Plan) -> Result<()> {
        let mut refused = Vec::new();
        for attachment in &plan.attachments {
            let (hook, way) = (attachment.hook, attachment.way);
            let Err(error) = attach::attach(&mut self.ebpf, hook, way) else { continue };
            let refusal = attach::refusal(&error);
            if way.how != How::Kprobe && refusal.is_none() {
                return Err(error.context(match hook.role.is_breakdown() {
                    true => "cannot attach the time-breakdown programs; try --no-sched",
                    false => "cannot attach to the KVM tracepoints",
                }));
            }
            let instead = refusal.is_some().then(|| hook.raw_without_fields(way)).flatten();
            if let Some(raw) = instead {
                attach::load(&mut self.ebpf, hook, raw, None)?;
                attach::attach(&mut self.ebpf, hook, raw)?;
            } else if hook.if_missing == IfMissing::Refuse {
                return Err(refusal.map_or(error, anyhow::Error::new));
            }
            let why = refusal.map_or_else(|| format!("{error:#}"), |refusal| refusal.what);
            refused.push((way.program, instead, why));
        }
        for (program, instead, why) in refused {
            ::log::debug!("{why}");
            match instead {
                Some(raw) => plan.replace(program, raw),
                None => plan.give_up(program, why),
            }
        }
        Ok(())
    }

    /// A raw tracepoint program, loaded.
    ///
    /// # Errors
    /// If there is no such program, or the kernel refuses it.
    pub fn raw(&mut self, name: &'static str) -> Result<&mut RawTracePoint> {
        attach::raw(&mut self.ebpf, name)
    }

    /// Processes that a filter has noted and that are to be judged.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn undecided_processes(&mut self) -> Result<Vec<u32>> {
        self.filter.undecided()
    }

    /// Decides whether a process is traced.
    ///
    /// # Errors
    /// If the map is full.
    pub fn decide_process(&mut self, pid: u32, traced: bool) -> Result<()> {
        self.filter.decide(pid, traced)
    }

    /// Takes down the names of new VMs.
    pub fn greet(&mut self) {
        self.reader.greet();
    }

    /// Fills `interval` with the samples since the last reading.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn read(&mut self, interval: &mut Interval) -> Result<()> {
        let missed = self.missed_runs();
        self.reader.read(interval, missed, false)
    }

    /// Fills `interval` for the last time: samples that cannot be read now count as lost.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn read_last(&mut self, interval: &mut Interval) -> Result<()> {
        let missed = self.missed_runs();
        if self.plan.as_ref().is_some_and(|plan| plan.exits_by() == How::Raw) {
            let (shared, all) = self.reader.sharing_hints();
            ::log::debug!("{shared} of {all} vCPUs share their hint with another");
        }
        self.reader.read(interval, missed, true)
    }

    /// The threads seen so far.
    pub fn threads(&self) -> &Threads {
        self.reader.threads()
    }

    /// The plan of the attached programs; [`None`] if the events come from a test.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// How exits are seen and, if not in the cheapest way, why; for headers.
    pub fn path(&self) -> String {
        self.plan.as_ref().map(Plan::path).unwrap_or_default()
    }

    /// Where exits are stamped, for headers; see `Plan::exit_stamp`.
    pub fn exit_stamp(&self) -> &'static str {
        self.plan.as_ref().map(Plan::exit_stamp).unwrap_or_default()
    }

    /// The parts that are told apart.
    pub fn known(&self) -> MeasuredParts {
        self.reader.measured()
    }

    /// The loaded object, for its log.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Starts to count KVM's other events, which tell why there are no exits.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn listen(&mut self) -> Result<Activity> {
        Activity::start(&mut self.ebpf)
    }

    /// Detaches the counting programs: every event that they count costs time.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn stop_listening(&mut self) -> Result<()> {
        for name in symbols::ACTIVITY_PROGRAMS {
            attach::unload_tp(&mut self.ebpf, name)?;
        }
        Ok(())
    }

    /// Runs that the kernel skipped because the program was already running on that CPU; see
    /// [`crate::kernel::features::Feature::RecursionMisses`].
    fn missed_runs(&self) -> Missed {
        let of = |name: &str| -> Option<u64> {
            let program = self.ebpf.program(name)?;
            let fd = program.fd().ok()?.as_fd().as_raw_fd();
            let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
        };
        self.plan.as_ref().map(|plan| missed(plan, |program| of(program).unwrap_or(0))).unwrap_or_default()
    }

    /// Whether the programs that are loaded were compiled; [`None`] if the kernel does not say.
    pub fn is_jited(&self) -> Option<bool> {
        let attachment = self.plan.as_ref()?.attachments.first()?;
        let info = self.ebpf.program(attachment.way.program)?.info().ok()?;
        Some(info.size_jitted() != 0)
    }

    /// Takes down which vCPUs had no exit yet.
    pub fn note_unseen(&mut self, unseen: Vec<Unseen>) {
        self.reader.threads_mut().unseen = unseen;
    }

    /// Takes down which counts of KVM's are others than ours.
    pub fn note_disagreements(&mut self, disagreements: Vec<Disagreement>) {
        self.reader.threads_mut().disagreements = disagreements;
    }
}

/// Whether guests choose the value of some causes.
fn has_causes_of_guests(plan: &Plan) -> bool {
    let is_thin = |role| matches!(role, Role::Cause { kind, .. } if subkey::is_thin(subkey::new(kind, 0)));
    plan.attachments.iter().any(|it| is_thin(it.hook.role))
}

/// The runs that the kernel skipped, by the kind of loss. `of` gives the number for a program.
fn missed(plan: &Plan, of: impl Fn(&str) -> u64) -> Missed {
    let mut missed = Missed::default();
    for attachment in &plan.attachments {
        let runs = of(attachment.way.program);
        if attachment.way.how == How::Raw && !plan.preemptible && attachment.hook.role.is_exclusive() {
            missed.doubtful += runs;
        } else if attachment.hook.role.is_breakdown() {
            missed.parts += runs;
        } else {
            missed.exits += runs;
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use ::object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind};
    use tracer_ebpf::symbols;

    use super::*;
    use crate::kernel::plan::tests::{AMD, kernel, preemptible};

    #[test]
    fn runs_that_cannot_be_skipped_put_the_threads_in_doubt() {
        let arch = &arch::x86::ARCH;
        let skipped = |program: &str| match program {
            symbols::LEFT_KVM => 1,
            symbols::NESTED => 10,
            symbols::THREAD_EXIT => 100,
            symbols::TYPED_SWITCH => 1000,
            symbols::RAW_EXIT => 10_000,
            symbols::TP_LEFT_KVM => 100_000,
            symbols::TP_THREAD_EXIT => 1_000_000,
            _ => 0,
        };
        let plan = |kernel| Plan::choose(&kernel, arch, &Wanted::default()).unwrap();
        let missed = |plan: &Plan| {
            let Missed { exits, parts, doubtful } = missed(plan, skipped);
            [exits, parts, doubtful]
        };
        let nonpreemptible = plan(kernel(arch, Some(AMD), &["kvm:kvm_nested_vmrun"]));
        assert_eq!(missed(&nonpreemptible), [10_000, 1000, 111]);
        let preemptible = plan(preemptible(kernel(arch, Some(AMD), &["kvm:kvm_nested_vmrun"])));
        assert_eq!(missed(&preemptible), [1_010_000, 101_000, 0], "there it is expected");
    }

    /// For BPF the functions of these names are loops over bytes: zeroes and copies have to be stores.
    #[test]
    fn no_program_calls_a_memory_function() {
        let file = ::object::File::parse(OBJECT).unwrap();
        let named: Vec<_> = file
            .symbols()
            .filter(|symbol| symbol.name().is_ok_and(|name| ["memset", "memcpy", "memmove"].contains(&name)))
            .collect();
        let mut callers = Vec::new();
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            let code = section.data().unwrap();
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(target) = relocation.target() else { continue };
                let target = file.symbol_by_index(target).unwrap();
                // A call by section counts instructions from the one behind the section's first.
                let number = code[offset as usize + 4..][..4].try_into().map(i32::from_ne_bytes).unwrap();
                let address = (i64::from(number) + 1) * 8;
                let by_section = |function: &::object::Symbol<'_, '_>| {
                    target.kind() == ::object::SymbolKind::Section
                        && target.section_index() == function.section_index()
                        && address == function.address() as i64
                };
                if named.iter().any(|function| target.index() == function.index() || by_section(function)) {
                    callers.push((section.name().unwrap().to_owned(), offset));
                }
            }
        }
        assert_eq!(callers, []);
    }
}
