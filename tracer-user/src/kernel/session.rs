//! From nothing to running programs, in phases: requirements, layout, load, attach. Everything ends with the
//! process: no pins, so nothing stays behind however it dies.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{KProbe, Program, ProgramError, RawTracePoint, TracePoint},
};
use tracer_ebpf::{abi, config, symbols};

use crate::{
    kernel::{
        Unsupported,
        activity::Activity,
        check,
        filter::ProcessFilter,
        host, log, object,
        plan::{Call, Exits, Plan, Sched},
        reader::{Missed, Reader},
        sie,
    },
    model::{Interval, MeasuredParts, Threads},
    tracepoint::fields::Field,
};

/// The programs, built for this machine's byte order by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/exitlat-bpf"));

/// By which tracepoints exits are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// Raw where this kernel's types allow, else classic
    #[default]
    Auto,
    /// Raw tracepoints: half the cost, need the kernel's BTF
    Raw,
    /// Classic tracepoints: every kernel has them
    Tp,
}

/// What is traced, and with how much memory.
#[derive(Clone, Debug)]
pub struct Options {
    /// By which tracepoints.
    pub attach: Attach,
    /// Processes to trace; none traces all.
    pub pids: Vec<u32>,
    /// Capacity of the slot table.
    pub slots: u32,
    /// Capacity of the vCPU table.
    pub vcpus: u32,
    /// Follow the scheduler's events.
    pub sched: bool,
    /// Keep a histogram of each vCPU's time in the guest.
    pub guest: bool,
    /// Programs report rare events from 1 on.
    pub verbose: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            attach: Attach::Auto,
            pids: Vec::new(),
            slots: abi::DEFAULT_SLOTS,
            vcpus: abi::DEFAULT_VCPUS,
            sched: true,
            guest: false,
            verbose: 0,
        }
    }
}

/// The programs in the kernel, attached or not.
pub struct Session {
    ebpf: Ebpf,
    reader: Reader,
    filter: ProcessFilter,
    attached: Vec<&'static str>,
    /// How many of them tell parts; they come first.
    parts_attached: usize,
    path: String,
    parts: String,
}

impl Session {
    /// Checks the host, loads the programs and attaches them.
    ///
    /// # Errors
    /// [`Unsupported`] if the host lacks something; others if the kernel refuses.
    pub fn start(options: &Options) -> Result<Self> {
        check::may_load()?;
        let mut plan = Plan::choose(options.attach, options.sched)?;
        let mut session = Self::load(options, Some(&plan))?;
        session.attach_parts(&mut plan).context(
            "cannot attach to what tells the parts of an exit; --no-sched leaves the scheduler out",
        )?;
        session.attach_exits(&plan).context("cannot attach to the KVM tracepoints")?;
        session.reader.start(plan.known());
        (session.path, session.parts) = (plan.path(), plan.parts());
        Ok(session)
    }

