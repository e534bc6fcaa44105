//! The table: perf kvm stat's, then quantiles; idle apart; totals and losses below.

use std::io::{self, Write};

use crate::{
    decode::{Isa, decode, subkey},
    model::{
        GroupBy, Row, Rows,
        columns::{COLUMNS, Column, Set, Value},
        row::Totals,
    },
    render::{Printer, Span, View, escape, histogram, sorted, time_breakdown, units, vm_label},
};

const LABEL_MIN: usize = 18;
/// Before a cause, below the reason it belongs to.
const INDENT: &str = "  > ";
/// A label column is never cut below this.
const LABEL_FLOOR: usize = 12;

/// Prints tables.
#[derive(Debug)]
pub struct Table {
    view: View,
}

impl Table {
    /// A printer for this view.
    pub fn new(view: View) -> Self {
        Self { view }
    }
}

impl Printer for Table {
    fn print(&mut self, out: &mut dyn Write, rows: &Rows, span: Span) -> io::Result<()> {
        let sorted = sorted(rows, &self.view);
        let totals = rows.wholes();
        if rows.is_empty() && totals.count() != 0 {
            writeln!(
                out,
                "Where the time of these exits went was not measured (schema 1, or recorded by perf)."
            )?;
        } else if rows.is_empty() {
            // None at all, or none of those asked for.
            writeln!(out, "No exits to show{}.", if span == Span::Total { "" } else { " in this interval" })?;
        } else {
            let layout = Layout::new(rows, rows.by(), &sorted, &self.view);
            layout.heading(out, self.view.color)?;
            let mut idle_seen = false;
            for row in &sorted {
                if row.idle && !idle_seen && !self.view.idle {
                    writeln!(out, "{}", layout.separator("idle (not in Time%)"))?;
                    idle_seen = true;
                }
                layout.row(out, row, &totals)?;
                for (cause, row) in causes(rows, row) {
                    layout.cause(out, row, &cause, &totals)?;
                }
            }
        }
        guests(out, rows, &self.view)?;
        time_breakdown::print(out, rows, self.view.color)?;
        summary(out, rows, span)?;
        if let Some(pattern) = &self.view.hist {
            for row in sorted.iter().filter(|row| pattern.is_match(&row.reason_label())) {
                writeln!(out, "\n{}", plain_label(rows.by(), row))?;
                histogram::print(out, &row.stats)?;
                for (cause, row) in causes(rows, row) {
                    writeln!(out, "\n{} {cause}", plain_label(rows.by(), row))?;
                    histogram::print(out, &row.stats)?;
                }
            }
            for row in rows.guests() {
                writeln!(out, "\n{} {GUEST}", label_parts(rows.by(), row).join(" "))?;
                histogram::print(out, &row.stats)?;
            }
        }
        Ok(())
    }
}

/// The label of time in the guest.
const GUEST: &str = "in the guest";

/// The causes of a row's exits, the one that took most of the time first.
fn causes<'a>(rows: &'a Rows, row: &Row) -> Vec<(String, &'a Row)> {
    let isa = row.reason.map_or(Isa(0), |(isa, _)| isa);
    let mut causes: Vec<_> = rows
        .causes_of(row)
        .filter_map(|row| Some((subkey::label(isa, row.cause?)?.into_owned(), row)))
        .collect();
    causes.sort_by(|a, b| b.1.stats.sum_ns.cmp(&a.1.stats.sum_ns).then_with(|| a.0.cmp(&b.0)));
    causes
}

/// How long the guests ran undisturbed, where that was measured.
fn guests(out: &mut dyn Write, rows: &Rows, view: &View) -> io::Result<()> {
    let guests: Vec<&Row> = rows.guests().collect();
    if guests.is_empty() {
        return Ok(());
    }
    let by = GroupBy { reason: false, part: false, ..rows.by() };
    let mut layout = Layout::new(rows, by, &guests, view);
    layout.columns.retain(|column| !matches!(column.id, "samples_share" | "time_share" | "idle_ns"));
    writeln!(out)?;
    layout.heading(out, view.color)?;
    for row in guests {
        layout.row(out, row, &Totals::default())?;
    }
    Ok(())
}

/// The parts of a row's label, one for each dimension.
fn label_parts(by: GroupBy, row: &Row) -> Vec<String> {
    let host = row.host().map_or_else(|| "-".into(), escape::terminal);
    // Once is enough.
    let before_vm = row.host().filter(|_| !by.host);
    let vm = row.vm().map(|vm| vm_label(before_vm, vm, row.ended));
    let host = by.host.then(|| host.into_owned());
    let vcpu = row.thread().map(ToString::to_string);
    let reason = row.reason.map(|_| row.reason_label());
    let idle = (row.idle && row.reason.is_none()).then(|| "(idle)".to_owned());
    let slice = row.slice.map(|slice| slice.title().to_owned());
    [host, vm, vcpu, reason, slice, idle].into_iter().flatten().collect()
}

fn plain_label(by: GroupBy, row: &Row) -> String {
    label_parts(by, row).join(" ")
}

