//! A comparison as a table for people: warnings, a line for each metric of each row, the verdicts.

use std::io::{self, Write};

use super::{
    Report, SIDES, change, changes, outcome, percent, presence, probability, value, verdict, why, word,
};
use crate::{
    model::compare::{
        Comparison, Finding, MIN_BLOCKS, Method, Metric, RowDiff, Unjudged, Verdict,
        statistics::ConfidenceInterval,
    },
    render::{escape::terminal, units},
};

/// The greatest width of a label, in characters.
const LABEL: usize = 40;

/// Prints the table, its heading in bold if `color`.
///
/// # Errors
/// If the output cannot be written.
pub fn print(out: &mut dyn Write, report: &Report<'_>, color: bool) -> io::Result<()> {
    for ((name, origin), side) in SIDES.iter().zip(&report.origins).zip(report.sides) {
        writeln!(
            out,
            "{:<6}{}: {}; {}, {}; losses: {}",
            format!("{name}:"),
            terminal(&origin.file),
            terminal(&origin.recorded),
            units::plural(side.intervals as usize, "interval"),
            units::duration(side.elapsed_ns),
            side.losses,
        )?;
    }
    for note in &report.notes {
        writeln!(out, "note: {}", terminal(note))?;
    }
    let comparison = report.comparison;
    writeln!(out, "{}\n", method(comparison))?;
    rows(out, report, color)?;
    for verdict in [Verdict::Regressed, Verdict::Changed, Verdict::Improved] {
        for row in comparison.rows.iter() {
            let changes = changes(row, verdict);
            if !changes.is_empty() {
                writeln!(out, "{}: {}: {changes}", word(verdict), terminal(&row.key.label()))?;
            }
        }
    }
    for rule in &comparison.rules {
        let line = format!("rule {}: {}", rule.rule.typed, outcome(rule, &comparison.rows));
        writeln!(out, "{}", terminal(&line))?;
    }
    let rows = units::plural(comparison.rows.len(), "row");
    writeln!(out, "verdict: {} ({} metrics of {rows} judged)", verdict(comparison), comparison.judged)
}

/// Which unit was taken as independent, and from which change on a row counts.
fn method(comparison: &Comparison) -> String {
    let settings = &comparison.settings;
    let [base, new] = comparison.blocks;
    let of_side = |side: usize| {
        let count = comparison.blocks[side];
        let verb = if count == 1 { "is" } else { "are" };
        format!("{} of {} {verb}", units::plural(count, "interval"), SIDES[side])
    };
    let chance = match comparison.method {
        Method::Blocks => format!("chance: what {base} and {new} blocks of intervals show"),
        Method::Samples => format!(
            "chance: {} too few ({MIN_BLOCKS} are needed): samples are taken as independent, and only larger \
             changes count{}",
            match (base < MIN_BLOCKS, new < MIN_BLOCKS) {
                (true, false) => of_side(0),
                (false, true) => of_side(1),
                _ => format!("{base} and {new} intervals are"),
            },
            if comparison.rules.is_empty() { "" } else { ", but for rules, which have their own bounds" }
        ),
    };
    format!(
        "{chance}; a change counts from {}% on, and if p < {}{}",
        bound(100.0 * comparison.min_change),
        settings.alpha,
        match comparison.judged {
            0 => String::new(),
            judged => format!(", corrected for {}", units::plural(judged, "test")),
        }
    )
}

/// A bound in percent with the digits that it has, at least one after the point.
fn bound(percent: f64) -> String {
    // Products of decimal fractions end in noise.
    let digits = format!("{percent:.6}");
    let digits = digits.trim_end_matches('0');
    if digits.ends_with('.') { format!("{digits}0") } else { digits.to_owned() }
}

fn rows(out: &mut dyn Write, report: &Report<'_>, color: bool) -> io::Result<()> {
    let rows = &report.comparison.rows;
    if rows.is_empty() {
        return writeln!(out, "No exits to compare.\n");
    }
    let width = rows.iter().map(|row| label(row).chars().count()).max().unwrap_or(0).clamp(12, LABEL);
    let (bold, plain) = if color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let heading = format!(
        "{:<width$} {:<6} {:>12} {:>12} {:>9} {:>20} {:>7}  verdict",
        report.by.to_string(),
        "metric",
        "base",
        "new",
        "change",
        "95 % interval",
        "p"
    );
    writeln!(out, "{bold}{heading}{plain}")?;
    for row in rows {
        for (index, finding) in row.findings.iter().enumerate() {
            let label = if index == 0 { cut(&label(row), width) } else { String::new() };
            let line = format!("{label:<width$} {}", line(row, finding));
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The row's name, and whether one side lacks it.
fn label(row: &RowDiff) -> String {
    let presence = presence(row.presence()).map(|word| format!(" ({word})")).unwrap_or_default();
    format!("{}{presence}", terminal(&row.key.label()))
}

/// The text in at most `width` characters; `~` stands for what was cut off.
fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width - 1).chain(['~']).collect(),
    }
}

/// The line of a finding, after the label.
fn line(row: &RowDiff, finding: &Finding) -> String {
    let info = finding.metric.info();
    let measured = &finding.measured;
    let interval = match measured.change().and_then(|change| change.interval) {
        Some(ConfidenceInterval { low, high }) if low > -1.0 || high.is_finite() => {
            let end = |end: f64, open: bool| if open { "?".to_owned() } else { percent(end) };
            format!("{} .. {}", end(low, low <= -1.0), end(high, high.is_infinite()))
        }
        _ => String::new(),
    };
    let interval = match (finding.metric, row.distance) {
        (Metric::Shape, Some(distance)) => format!("at most {:.3} apart", distance.largest),
        _ => interval,
    };
    let change = change(finding);
    let verdict = match finding.verdict {
        Verdict::Unjudged(Unjudged::NotSelected) => String::new(),
        Verdict::Unjudged(unjudged) => format!("- {}", why(unjudged)),
        verdict => word(verdict).to_owned(),
    };
    format!(
        "{:<6} {:>12} {:>12} {change:>9} {interval:>20} {:>7}  {verdict}",
        info.id,
        value(info.unit, measured.base),
        value(info.unit, measured.new),
        finding.adjusted.map(probability).unwrap_or_default(),
    )
}
