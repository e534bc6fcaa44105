//! The kernel as a source: the session, the rule for new VMs, and the programs' log.

use std::collections::HashSet;

use anyhow::Result;

use crate::{
    cli::{TraceArgs, Usage},
    kernel::{
        activity::{Activity as Counters, Meaning},
        census::{self, Census},
        counters::{self, Before, Counters as KvmCounters},
        host::{self, Version, kernel_version},
        log::ProgramLog,
        namespaces,
        session::{Options, Session},
        sizes::Sizes,
        vms::{self, Vm},
    },
    model::{
        Counter, Interval, Known, Threads,
        self_check::{COMPARABLE, SelfCheck},
    },
    render::escape,
    run::{
        GuestRule, Source,
        guests::{Host, Processes},
        no_exits::{Activity, ActivitySource, Verdict},
    },
};

/// Running programs.
pub struct KernelSource {
    session: Session,
    rule: GuestRule,
    /// The programs' messages, with `-v`.
    log: Option<ProgramLog>,
    /// The open vCPUs; [`None`] where pids do not fit.
    census: Option<Census>,
    /// KVM's own counters, if they were asked for.
    counters: Option<KvmCounters>,
    /// Our count of exits against KVM's, where both count the same.
    check: Option<SelfCheck>,
    /// The processes whose counts were said to differ.
    told: HashSet<u32>,
}

impl KernelSource {
    /// Loads the programs and attaches them. A VM whose name is in the rule may start later: says so on
    /// standard error, with the VMs that are running.
    ///
    /// # Errors
    /// [`crate::cli::Usage`] for a pid that is no process; those of [`Session::start`].
    pub fn start(args: &TraceArgs, mut rule: GuestRule) -> Result<Self> {
        let mut census = (!namespaces::is_pid_namespace()).then(Census::default);
        match &mut census {
            Some(census) => census.look_at_all(&census::ThisHost),
            None if !rule.is_all() => {
                let (what, remedy) = (namespaces::PIDS_DO_NOT_FIT, namespaces::HOST_PIDS);
                return Err(Usage::new(format!("-p and -g do not work here: {what}; {remedy}")).into());
            }
            None => say!("exitlat: {}; VMs are named after their threads", namespaces::PIDS_DO_NOT_FIT),
        }
        let host = ThisHost { running: census.as_ref().map(Census::running).unwrap_or_default() };
        rule.check(&host)?;
        let traced = rule.resolve(&host.running);
        if let Some(missing) = rule.missing(&host.running) {
            say!("exitlat: {missing}; waiting for it");
        }
        let open = rule.open_vcpus(&host.running);
        let by_host = Sizes::for_open(open);
        let sizes = Sizes {
            slots: args.slots.unwrap_or(by_host.slots),
            vcpus: args.max_vcpus.unwrap_or(by_host.vcpus),
        };
        if let Some(text) = sizes.too_small(open).filter(|_| !rule.has_names()) {
            say!("exitlat: the tables may be too small: {text}");
        }
        let options = Options {
            attach: args.attach,
            exit_stamp: args.exit_stamp,
            filter: !rule.is_all(),
            slots: sizes.slots,
            vcpus: sizes.vcpus,
            max_causes: args.max_causes,
            sched: !args.no_sched,
            causes: args.causes.clone().unwrap_or_default(),
            guest: args.guest_histogram,
            verbose: args.verbose,
        };
        let mut session = Session::start(&options, &traced)?;
        let log = match args.verbose {
            0 => None,
            _ => Some(ProgramLog::open(session.ebpf())?),
        };
        if log.is_some() {
            say!("exitlat: attached by {}", session.path());
        }
        let counters = args.counters.map(KvmCounters::new);
        let (major, minor) = COMPARABLE.since;
        let is_comparable =
            counters.is_some() && census.is_some() && kernel_version() >= Version(major, minor);
        let check = is_comparable.then(|| SelfCheck::new(rule.is_all()));
        let mut source = Self { session, rule, log, census, counters, check, told: HashSet::new() };
        // Growth is measured from here on.
        source.read_counters(&mut Vec::new());
        Ok(source)
    }

    /// The session, for what a header says of it.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Takes down which vCPUs had no exit yet.
    fn count_unseen(&mut self) {
        if let Some(census) = &mut self.census {
            let wanted = |pid, vm: &Known| self.rule.traces(pid, Some(vm));
            let unseen = census.unseen(self.session.threads(), wanted);
            self.session.note_unseen(unseen);
        }
    }

    /// Appends readings of KVM's own counters.
    fn read_counters(&mut self, out: &mut Vec<Counter>) {
        let Some(counters) = &mut self.counters else { return };
        let running = self.census.as_ref().map(Census::running);
        counters.look(host::monotonic_ns(), &VmOwners { running, rule: &self.rule }, out);
        if let Some(why) = counters.complaint() {
            say!("exitlat: {why}");
        }
    }

