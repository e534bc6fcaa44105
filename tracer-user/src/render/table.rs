//! The table of perf kvm stat, with quantiles, and idle rows apart. Below it: guest time, where the VMs' time
//! went, totals and losses.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
};

use tracer_ebpf::part::Part;

use crate::{
    decode::decode,
    model::{
        Crowded, GroupBy, LastReason, Pivot, Row, Rows, VmAccount, columns::SortKey, crowded::Share,
        parts::PartInfo,
    },
    render::{
        Printer, Span, View, counters, escape, histogram, sorted,
        text::{Setter, Style},
        units,
    },
    view::{
        TableModel, label,
        table::{cause_label, largest_first},
    },
};

/// Least width of a label if rows have only one.
const LABEL_MIN: usize = 18;
/// More VMs than this are left to `--by vm,part`.
const VMS: usize = 10;
/// More reasons than this that have no room are left to a wider terminal.
const FOLDED: usize = 10;
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
        let View { key, idle, width, color, ref hist, ref columns, across } = self.view;
        let idle = (!idle).then_some("idle (not in Time%)");
        let style = Style { width, color, label_min: LABEL_MIN, idle };
        if rows.is_empty() && rows.totals().count() != 0 {
            writeln!(
                out,
                "Where the time of these exits went was not measured: there are no parts, as in schema 1 and from perf."
            )?;
        } else if rows.is_empty() {
            // No row at all, or none that was selected.
            writeln!(out, "No exits to show{}.", if span == Span::Total { "" } else { " in this interval" })?;
        } else if across.is_some() {
            rates(out, rows, key, &mut self.exits, &mut self.setter, style)?;
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
        counters::print(out, rows, color)?;
        summary(out, rows, span)?;
        match hist {
            Some(pattern) => histograms(out, rows, &self.view, pattern),
            None => Ok(()),
        }
    }
}

/// Prints exits per second by place and reason. The reasons that have no room are one column, and are named.
fn rates(
    out: &mut dyn Write,
    rows: &Rows,
    key: SortKey,
    table: &mut TableModel,
    setter: &mut Setter,
    style: Style,
) -> io::Result<()> {
    let pivot = Pivot::of(rows, key);
    table.rates(rows, &pivot);
    let folded = setter.room(table, style).map(|room| table.fold(room)).unwrap_or_default();
    setter.print(out, table, style)?;
    if !folded.is_empty() {
        let names: Vec<_> = folded.iter().take(FOLDED).map(|heading| &*heading.title).collect();
        write!(out, "other: {}", names.join(", "))?;
        match folded.len().saturating_sub(FOLDED) {
            0 => writeln!(out)?,
            more => writeln!(out, " and {more} more")?,
        }
    }
    if pivot.columns.iter().any(|column| column.idle) {
        writeln!(out, "in brackets: idle exits, whose idle time was not measured")?;
    }
    Ok(())
}

/// Leaves out parts that no VM has, unless every reader looks for them.
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

/// Prints exits that no entry followed because their threads ended: nothing else shows what a VM died of.
fn last_exits(out: &mut dyn Write, rows: &Rows) -> io::Result<()> {
    let (mut all, mut by_vm) = (BTreeMap::new(), BTreeMap::<_, BTreeMap<_, _>>::new());
    for ((vm, reason), count) in &rows.last_exits {
        let sum = all.entry(*reason).or_insert(0u64);
        *sum = sum.saturating_add(*count);
        by_vm.entry(vm).or_default().insert(*reason, *count);
    }
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out, "Ended in an exit: {}", last_reasons(&all))?;
    if by_vm.len() == 1 {
        return Ok(());
    }
    for (vm, reasons) in by_vm.iter().take(VMS) {
        writeln!(out, "  {}: {}", escape::terminal(&vm.to_string()), last_reasons(reasons))?;
    }
    match by_vm.len().checked_sub(VMS + 1) {
        Some(more) => writeln!(out, "  and {} more", units::plural(more + 1, "VM")),
        None => Ok(()),
    }
}

/// How many there were, and of which reasons, the most frequent first: `3 (shutdown 2, hlt 1)`.
fn last_reasons(reasons: &BTreeMap<LastReason, u64>) -> String {
    let mut sorted: Vec<_> = reasons.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words: Vec<_> = sorted.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let sum = reasons.values().fold(0u64, |sum, count| sum.saturating_add(*count));
    format!("{sum} ({})", words.join(", "))
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
    last_exits(out, rows)?;
    rows.notes().try_for_each(|note| writeln!(out, "Note: {note}"))?;
    for Crowded { table, places, holder, hit } in &rows.crowded {
        let name = |share: &Share| format!("{}[{}]", escape::terminal(&share.vm), share.pid);
        let (holder, held) = (name(holder), holder.count);
        write!(out, "The {} refused places: {holder} holds {held} of {places}; lost by", table.title())?;
        for (at, share) in hit.iter().take(VMS).enumerate() {
            write!(out, "{} {} {}", if at == 0 { "" } else { "," }, name(share), share.count)?;
        }
        match hit.len().saturating_sub(VMS) {
            0 => writeln!(out)?,
            more => writeln!(out, " and {}", units::plural(more, "more VM"))?,
        }
    }
    for it in rows.disagreements.iter().take(VMS) {
        writeln!(out, "{}[{}]: {it}", escape::terminal(&it.vm), it.pid)?;
    }
    match rows.disagreements.len().saturating_sub(VMS) {
        0 => {}
        more => writeln!(out, "and {} that KVM counts differently", units::plural(more, "more VM"))?,
    }
    for unseen in rows.unseen.iter().take(VMS) {
        writeln!(out, "{}[{}]: {unseen}", escape::terminal(&unseen.vm), unseen.pid)?;
    }
    match rows.unseen.len().saturating_sub(VMS) {
        0 => Ok(()),
        more => writeln!(out, "and {} more with vCPUs that had no exit yet", units::plural(more, "VM")),
    }
}
