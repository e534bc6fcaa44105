//! `-p` and `-g` as a rule: which processes are traced, those that are running and those that come later.

use anyhow::Result;

use crate::{
    cli::{Usage, VmArgs},
    kernel::vms::Vm,
    model::{Known, VmList, VmPattern},
    render::{escape, units},
};

/// Which processes are traced. An empty rule means all.
///
/// A name that exists is meant before a glob or a list of names (see [`VmList`]). VMs come while the
/// measurement goes on, so from the moment at which a VM of exactly that name is seen, no VM that comes later
/// is taken by the glob. Those that were taken before stay: their numbers do not break off.
#[derive(Clone, Debug, Default)]
pub struct GuestRule {
    pids: Vec<u32>,
    names: Vec<VmList>,
}

/// The processes that a measurement meets. A process of which the first KVM event was seen has no verdict,
/// and is not traced, until it gets one.
pub trait Processes {
    /// Processes without a verdict.
    ///
    /// # Errors
    /// If the kernel side cannot be asked.
    fn undecided(&mut self) -> Result<Vec<u32>>;

    /// Gives a process its verdict.
    ///
    /// # Errors
    /// If the kernel side cannot be told.
    fn decide(&mut self, pid: u32, traced: bool) -> Result<()>;

    /// What is known about the VM of a process; [`None`] if the process has ended.
    fn ask(&self, pid: u32) -> Option<Known>;
}

/// A look at the processes of the host.
pub trait Host {
    /// All VMs that are running.
    fn running(&self) -> &[Vm];

    /// Whether a process exists.
    fn exists(&self, pid: u32) -> bool;

    /// The process of a thread; [`None`] if there is no such thread, or if the number is that of a process.
    fn process_of_thread(&self, tid: u32) -> Option<u32>;
}

impl From<&VmArgs> for GuestRule {
    fn from(args: &VmArgs) -> Self {
        Self { pids: args.pid.clone(), names: args.guest.clone() }
    }
}

impl GuestRule {
    /// Whether every process is traced.
    pub fn is_all(&self) -> bool {
        self.pids.is_empty() && self.names.is_empty()
    }

    /// Whether a process is traced, by its pid, or by what is known about its VM. A process of which nothing
    /// is known has ended.
    pub fn traces(&self, pid: u32, vm: Option<&Known>) -> bool {
        let named = |vm: &Known| self.names.iter().any(|wanted| wanted.matches(vm));
        self.is_all() || self.pids.contains(&pid) || vm.is_some_and(named)
    }

    /// Gives every process without a verdict its verdict.
    ///
    /// # Errors
    /// If [`Processes::decide`] fails.
    pub fn apply(&mut self, processes: &mut impl Processes) -> Result<()> {
        if self.is_all() {
            // Without a filter no process is noted.
            return Ok(());
        }
        let undecided = processes.undecided()?;
        // A process that is traced by its pid needs no name.
        let named = |pid| (pid, if self.pids.contains(&pid) { None } else { processes.ask(pid) });
        let undecided: Vec<_> = undecided.into_iter().map(named).collect();
        self.notice(undecided.iter().filter_map(|(_, vm)| vm.as_ref()));
        for (pid, vm) in undecided {
            processes.decide(pid, self.traces(pid, vm.as_ref()))?;
        }
        Ok(())
    }

