//! The kernel as a source: the session, the rule for new VMs, and the programs' log.

use anyhow::Result;

use crate::{
    cli::TraceArgs,
    kernel::{
        activity::{self, Activity as Counters},
        log::ProgramLog,
        session::{Options, Session},
        vms::{self, Vm},
    },
    model::{Interval, Threads},
    run::{
        GuestRule, Source,
        guests::{Host, Processes},
        no_exits::{Activity, ActivitySource},
    },
};

/// Running programs.
pub struct KernelSource {
    session: Session,
    rule: GuestRule,
    /// The programs' messages, with `-v`.
    log: Option<ProgramLog>,
}

impl KernelSource {
    /// Loads the programs and attaches them. A VM whose name is in the rule may start later: says so on
    /// standard error, with the VMs that are running.
    ///
    /// # Errors
    /// [`crate::cli::Usage`] for a pid that is no process; those of [`Session::start`].
    pub fn start(args: &TraceArgs, mut rule: GuestRule) -> Result<Self> {
        rule.check(&ThisHost)?;
        // Looking into all processes is not needed to trace all of them.
        let running = if rule.is_all() { Vec::new() } else { ThisHost.running() };
        let traced = rule.resolve(&running);
        if let Some(missing) = rule.missing(&running) {
            say!("exitlat: {missing}; waiting for it");
        }
        let options = Options {
            attach: args.attach,
            filter: !rule.is_all(),
            slots: args.slots,
            vcpus: args.max_vcpus,
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
        Ok(Self { session, rule, log })
    }

    /// The session, for what a header says of it.
    pub fn session(&self) -> &Session {
        &self.session
    }

    fn print_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.print();
        }
    }
}

struct ThisHost;

impl Host for ThisHost {
    fn running(&self) -> Vec<Vm> {
        vms::list()
    }

    fn exists(&self, pid: u32) -> bool {
        vms::exists(pid)
    }

    fn process_of_thread(&self, tid: u32) -> Option<u32> {
        vms::process_of_thread(tid)
    }
}

impl Processes for Session {
    fn undecided(&mut self) -> Result<Vec<u32>> {
        self.undecided_processes()
    }

    fn decide(&mut self, pid: u32, traced: bool) -> Result<()> {
        self.decide_process(pid, traced)
    }

    fn name(&self, pid: u32) -> Option<String> {
        vms::name_of(pid)
    }
}

impl Source for KernelSource {
    fn discover(&mut self) -> Result<()> {
        self.print_log();
        self.rule.apply(&mut self.session)?;
        self.session.greet();
        Ok(())
    }

    fn snapshot(&mut self, interval: &mut Interval) -> Result<()> {
        self.session.read(interval)
    }

    fn last_snapshot(&mut self, interval: &mut Interval) -> Result<()> {
        self.print_log();
        self.session.read_last(interval)
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
        Ok(Activity { guests_exit: activity::moved(&counts), explanation: activity::explain(0, &counts) })
    }

    fn stop_activity(&mut self) -> Result<()> {
        self.session.stop_listening()
    }
}
