//! From names and pids on the command line to processes.

use anyhow::Result;

use crate::{
    cli::TraceArgs,
    cmd::Usage,
    kernel::vms::{self, Vm},
    model::{Roster, Selection, Thread, Wanted},
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
    if pids.len() > tracer_ebpf::abi::MAX_FILTER_PIDS {
        log::warn!(
            "{} processes are more than the kernel side filters ({}): all are traced, only these are shown",
            pids.len(),
            tracer_ebpf::abi::MAX_FILTER_PIDS
        );
    }
    Ok(pids)
}

/// Whether each name that was asked for is in at least one of these recordings.
///
/// # Errors
/// [`Usage`] if a name matches nothing, with the names there are.
pub fn found(selection: &Selection, rosters: &[&Roster]) -> Result<()> {
    let threads = || rosters.iter().flat_map(|roster| &roster.threads);
    let all = |wanted: &[Wanted], what: &str, name: fn(&Thread) -> &str| {
        for wanted in wanted {
            if !threads().any(|thread| wanted.matches(name(thread))) {
                let mut names: Vec<_> = threads().map(|thread| escape::terminal(name(thread))).collect();
                names.sort_unstable();
                names.dedup();
                let (typed, names) = (wanted.typed(), names.join(", "));
                return Err(Usage(format!("no {what} `{typed}` in the dump; it has: {names}")));
            }
        }
        Ok(())
    };
    if let Some(pid) = selection.pids.iter().find(|pid| !threads().any(|thread| thread.pid == **pid)) {
        return Err(Usage(format!("no process {pid} in the dump")).into());
    }
    all(&selection.guests, "VM", |thread| &thread.vm)?;
    all(&selection.hosts, "host", |thread| thread.host.as_deref().unwrap_or_default())?;
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
