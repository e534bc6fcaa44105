//! From names and pids on the command line to processes.

use anyhow::Result;
use glob::Pattern;

use crate::{
    cli::TraceArgs,
    cmd::Usage,
    kernel::vms::{self, Vm},
    model::{Roster, Selection, Thread},
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
                running.iter().filter(|vm| matches(guest, &vm.name)).map(|vm| vm.pid).collect();
            if matching.is_empty() {
                return Err(
                    Usage(format!("no running VM is called `{guest}`; {}", candidates(&running))).into()
                );
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

/// Whether a name is meant by what was typed: itself, or a glob that matches it.
pub fn matches(typed: &str, name: &str) -> bool {
    typed == name || Pattern::new(typed).is_ok_and(|pattern| pattern.matches(name))
}

/// A selection with the processes of guests, as far as a recording has named them up to here. Its names are
/// resolved as they come: a dump may be longer than memory.
pub fn guests_so_far(selection: &Selection, typed: &[String], roster: &Roster) -> Selection {
    let mut selection = selection.clone();
    if typed.is_empty() {
        return selection;
    }
    let meant = |thread: &&Thread| typed.iter().any(|guest| matches(guest, &thread.vm));
    selection.pids.extend(roster.threads.iter().filter(meant).map(|thread| thread.pid));
    if selection.pids.is_empty() {
        // No process has this number: until the guest appears, nothing is shown.
        selection.pids.push(u32::MAX);
    }
    selection
}

/// Adds the processes of the guests in a recording to a selection.
///
/// # Errors
/// [`Usage`] if a name matches nothing.
pub fn guests(selection: &mut Selection, typed: &[String], roster: &Roster) -> Result<()> {
    for guest in typed {
        let matching = roster.threads.iter().filter(|thread| matches(guest, &thread.vm));
        let before = selection.pids.len();
        selection.pids.extend(matching.map(|thread| thread.pid));
        if selection.pids.len() == before {
            let mut names: Vec<_> =
                roster.threads.iter().map(|thread| escape::terminal(&thread.vm)).collect();
            names.sort_unstable();
            names.dedup();
            return Err(Usage(format!("no VM `{guest}` in the dump; it has: {}", names.join(", "))).into());
        }
    }
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