    /// KVM's counts before a reading of ours.
    fn before(&mut self) -> Option<Before> {
        self.check.as_ref().and(self.counters.as_mut())?.before()
    }

    /// Holds a reading against KVM's counts before and after it, and says once of a process that they differ.
    fn compare(&mut self, before: Option<Before>, interval: &Interval) {
        let Some(check) = &mut self.check else { return };
        let living = before.as_ref().map(|before| before.living.clone());
        let looks = before.map(Before::after).unwrap_or_default();
        check.count(interval.with(self.session.threads()));
        check.compare(looks);
        if let Some(living) = living {
            check.retain(&living);
            self.told.retain(|pid| living.contains(pid));
        }
        let found = check.disagreements();
        for it in found.iter().filter(|it| self.told.insert(it.pid)) {
            say!("exitlat: {}[{}]: {it}", escape::terminal(&it.vm), it.pid);
        }
        self.session.note_disagreements(found);
    }

    fn print_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.print();
        }
    }
}

/// The host, whose descriptors were read once.
struct ThisHost {
    running: Vec<Vm>,
}

impl Host for ThisHost {
    fn running(&self) -> &[Vm] {
        &self.running
    }

    fn exists(&self, pid: u32) -> bool {
        vms::exists(pid)
    }

    fn process_of_thread(&self, tid: u32) -> Option<u32> {
        vms::process_of_thread(tid)
    }
}

/// The processes of VMs whose counters are read; no list in a pid namespace.
struct VmOwners<'a> {
    running: Option<Vec<Vm>>,
    rule: &'a GuestRule,
}

impl counters::Host for VmOwners<'_> {
    fn process(&self, tid: u32, fd: u32) -> Option<u32> {
        match &self.running {
            Some(running) => vms::process_of_vm(tid, fd, running),
            // The number of another namespace: /proc would have another process, or none.
            None => Some(tid),
        }
    }

    fn name(&self, pid: u32) -> Option<String> {
        let (name, known) = match &self.running {
            Some(running) => {
                let known = running.iter().find(|vm| vm.pid == pid);
                let known = known.map(|vm| (vm.name.clone(), vm.known.clone()));
                known.or_else(|| vms::ask(pid).map(|told| (told.name, told.known)))?
            }
            None => (format!("pid {pid}"), Known::default()),
        };
        self.rule.traces(pid, Some(&known)).then_some(name)
    }

    fn processes(&self) -> Vec<u32> {
        self.running.iter().flatten().map(|vm| vm.pid).collect()
    }
}

impl Processes for Session {
    fn undecided(&mut self) -> Result<Vec<u32>> {
        self.undecided_processes()
    }

    fn decide(&mut self, pid: u32, traced: bool) -> Result<()> {
        self.decide_process(pid, traced)
    }

    fn ask(&self, pid: u32) -> Option<Known> {
        vms::ask(pid).map(|told| told.known)
    }
}

impl Source for KernelSource {
    fn discover(&mut self) -> Result<()> {
        self.print_log();
        self.rule.apply(&mut self.session)?;
        self.session.greet();
        if let Some(census) = &mut self.census {
            census.look(&census::ThisHost);
        }
        Ok(())
    }

    fn snapshot(&mut self, interval: &mut Interval) -> Result<()> {
        let before = self.before();
        self.session.read(interval)?;
        self.compare(before, interval);
        self.count_unseen();
        self.read_counters(&mut interval.counters);
        Ok(())
    }

    fn last_snapshot(&mut self, interval: &mut Interval) -> Result<()> {
        self.print_log();
        let before = self.before();
        self.session.read_last(interval)?;
        self.compare(before, interval);
        self.count_unseen();
        self.read_counters(&mut interval.counters);
        Ok(())
    }

    fn threads(&self) -> &Threads {
        self.session.threads()
    }
}

impl ActivitySource for KernelSource {
    type Probe = Counters;

    fn start_activity(&mut self) -> Result<Counters> {
        self.session.listen()
    }

    fn activity(&self, counters: &Counters) -> Result<Activity> {
        let counts = counters.counts()?;
        let verdict = match counts.meaning(0) {
            Meaning::Exits | Meaning::Quiet | Meaning::Unknown => Verdict::Traceable,
            Meaning::Spinning => Verdict::Spinning,
            Meaning::Silent => Verdict::Silent,
        };
        Ok(Activity { verdict, explanation: counts.explain(0) })
    }

    fn stop_activity(&mut self) -> Result<()> {
        self.session.stop_listening()
    }
}
