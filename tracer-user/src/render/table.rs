//! The table: perf kvm stat's, then quantiles; idle apart; guest time, where the VMs' time went, totals and
//! losses below.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use tracer_ebpf::part::Part;

use crate::{
    decode::decode,
    model::{GroupBy, Row, Rows, VmAccount, parts::PartInfo},
    render::{
        Printer, Span, View, escape, histogram, sorted,
        text::{Setter, Style},
        units,
    },
    view::{
        TableModel, label,
        table::{cause_label, largest_first},
    },
};

/// Width of a label that stands alone.
const LABEL_MIN: usize = 18;
/// More VMs than this are left to `--by vm,part`.
const VMS: usize = 10;
/// Width of the VMs' labels.
const VM_MIN: usize = 24;

/// Prints tables.
#[derive(Debug)]
pub struct Table {
    view: View,
    exits: TableModel,
    guests: TableModel,
    vms: TableModel,
    setter: Setter,
}

impl Table {
    /// A printer for this view.
    pub fn new(view: View) -> Self {
        let [exits, guests, vms] = Default::default();
        Self { view, exits, guests, vms, setter: Setter::default() }
    }
}

impl Printer for Table {
    fn print(&mut self, out: &mut dyn Write, rows: &Rows, span: Span) -> io::Result<()> {
        let View { key, idle, width, color, ref hist, ref columns } = self.view;
        let idle = (!idle).then_some("idle (not in Time%)");
        let style = Style { width, color, label_min: LABEL_MIN, idle };
        if rows.is_empty() && rows.totals().count() != 0 {
            writeln!(
                out,
                "Where the time of these exits went was not measured: there are no parts, as in schema 1 and from perf."
            )?;
        } else if rows.is_empty() {
            // None at all, or none of those asked for.
            writeln!(out, "No exits to show{}.", if span == Span::Total { "" } else { " in this interval" })?;
        } else {
            self.exits.exits(rows, key, columns.as_deref());
            self.setter.print(out, &self.exits, style)?;
        }
        self.guests.guests(rows, columns.as_deref());
        if !self.guests.is_empty() {
            writeln!(out)?;
            self.setter.print(out, &self.guests, style)?;
        }
        let count = self.vms.accounts(rows, VMS, is_shown);
        if count != 0 {
            writeln!(out)?;
            self.setter.print(out, &self.vms, Style { label_min: VM_MIN, ..style })?;
            let dropped: Vec<_> = self.setter.dropped(&self.vms).collect();
            if !dropped.is_empty() {
                writeln!(out, "no room for {}", dropped.join(", "))?;
            }
        }
        if let Some(more) = count.checked_sub(VMS + 1) {
            writeln!(out, "and {} more; --by vm,part shows all", units::plural(more + 1, "VM"))?;
        }
        summary(out, rows, span)?;
        match hist {
            Some(pattern) => histograms(out, rows, &self.view, pattern),
            None => Ok(()),
        }
    }
}

/// Parts that no VM has are left out, unless they are what everybody looks for.
fn is_shown(info: &PartInfo, vms: &[&VmAccount]) -> bool {
    matches!(info.part, Part::Kernel | Part::Halt | Part::Runqueue | Part::User)
        || vms.iter().any(|vm| vm.account.parts.get(info.part) != 0)
}

fn histograms(out: &mut dyn Write, rows: &Rows, view: &View, pattern: &regex::Regex) -> io::Result<()> {
    for row in sorted(rows, view).iter().filter(|row| pattern.is_match(&row.reason_label())) {
        writeln!(out, "\n{}", label::line(rows.by(), row))?;
        histogram::print(out, &row.stats)?;
        let (causes, left) = causes(rows, row);
        for (cause, row) in causes {
            writeln!(out, "\n{} {cause}", label::line(rows.by(), row))?;
            histogram::print(out, &row.stats)?;
        }
        if left != 0 {
            writeln!(out, "\n{}: {left} more causes", label::line(rows.by(), row))?;
        }
    }
    // Time in the guest has no reason that a pattern could match.
    if !pattern.as_str().is_empty() {
        return Ok(());
    }
    let by = GroupBy { reason: false, part: false, ..rows.by() };
    for row in rows.guests() {
        let label = label::line(by, row);
        writeln!(
            out,
            "\n{}",
            if label.is_empty() { "In the guest".to_owned() } else { label + " in the guest" }
        )?;
        histogram::print(out, &row.stats)?;
    }
    Ok(())
}

/// The causes of a row's exits, the one that took most of the time first, and how many more there are.
fn causes<'a>(rows: &'a Rows, row: &Row) -> (Vec<(Cow<'static, str>, &'a Row)>, usize) {
    let named = |index: &usize| cause_label(rows.at(*index)).is_some();
    let mut causes: Vec<_> = rows.cause_indices(row).filter(named).collect();
    let shown = largest_first(rows, &mut causes);
    let labelled = |index: &usize| Some((cause_label(rows.at(*index))?, rows.at(*index)));
    (causes[..shown].iter().filter_map(labelled).collect(), causes.len() - shown)
}

fn summary(out: &mut dyn Write, rows: &Rows, span: Span) -> io::Result<()> {
    let totals = rows.totals();
    writeln!(
        out,
        "\nTotal Samples: {} ({:.1}/s), handled {}, idle {}; {} {} seen{}",
        totals.count(),
        units::rate(totals.count(), rows.elapsed_ns),
        units::duration(totals.handled_ns),
        units::duration(totals.idle_ns),
        units::plural(rows.seen.vms, "VM"),
        units::plural(rows.seen.threads, "vCPU thread"),
        if span == Span::Total { format!(" in {}", units::duration(rows.elapsed_ns)) } else { String::new() },
    )?;
    write!(out, "Losses: {}", rows.losses)?;
    if let Some(oldest) = rows.open.iter().map(|open| &open.exit).max_by_key(|exit| exit.age_ns) {
        write!(
            out,
            "; in flight: {}, the oldest for {} in {}",
            units::plural(rows.open.len(), "exit"),
            units::duration(oldest.age_ns),
            decode(oldest.isa, oldest.code),
        )?;
    }
    writeln!(out)?;
    for unseen in rows.unseen.iter().take(VMS) {
        writeln!(out, "{}[{}]: {unseen}", escape::terminal(&unseen.vm), unseen.pid)?;
    }
    match rows.unseen.len().saturating_sub(VMS) {
        0 => Ok(()),
        more => writeln!(out, "and {} more with vCPUs that had no exit yet", units::plural(more, "VM")),
    }
}
