//! The answer at a glance: a line for each VM with where the wall time of its vCPUs went.

use std::io::{self, Write};

use tracer_ebpf::part::Part;

use crate::{
    model::{Rows, VmAccount, parts::PARTS},
    render::{units, vm_label},
};

/// More VMs than this are left to `--by vm,part`.
const LINES: usize = 10;
const HEADING: &str = "Of the vCPUs' wall time";

/// Prints the VMs, the one that lost most time first.
pub fn print(out: &mut dyn Write, rows: &Rows, color: bool) -> io::Result<()> {
    let mut vms: Vec<&VmAccount> = rows.vms().filter(|vm| vm.account.elapsed_ns != 0).collect();
    if vms.is_empty() {
        return Ok(());
    }
    let overhead_ns = |vm: &VmAccount| vm.account.overhead_ns();
    vms.sort_by(|a, b| overhead_ns(b).cmp(&overhead_ns(a)).then_with(|| a.vm.cmp(&b.vm)));
    // Parts that no VM has are left out, unless they are what everybody looks for.
    let shown: Vec<_> = PARTS
        .iter()
        .filter(|info| {
            matches!(info.part, Part::Kernel | Part::Halt | Part::Runqueue | Part::User)
                || vms.iter().any(|vm| vm.account.parts.get(info.part) != 0)
        })
        .collect();
    let (bold, plain) = if color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    // Never cut: what is left of a pid is another one.
    let shown_vms = vms.iter().take(LINES);
    let labels: Vec<String> = shown_vms.map(|vm| vm_label(vm.vm.host.name(), &vm.vm, vm.ended)).collect();
    let wide = labels.iter().map(|label| label.chars().count()).fold(HEADING.len() + 1, usize::max);
    let mut heading = format!("{HEADING:<wide$} {:>5} {:>8}", "vCPUs", "Guest");
    for info in &shown {
        heading.push_str(&format!(" {:>width$}", info.title, width = width(info.title)));
    }
    writeln!(out, "\n{bold}{heading}  Accounted{plain}")?;
    for (label, VmAccount { vcpus, account, .. }) in labels.iter().zip(&vms) {
        let mut line =
            format!("{label:<wide$} {vcpus:>5} {:>8}", units::percent(account.guest_ns, account.elapsed_ns));
        for info in &shown {
            let share = match account.part_ns(info.part) {
                Some(ns) => units::percent(ns, account.elapsed_ns),
                None => "?".to_owned(),
            };
            line.push_str(&format!(" {share:>width$}", width = width(info.title)));
        }
        let accounted_ns = account.elapsed_ns - account.unaccounted_ns();
        writeln!(out, "{line} {:>10}", units::percent(accounted_ns, account.elapsed_ns))?;
    }
    if let Some(more) = vms.len().checked_sub(LINES + 1) {
        writeln!(out, "and {} more; --by vm,part shows all", units::plural(more + 1, "VM"))?;
    }
    Ok(())
}

fn width(title: &str) -> usize {
    title.len().max(7)
}
