//! From names and pids on the command line to processes.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::{
    cli::TraceArgs,
    cmd::Usage,
    kernel::vms::{self, Vm},
    model::provenance::{self, Header},
    model::{NamePattern, Selection, Threads},
    render::{escape, units},
};

/// The processes to trace; none means all.
///
/// # Errors
/// [`Usage`] if a pid or a name matches nothing, with the candidates.
pub fn pids(args: &TraceArgs) -> Result<Vec<u32>> {
    let mut pids = args.pid.clone();
    if let Some(missing) = pids.iter().find(|pid| !vms::exists(**pid)) {
        return Err(Usage(format!("no process {missing}; {}", candidates(&vms::list()))).into());
    }
    if let Some((tid, pid)) = pids.iter().find_map(|tid| Some((tid, vms::process_of_thread(*tid)?))) {
        return Err(Usage(format!("{tid} is a thread of process {pid}; use -p {pid}")).into());
    }
    if !args.guest.is_empty() {
        let running = vms::list();
        for guest in &args.guest {
            let matching: Vec<u32> =
                running.iter().filter(|vm| guest.matches(&vm.name)).map(|vm| vm.pid).collect();
            if matching.is_empty() {
                return Err(Usage(format!(
                    "no running VM is called `{}`; {}",
                    guest.typed(),
                    candidates(&running)
                ))
                .into());
            }
            pids.extend(matching);
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Whether each name that was asked for is in at least one of these recordings.
///
/// # Errors
/// [`Usage`] if a name matches nothing, with the names there are.
pub fn found(selection: &Selection, dumps: &[(&Header, &Threads)]) -> Result<()> {
    let threads = || dumps.iter().flat_map(|(_, threads)| &threads.list);
    let all = |wanted: &[NamePattern], what: &str, names: BTreeSet<String>| {
        let Some(missing) = wanted.iter().find(|wanted| !names.iter().any(|name| wanted.matches(name)))
        else {
            return Ok(());
        };
        let names: Vec<_> = names.iter().map(|name| escape::terminal(name)).collect();
        let (typed, names) = (missing.typed(), names.join(", "));
        Err(Usage(format!("no {what} `{typed}` in the dump; it has: {names}")))
    };
    if let Some(pid) = selection.pids.iter().find(|pid| !threads().any(|thread| thread.pid == **pid)) {
        return Err(Usage(format!("no process {pid} in the dump")).into());
    }
    all(&selection.guests, "VM", threads().map(|thread| thread.vm.clone()).collect())?;
    // Also those on which no guest ran.
    let hosts = dumps.iter().flat_map(|(header, _)| provenance::sources(header)).map(|source| source.host);
    all(&selection.hosts, "host", hosts.collect())?;
    Ok(())
}

fn candidates(running: &[Vm]) -> String {
    if running.is_empty() {
        return "no VM is running (or this user may not see it)".to_owned();
    }
    let list: Vec<String> = running
        .iter()
        .map(|vm| {
            format!("{} (pid {}, {})", escape::terminal(&vm.name), vm.pid, units::plural(vm.vcpus, "vCPU"))
        })
        .collect();
    format!("running VMs: {}", list.join(", "))
}