    /// Loads the object. Without plan only the programs that read no event can be attached.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn load(options: &Options, plan: Option<&Plan>) -> Result<Self> {
        let offset = |field: Option<Field>| field.map_or(abi::ABSENT, |field| field.offset);
        let layout = plan.and_then(Plan::layout);
        let exit_reason = offset(layout.map(|layout| layout.exit_reason));
        let exit_isa = offset(layout.and_then(|layout| layout.exit_isa));
        let exit_vcpu = offset(layout.and_then(|layout| layout.exit_vcpu));
        let raw = match plan.map(|plan| &plan.exits) {
            Some(Exits::Raw(_, raw)) => Some(raw),
            _ => None,
        };
        let vmx_reason = raw.and_then(|raw| raw.vmx_reason).unwrap_or(abi::ABSENT);
        let (svm_vmcb, svm_code) = raw.and_then(|raw| raw.svm).unwrap_or((abi::ABSENT, abi::ABSENT));
        let vcpu_id = raw.map_or(abi::ABSENT, |raw| raw.vcpu_id);
        // Without plan the events come from a test, which brings all kinds.
        let sched = plan.map_or(vec![(config::SCHED, 1)], Plan::sched_constants);
        let details = plan.is_none_or(|plan| matches!(plan.exits, Exits::Sie(_)));
        let log_level = log::program_level(options.verbose);
        let mut object = OBJECT.to_vec();
        let casts = raw.and_then(|raw| raw.cast).map_or(0, |numbers| object::casts(&mut object, numbers));
        let mut constants = vec![
            (config::OFF_EXIT_REASON, exit_reason),
            (config::OFF_EXIT_ISA, exit_isa),
            (config::OFF_EXIT_VCPU, exit_vcpu),
            (config::OFF_VMX_REASON, vmx_reason),
            (config::OFF_SVM_VMCB, svm_vmcb),
            (config::OFF_SVM_CODE, svm_code),
            (config::KEEP_VMCB, plan.and_then(Plan::nested_event).is_some().into()),
            (config::OFF_VCPU_ID, vcpu_id),
            (config::ISA_DEFAULT, host::isa_by_vendor()),
            (config::FILTER, (!options.pids.is_empty()).into()),
            (config::CAST, (casts != 0).into()),
            (config::PREEMPTIBLE, plan.is_some_and(|plan| plan.preemptible).into()),
            (config::GUEST, options.guest.into()),
            (config::CAUSES, details.into()),
        ];
        constants.extend(sched);
        constants.extend(plan.map_or(&[][..], Plan::sie_constants));
        object::constants(&mut object, &constants)?;
        let mut ebpf = EbpfLoader::new()
            // The default prints all states of every program, which only costs time; an error brings the log.
            .verifier_log_level(VerifierLogLevel::STATS)
            .override_global(symbols::LOG_LEVEL, &log_level, true)
            .map_max_entries(symbols::SLOTS, options.slots)
            .map_max_entries(symbols::SLOT_OF, options.slots)
            .map_max_entries(symbols::FREE_SLOTS, options.slots)
            .map_max_entries(symbols::VCPUS, options.vcpus)
            .map_max_entries(symbols::VCPU_OF, options.vcpus)
            .map_max_entries(symbols::FREE_VCPUS, options.vcpus)
            .load(&object)
            .map_err(|error| refused(error.into()))?;
        let reader = Reader::new(&mut ebpf)?;
        let mut filter = ProcessFilter::new(&mut ebpf)?;
        for pid in &options.pids {
            filter.decide(*pid, true)?;
        }
        Ok(Self {
            ebpf,
            reader,
            filter,
            attached: Vec::new(),
            parts_attached: 0,
            path: String::new(),
            parts: String::new(),
        })
    }

    /// What tells the parts of an exit. Attached before the exits: these programs ignore threads of which no exit
    /// was seen.
    fn attach_parts(&mut self, plan: &mut Plan) -> Result<()> {
        let mut raw = Vec::new();
        let mut classic = Vec::new();
        if plan.classic_parts {
            classic.extend([
                (symbols::TP_LEFT_KVM, "kvm:kvm_userspace_exit"),
                (symbols::TP_HALTED, "kvm:kvm_vcpu_wakeup"),
            ]);
        } else {
            raw.extend([(symbols::LEFT_KVM, "kvm_userspace_exit"), (symbols::HALTED, "kvm_vcpu_wakeup")]);
        }
        match (plan.call, plan.classic_parts) {
            (Call::Fpu, true) => classic.push((symbols::TP_ENTERED_KVM, "kvm:kvm_fpu")),
            (Call::Fpu, false) => raw.push((symbols::ENTERED_KVM, "kvm_fpu")),
            _ => {}
        }
        match plan.sched {
            Sched::Raw(_) => {
                raw.extend([(symbols::RAW_WAKEUP, "sched_wakeup"), (symbols::RAW_SWITCH, "sched_switch")]);
            }
            Sched::Classic(_) => classic.extend([
                (symbols::TP_WAKEUP, "sched:sched_wakeup"),
                (symbols::TP_SWITCH, "sched:sched_switch"),
            ]),
            Sched::Off(_) => {}
        }
        self.attach_all_classic(&classic)?;
        self.attach_all_raw(&raw)?;
        if plan.call == Call::Probe
            && let Err(error) = self.attach_probe()
        {
            ::log::debug!("no kprobe on {}: {error:#}", symbols::ENTERED_KVM_FUNCTION);
            plan.call = Call::Nothing;
        }
        self.parts_attached = self.attached.len();
        Ok(())
    }

    fn attach_probe(&mut self) -> Result<()> {
        let program: &mut KProbe = program(&mut self.ebpf, symbols::ENTERED_KVM_PROBE)?.try_into()?;
        loaded(symbols::ENTERED_KVM_PROBE, program.load())?;
        program.attach(symbols::ENTERED_KVM_FUNCTION, 0)?;
        self.attached.push(symbols::ENTERED_KVM_PROBE);
        Ok(())
    }

    /// Loads both before one is attached, to keep the time between the attachments short.
    ///
    /// Entries first: an entry of a thread of which no exit was seen is counted and otherwise ignored, while
    /// an exit whose entry is missed would have to be taken back.
    fn attach_exits(&mut self, plan: &Plan) -> Result<()> {
        if plan.classic_parts {
            self.attach_all_classic(&[(symbols::TP_THREAD_EXIT, "sched:sched_process_exit")])?;
        } else {
            self.attach_all_raw(&[(symbols::THREAD_EXIT, "sched_process_exit")])?;
        }
        match &plan.exits {
            Exits::Raw(..) => {
                if let Some(event) = plan.nested_event() {
                    self.attach_all_raw(&[(symbols::NESTED, event)])?;
                }
                self.attach_all_raw(&[(symbols::RAW_ENTRY, "kvm_entry"), (symbols::RAW_EXIT, "kvm_exit")])
            }
            Exits::Classic(..) => self.attach_all_classic(&[
                (symbols::TP_ENTRY, "kvm:kvm_entry"),
                (symbols::TP_EXIT, "kvm:kvm_exit"),
            ]),
            Exits::Sie(layout) => {
                let event = |door: &&sie::Door| format!("kvm:{}", door.event);
                let events: Vec<_> = layout.plan.iter().map(event).collect();
                let programs = layout.plan.iter().map(|door| door.program);
                let plan: Vec<_> = programs.zip(events.iter().map(String::as_str)).collect();
                self.attach_all_classic(&plan)
            }
        }
    }

    /// Attaches to events, `group:name`.
    fn attach_all_classic(&mut self, programs: &[(&'static str, &str)]) -> Result<()> {
        for (name, _) in programs {
            classic(&mut self.ebpf, name)?;
        }
        for (name, event) in programs {
            attach_classic(&mut self.ebpf, name, event)?;
            self.attached.push(name);
        }
        Ok(())
    }

    fn attach_all_raw(&mut self, programs: &[(&'static str, &str)]) -> Result<()> {
        for (name, _) in programs {
            self.raw(name)?;
        }
        for (name, event) in programs {
            self.raw(name)?.attach(event).with_context(|| format!("cannot attach to {event}"))?;
            self.attached.push(name);
        }
        Ok(())
    }

    /// Attaches one of the raw programs that do nothing, for the bench.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn attach_floor_raw(&mut self, program: &'static str) -> Result<()> {
        self.attach_all_raw(&[(program, "kvm_entry"), (program, "kvm_exit")])
    }

    /// Attaches programs that do nothing, for the bench.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn attach_floor_classic(&mut self) -> Result<()> {
        attach_classic(&mut self.ebpf, symbols::FLOOR_CLASSIC, "kvm:kvm_entry")?;
        attach_classic(&mut self.ebpf, symbols::FLOOR_CLASSIC, "kvm:kvm_exit")
    }

    /// A raw tracepoint program, loaded.
    ///
    /// # Errors
    /// If there is no such program, or the kernel refuses it.
    pub fn raw(&mut self, name: &'static str) -> Result<&mut RawTracePoint> {
        let program: &mut RawTracePoint = program(&mut self.ebpf, name)?.try_into()?;
        loaded(name, program.load())?;
        Ok(program)
    }

    /// Processes that a filter has noted and that are to be judged, see [`ProcessFilter`].
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn undecided(&mut self) -> Result<Vec<u32>> {
        self.filter.undecided()
    }

    /// Judges a process.
    ///
    /// # Errors
    /// If the map is full.
    pub fn decide(&mut self, pid: u32, traced: bool) -> Result<()> {
        self.filter.decide(pid, traced)
    }

    /// Takes down the names of new VMs.
    pub fn greet(&mut self) {
        self.reader.greet();
    }

    /// Takes an interval.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn read(&mut self, interval: &mut Interval) -> Result<()> {
        let missed = self.missed_runs();
        self.reader.read(interval, missed, false)
    }

    /// Takes the last interval: what cannot be had now is counted as lost.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn read_last(&mut self, interval: &mut Interval) -> Result<()> {
        let missed = self.missed_runs();
        self.reader.read(interval, missed, true)
    }

    /// The threads seen so far.
    pub fn threads(&self) -> &Threads {
        self.reader.threads()
    }

    /// How exits are seen and, if not in the cheapest way, why; for headers and `check`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The parts that are told apart.
    pub fn known(&self) -> MeasuredParts {
        self.reader.measured()
    }

    /// How the parts of an exit are seen, and how exact they are; for `check`.
    pub fn parts(&self) -> &str {
        &self.parts
    }

    /// The loaded object, for its log.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Starts to count KVM's other events, to say what it means that there are no exits.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn listen(&mut self) -> Result<Activity> {
        Activity::start(&mut self.ebpf)
    }

    /// Takes the counting programs off the other events again: they cost something at each of them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn stop_listening(&mut self) -> Result<()> {
        for name in symbols::ACTIVITY_PROGRAMS {
            let program: &mut TracePoint = program(&mut self.ebpf, name)?.try_into()?;
            match program.unload() {
                Ok(()) | Err(ProgramError::NotLoaded) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot unload {name}")),
            }
        }
        Ok(())
    }

    /// Runs that the kernel skipped because the program was already running on that CPU. It prints them in
    /// the program's fdinfo since 5.12 (commit 9ed9e9ba2337).
    fn missed_runs(&self) -> Missed {
        let of = |name: &&str| -> Option<u64> {
            let program = self.ebpf.program(name)?;
            let fd = program.fd().ok()?.as_fd().as_raw_fd();
            let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
        };
        let (parts, exits) = self.attached.split_at(self.parts_attached);
        Missed { exits: exits.iter().filter_map(of).sum(), parts: parts.iter().filter_map(of).sum() }
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program> {
    ebpf.program_mut(name).with_context(|| format!("the BPF object has no program {name}"))
}

fn loaded(name: &str, outcome: Result<(), ProgramError>) -> Result<()> {
    match outcome {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
        Err(error) => Err(refused(error.into()).context(format!("cannot load {name}"))),
    }
}

/// A classic tracepoint program, loaded.
fn classic<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut TracePoint> {
    let program: &mut TracePoint = program(ebpf, name)?.try_into()?;
    loaded(name, program.load())?;
    Ok(program)
}

/// Loads a classic tracepoint program and attaches it to an event, `group:name`.
pub(super) fn attach_classic(ebpf: &mut Ebpf, name: &str, event: &str) -> Result<()> {
    let (group, event) = event.split_once(':').with_context(|| format!("{event} has no group"))?;
    classic(ebpf, name)?
        .attach(group, event)
        .with_context(|| format!("cannot attach {name} to {group}:{event}"))?;
    Ok(())
}

/// A kernel's "not permitted" is a property of the host, everything else is a failure of ours.
fn refused(error: anyhow::Error) -> anyhow::Error {
    let denied = error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.raw_os_error() == Some(libc::EPERM))
    });
    if denied {
        anyhow!(Unsupported::new(
            format!("the kernel does not permit BPF here ({error:#})"),
            "run as root; in a container it needs CAP_BPF and CAP_PERFMON; `exitlat check` tells more"
        ))
    } else {
        error.context("the kernel refused the BPF programs")
    }
}