struct Layout {
    by: GroupBy,
    labels: Vec<(&'static str, usize)>,
    columns: Vec<&'static Column>,
}

impl Layout {
    fn new(all: &Rows, by: GroupBy, rows: &[&Row], view: &View) -> Self {
        let other = !by.reason && !by.part;
        let titles: Vec<&'static str> = [
            ("HOST", by.host),
            ("VM", by.vm),
            ("vCPU", by.vcpu),
            ("VM-EXIT", by.reason),
            ("Part", by.part),
            ("", other),
        ]
        .into_iter()
        .filter(|(_, on)| *on)
        .map(|(title, _)| title)
        .collect();
        let mut labels: Vec<(&'static str, usize)> =
            titles.iter().map(|title| (*title, title.chars().count())).collect();
        for row in rows {
            for (part, (_, width)) in label_parts(by, row).iter().zip(&mut labels) {
                *width = (*width).max(part.chars().count());
            }
            if let (Some((_, width)), true) = (labels.last_mut(), by.reason) {
                for (cause, _) in causes(all, row) {
                    *width = (*width).max(INDENT.len() + cause.chars().count());
                }
            }
        }
        if let [(_, only)] = labels.as_mut_slice() {
            *only = (*only).max(LABEL_MIN);
        }
        let columns = view.columns.clone().unwrap_or_else(|| suitable(by, rows));
        let mut layout = Self { by, labels, columns };
        if let Some(width) = view.width {
            layout.fit(width);
        }
        layout
    }

    fn width(&self) -> usize {
        self.labels.iter().map(|(_, width)| width + 1).sum::<usize>()
            + self.columns.iter().map(|column| column.width + 1).sum::<usize>()
    }

    /// Drops columns of the highest rank, then cuts the widest label, until the line fits.
    fn fit(&mut self, width: usize) {
        while self.width() > width {
            let Some(worst) = self.columns.iter().map(|column| column.rank).filter(|rank| *rank > 0).max()
            else {
                break;
            };
            let last = self.columns.iter().rposition(|column| column.rank == worst).expect("just found");
            self.columns.remove(last);
        }
        let over = self.width().saturating_sub(width);
        if let Some((_, label)) = self.labels.iter_mut().max_by_key(|(_, width)| *width) {
            *label = label.saturating_sub(over).max(LABEL_FLOOR.min(*label));
        }
    }

    fn heading(&self, out: &mut dyn Write, color: bool) -> io::Result<()> {
        let labels = self.labels.iter().map(|(title, width)| format!("{title:<width$} "));
        let columns =
            self.columns.iter().map(|column| format!("{:>width$} ", column.title, width = column.width));
        let line: String = labels.chain(columns).collect();
        let (bold, plain) = if color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        writeln!(out, "{bold}{}{plain}", line.trim_end())
    }

    fn separator(&self, text: &str) -> String {
        let rule = self.width().saturating_sub(text.len() + 7).min(60);
        format!("--- {text} {}", "-".repeat(rule))
    }

    /// A cause of the row's exits, with columns of its own where they mean something.
    fn cause(&self, out: &mut dyn Write, row: &Row, cause: &str, totals: &Totals) -> io::Result<()> {
        let mut line = String::new();
        for (index, (_, width)) in self.labels.iter().enumerate() {
            let last = index + 1 == self.labels.len();
            let part = if last { format!("{INDENT}{cause}") } else { String::new() };
            line.push_str(&format!("{:<width$} ", cut(&part, *width)));
        }
        for column in &self.columns {
            let own = column.set == Set::Usual;
            let value = if own { units::value(column.value(row, totals)) } else { String::new() };
            line.push_str(&format!("{value:>width$} ", width = column.width));
        }
        writeln!(out, "{}", line.trim_end())
    }

    fn row(&self, out: &mut dyn Write, row: &Row, totals: &Totals) -> io::Result<()> {
        let mut line = String::new();
        let parts = label_parts(self.by, row);
        for (index, (_, width)) in self.labels.iter().enumerate() {
            let part = parts.get(index).map_or("", String::as_str);
            line.push_str(&format!("{:<width$} ", cut(part, *width)));
        }
        for column in &self.columns {
            let value = column.value(row, totals);
            let nothing = column.set == Set::IfAny && value == Value::Ns(Some(0));
            let text = if nothing { "-".to_owned() } else { units::value(value) };
            line.push_str(&format!("{text:>width$} ", width = column.width));
        }
        writeln!(out, "{}", line.trim_end())
    }
}

/// The columns that suit these rows.
fn suitable(by: GroupBy, rows: &[&Row]) -> Vec<&'static Column> {
    if by.part {
        let of_parts = |column: &&Column| column.set == Set::OfParts || column.id == "time_share";
        return COLUMNS.iter().filter(of_parts).collect();
    }
    let totals = Totals::default();
    let any = |column: &Column| {
        rows.iter().any(|row| !matches!(column.value(row, &totals), Value::Ns(None | Some(0))))
    };
    COLUMNS
        .iter()
        .filter(|column| column.set == Set::Usual || (column.set == Set::IfAny && any(column)))
        .collect()
}

/// Shortens a label to `width` characters, the last being `~`.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('~');
    short
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
    writeln!(out)
}