    /// Notes that there are these VMs.
    fn notice<'a>(&mut self, vms: impl Iterator<Item = &'a Known>) {
        vms.for_each(|vm| self.names.iter_mut().for_each(|wanted| wanted.notice(vm)));
    }

    /// The processes of the rule among those that are running now, sorted; empty if the rule means all.
    pub fn resolve(&mut self, running: &[Vm]) -> Vec<u32> {
        self.notice(running.iter().map(|vm| &vm.known));
        let named = running.iter().filter(|vm| !self.is_all() && self.traces(vm.pid, Some(&vm.known)));
        let mut pids: Vec<u32> = self.pids.iter().copied().chain(named.map(|vm| vm.pid)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Whether VMs are chosen by name.
    pub fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// The number of open vCPUs that may be traced: those of the given pids or, with names, all, because VMs
    /// of these names may still start.
    pub fn open_vcpus(&self, running: &[Vm]) -> usize {
        let counts = |vm: &&Vm| self.is_all() || self.has_names() || self.pids.contains(&vm.pid);
        running.iter().filter(counts).map(|vm| vm.vcpus).sum()
    }

    /// Refuses pids that are no processes: unlike a name, a pid cannot be waited for.
    ///
    /// # Errors
    /// [`Usage`] with the VMs that are running, or with the process of the thread that was given.
    pub fn check(&self, host: &impl Host) -> Result<(), Usage> {
        if let Some(missing) = self.pids.iter().find(|pid| !host.exists(**pid)) {
            return Err(Usage(format!("no process {missing}; {}", candidates(host.running()))));
        }
        let thread = self.pids.iter().find_map(|tid| Some((tid, host.process_of_thread(*tid)?)));
        match thread {
            Some((tid, pid)) => Err(Usage(format!("{tid} is a thread of process {pid}; use -p {pid}"))),
            None => Ok(()),
        }
    }

    /// The names that no running VM has, with those that are running, for people; [`None`] if each name has a
    /// VM. Call it after [`GuestRule::resolve`], which finds out what is a name.
    pub fn missing(&self, running: &[Vm]) -> Option<String> {
        let unmatched = |pattern: &&VmPattern| !running.iter().any(|vm| pattern.matches(&vm.known));
        let wanted = self.names.iter().flat_map(VmList::patterns);
        let names: Vec<_> = wanted.filter(unmatched).map(|name| format!("`{}`", name.typed())).collect();
        if names.is_empty() {
            return None;
        }
        Some(format!("no running VM is called {} yet; {}", names.join(" or "), candidates(running)))
    }
}

/// Said where no VM is found.
pub const NO_VM: &str = "no VM is running (or this user may not see it)";

fn candidates(running: &[Vm]) -> String {
    if running.is_empty() {
        return NO_VM.to_owned();
    }
    let vm = |vm: &Vm| {
        format!("{} (pid {}, {})", escape::terminal(&vm.name), vm.pid, units::plural(vm.vcpus, "vCPU"))
    };
    format!("running VMs: {}", running.iter().map(vm).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rule(pids: &[u32], patterns: &[&str]) -> GuestRule {
        let names = patterns.iter().map(|typed| typed.parse().unwrap()).collect();
        GuestRule { pids: pids.to_vec(), names }
    }

    fn vm(pid: u32, name: &str) -> Vm {
        Vm { pid, name: name.to_owned(), known: Known::name(name), vcpus: 2 }
    }

    /// Processes by pid, with their names, and the verdicts they got.
    #[derive(Default)]
    struct Made {
        names: BTreeMap<u32, &'static str>,
        waiting: Vec<u32>,
        verdicts: BTreeMap<u32, bool>,
    }

    impl Processes for Made {
        fn undecided(&mut self) -> Result<Vec<u32>> {
            Ok(std::mem::take(&mut self.waiting))
        }

        fn decide(&mut self, pid: u32, traced: bool) -> Result<()> {
            assert_eq!(self.verdicts.insert(pid, traced), None, "one verdict for each process");
            Ok(())
        }

        fn ask(&self, pid: u32) -> Option<Known> {
            self.names.get(&pid).map(|name| Known::name(name))
        }
    }

    #[test]
    fn vms_that_come_later_are_held_against_the_rule() {
        let mut rule = rule(&[7], &["web*"]);
        let mut made = Made {
            names: [(1, "web01"), (2, "db"), (7, "any")].into(),
            waiting: vec![1, 2],
            ..Made::default()
        };
        rule.apply(&mut made).unwrap();
        made.names.insert(3, "web02");
        // 9 has ended before anybody asked for its name.
        made.waiting = vec![3, 7, 9];
        rule.apply(&mut made).unwrap();
        assert_eq!(made.verdicts, [(1, true), (2, false), (3, true), (7, true), (9, false)].into());
    }

    #[test]
    fn names_are_resolved_and_those_without_a_vm_are_named() {
        let running = [vm(5, "web01"), vm(4, "web02"), vm(6, "db")];
        let mut wanted = rule(&[9, 4], &["web*", "x"]);
        assert_eq!(wanted.resolve(&running), [4, 5, 9]);
        assert_eq!(
            wanted.missing(&running).unwrap(),
            "no running VM is called `x` yet; running VMs: web01 (pid 5, 2 vCPUs), web02 (pid 4, 2 vCPUs), \
             db (pid 6, 2 vCPUs)"
        );
        assert!(
            rule(&[], &["x"])
                .missing(&[])
                .unwrap()
                .ends_with("no VM is running (or this user may not see it)")
        );
        assert_eq!(rule(&[], &["db"]).missing(&running), None);
        assert!(rule(&[], &[]).resolve(&running).is_empty());
    }

    #[test]
    fn tables_are_for_those_who_may_be_traced() {
        let running = [vm(4, "web01"), vm(5, "web02"), vm(6, "db")];
        let open = |pids: &[u32], names: &[&str]| rule(pids, names).open_vcpus(&running);
        assert_eq!([open(&[], &[]), open(&[4, 9], &[]), open(&[4], &["db"])], [6, 2, 6]);
    }

    /// Once a VM exists whose name is the text of a glob or list, that VM alone is meant.
    #[test]
    fn a_vm_of_exactly_that_name_is_meant_alone() {
        let running = [vm(4, "win1"), vm(5, "win[10]"), vm(6, "a=1,b"), vm(7, "b")];
        assert_eq!(rule(&[], &["win[10]"]).resolve(&running), [5]);
        assert_eq!(rule(&[], &["a=1,b"]).resolve(&running), [6]);
        assert_eq!(rule(&[], &["a=1,,b", "win?"]).resolve(&running), [4, 6]);
        assert_eq!(rule(&[], &["win1,b"]).resolve(&running), [4, 7]);
        assert_eq!(rule(&[], &["a=1,b"]).missing(&running[..2]).unwrap().find("`a=1` or `b`"), Some(24));

        // VMs that were taken earlier stay. Among VMs first seen at one look, the exact name wins in any
        // order.
        let mut late = rule(&[], &["win[10]"]);
        assert_eq!(late.resolve(&running[..1]), [4]);
        let mut made = Made {
            names: [(8, "win0"), (9, "win[10]"), (10, "win1")].into(),
            waiting: vec![8, 9],
            ..Made::default()
        };
        late.apply(&mut made).unwrap();
        made.waiting = vec![10];
        late.apply(&mut made).unwrap();
        assert_eq!(made.verdicts, [(8, false), (9, true), (10, false)].into());
    }

    struct OneVm(Vec<Vm>);

    impl Host for OneVm {
        fn running(&self) -> &[Vm] {
            &self.0
        }

        fn exists(&self, pid: u32) -> bool {
            pid != 4_000_000
        }

        fn process_of_thread(&self, tid: u32) -> Option<u32> {
            (tid == 6).then_some(5)
        }
    }

    #[test]
    fn a_pid_is_a_process() {
        let host = OneVm(vec![vm(5, "web01")]);
        let refusal = |pid| rule(&[pid], &[]).check(&host).unwrap_err().to_string();
        assert_eq!(refusal(4_000_000), "no process 4000000; running VMs: web01 (pid 5, 2 vCPUs)");
        assert_eq!(refusal(6), "6 is a thread of process 5; use -p 5");
        assert!(rule(&[5], &["x"]).check(&host).is_ok());
    }
}
