//! The kernel as a source: the session, the rule for new VMs, and the programs' log.

use std::time::Duration;

use anyhow::Result;

use crate::{
    cli::{TraceArgs, Usage},
    kernel::{
        activity::{self, Activity as Counters},
        check,
        log::ProgramLog,
        session::{Options, Session},
        vms::{self, Vm},
    },
    model::{Interval, Threads},
    run::{
        GuestRule, Signals, Source,
        guests::{Host, Processes},
        no_exits::{Activity, ActivitySource},
    },
};

/// How often a VM is looked for that is not running yet.
const LOOK: Duration = Duration::from_millis(100);

/// Running programs.
pub struct KernelSource {
    session: Session,
    rule: GuestRule,
    /// The programs' messages, with `-v`.
    log: Option<ProgramLog>,
}

impl KernelSource {
    /// Waits until every name of the rule has a VM, then loads the programs and attaches them. [`None`] if a signal came
    /// first.
    ///
    /// # Errors
    /// [`Usage`] for a pid that is no process, or if `--duration` ends before the VMs have come; those of
    /// [`Session::start`], the missing right to load programs first of all.
    pub async fn start(args: &TraceArgs, rule: GuestRule, signals: &mut Signals) -> Result<Option<Self>> {
        rule.check(&ThisHost)?;
        // Nobody should wait for a VM on a host that cannot trace it.
        check::may_load()?;
        let arrived = tokio::select! {
            biased;
            arrived = arrival(&rule, &ThisHost, args.duration) => arrived?,
            () = signals.end() => return Ok(None),
        };
        let pids = rule.resolve(&arrived);
        if pids.len() > tracer_ebpf::abi::MAX_FILTER_PIDS {
            log::warn!(
                "{} processes are more than the kernel side filters ({}): all are traced, only these are shown",
                pids.len(),
                tracer_ebpf::abi::MAX_FILTER_PIDS
            );
        }
        let options = Options {
            attach: args.attach,
            pids,
            slots: args.slots,
            vcpus: args.max_vcpus,
            sched: !args.no_sched,
            guest: args.guest_histogram,
            verbose: args.verbose,
        };
        let mut session = Session::start(&options)?;
        let log = match args.verbose {
            0 => None,
            _ => Some(ProgramLog::open(session.ebpf())?),
        };
        if log.is_some() {
            say!("exitlat: attached by {}", session.path());
        }
        Ok(Some(Self { session, rule, log }))
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

/// The VMs that are running when each name of the rule has one. Says on standard error what it waits for.
async fn arrival(rule: &GuestRule, host: &impl Host, limit: Option<Duration>) -> Result<Vec<Vm>> {
    let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
    let mut told = String::new();
    loop {
        // Looking into all processes is not needed to trace all of them.
        let running = if rule.is_all() { Vec::new() } else { host.running() };
        let Some(missing) = rule.missing(&running) else { return Ok(running) };
        if deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline) {
            return Err(Usage(missing).into());
        }
        if missing != told {
            say!("exitlat: waiting: {missing}");
            told = missing;
        }
        tokio::time::sleep(LOOK).await;
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

/// The filter of the programs is set when they are loaded, so no process waits for a verdict.
impl Processes for Session {
    fn undecided(&mut self) -> Vec<u32> {
        Vec::new()
    }

    fn decide(&mut self, _: u32, _: bool) -> Result<()> {
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::cli::VmArgs;

    /// A VM starts at the third look.
    struct Late(Cell<u32>);

    impl Host for Late {
        fn running(&self) -> Vec<Vm> {
            self.0.set(self.0.get() + 1);
            let name = if self.0.get() < 3 { "other" } else { "web01" };
            vec![Vm { pid: 5, name: name.to_owned(), vcpus: 1 }]
        }

        fn exists(&self, _: u32) -> bool {
            true
        }

        fn process_of_thread(&self, _: u32) -> Option<u32> {
            None
        }
    }

    fn wait(name: &str, limit: Option<Duration>) -> Result<Vec<Vm>> {
        let rule = GuestRule::from(&VmArgs { guest: vec![name.parse().unwrap()], pid: Vec::new() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(arrival(&rule, &Late(Cell::new(0)), limit))
    }

    #[test]
    fn a_vm_that_is_not_running_yet_is_waited_for() {
        assert_eq!(wait("web*", None).unwrap()[0].name, "web01");
    }

    #[test]
    fn waiting_ends_with_the_duration() {
        let error = wait("db", Some(Duration::from_millis(1))).unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some_and(|usage| usage.0.contains("`db`")), "{error:#}");
    }
}
