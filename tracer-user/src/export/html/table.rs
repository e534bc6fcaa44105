//! The table of rows, handled before idle, with the changes from another recording.

use maud::{Markup, html};
use tracer_ebpf::histogram::MAX_RELATIVE_ERROR;

use super::{
    Data,
    curves::label,
    format::{self, count},
    matching::Counterparts,
};
use crate::{
    decode::decode,
    model::{
        Row,
        columns::{Column, Get, SortKey, Value, column_of},
        quantiles::QUANTILES,
        row::Totals,
    },
    view::table::{Kind, Line, TableModel},
};

/// The table shows this many handled and this many idle rows at most.
const MOST: usize = 500;

/// The columns, without the rate.
fn columns() -> Vec<&'static Column> {
    let quantiles = QUANTILES.iter().filter(|quantile| quantile.rank.is_some()).map(|quantile| quantile.id);
    let ids = ["samples", "time_share", "time_ns", "mean_ns"].into_iter().chain(quantiles).chain(["max_ns"]);
    ids.map(column_of).collect()
}

/// The section of the page.
pub(super) fn section(data: &Data, base: Option<&Data>) -> Markup {
    let columns = columns();
    let mut table = TableModel::default();
    table.exits_alone(&data.rows, SortKey::Time, Some(&columns));
    // Idle rows that have no reason have a label, and no heading for it.
    let headings: Vec<&str> = table.labels.iter().copied().filter(|title| !title.is_empty()).collect();
    let heading = headings.join(" \u{b7} ");
    let rows = table.row_indices().iter().map(|index| data.rows.at(*index));
    let lines = table.lines().zip(rows);
    let (idle, handled): (Vec<_>, Vec<_>) =
        lines.filter(|(_, row)| row.stats.count != 0).partition(|(line, _)| line.kind == Kind::Idle);
    let left_out = handled.len().saturating_sub(MOST) + idle.len().saturating_sub(MOST);
    let before = base.map(|base| (base, Counterparts::of(&base.rows)));
    let before = before.as_ref();
    let here = Counterparts::of(&data.rows);
    let gone = base.map(|base| {
        let gone = base.rows.exits().filter(|row| here.find(row).is_none());
        gone.take(MOST).map(label).collect::<Vec<_>>()
    });
    html! {
        section {
            h2 { "All rows" }
            @if handled.is_empty() && idle.is_empty() {
                p { "There are no exits at all." }
            } @else {
                p.lead {
                    "Shares are of handled time. "
                    @if base.is_some() {
                        "Below a number is its change; changes that the buckets may have made are marked \u{2248}. "
                    }
                }
                div.scroll tabindex="0" role="region" aria-label="All rows" {
                    table.rows-table id="rows" {
                        thead { tr {
                            th scope="col" { (heading) }
                            @for (heading, column) in table.columns.iter().zip(&columns) {
                                th.n[!is_share(column)] scope="col" { (heading.title) }
                                @if is_count(column) { th.n scope="col" { "per s" } }
                            }
                        } }
                        tbody { @for (line, row) in handled.iter().take(MOST) { (row_of(data, before, &columns, *line, row)) } }
                        @if !idle.is_empty() {
                            tbody.idle {
                                tr.rule { th colspan=(columns.len() + 2) scope="rowgroup" { "Idle: the guest has nothing to do" } }
                                @for (line, row) in idle.iter().take(MOST) { (row_of(data, before, &columns, *line, row)) }
                            }
                        }
                    }
                }
                @if left_out != 0 {
                    p { (left_out) " rows with less time are left out; CSV and JSON have all." }
                }
                @if let Some(gone) = gone.filter(|gone| !gone.is_empty()) {
                    p { "Only before: " span.name { (gone.join(", ")) } "." }
                }
            }
        }
    }
}

fn is_count(column: &Column) -> bool {
    column.id == "samples"
}

fn is_share(column: &Column) -> bool {
    column.id == "time_share"
}

fn row_of(
    data: &Data,
    before: Option<&(&Data, Counterparts<'_>)>,
    columns: &[&'static Column],
    line: Line<'_>,
    row: &Row,
) -> Markup {
    let gloss = row.reason.map(|(isa, code)| decode(isa, code).gloss).unwrap_or_default();
    let before = before.map(|(base, rows)| (base, rows.find(row)));
    let rate = data.rate(row);
    let rate_before = before.map(|(base, row)| row.map(|row| base.rate(row)));
    html! {
        tr {
            th scope="row" { span.name { (label(row)) } @if !gloss.is_empty() { span.gloss { (gloss) } } }
            @for (value, column) in line.cells.iter().zip(columns) {
                (cell(*value, column, before.map(|(_, row)| row)))
                @if is_count(column) { td.n { (count(rate.round() as u64)) (change(rate, rate_before, false)) } }
            }
        }
    }
}

/// A value and what changed. Amounts have no change: they grow with the length of a recording.
fn cell(value: Option<Value>, column: &Column, before: Option<Option<&Row>>) -> Markup {
    let value_before = |row: &Row| duration_ns(column.value(row, &Totals::default()));
    // Quantiles come from buckets, so small changes may be none.
    let rough = matches!(column.get, Get::Quantile(_));
    let compared = rough || ["mean_ns", "max_ns"].contains(&column.id);
    let now = value.and_then(duration_ns);
    html! {
        @match value {
            Some(Value::Count(samples)) => td.n { (count(samples)) },
            Some(Value::Share(Some(share))) => td {
                span.share { span.fill aria-hidden="true" style=(format!("width:{:.2}%", 100.0 * share)) {} }
                (format::percent(share))
            },
            Some(Value::Share(None)) => td { "-" },
            _ => td.n title=(now.map_or_else(String::new, |ns| format!("{ns:.0} ns"))) {
                (now.map_or_else(|| "-".to_owned(), |ns| format::time(ns.round() as u64)))
                @if let Some(now) = now.filter(|_| compared) {
                    (change(now, before.map(|row| row.and_then(value_before)), rough))
                }
            },
        }
    }
}

/// A duration, if the value is one.
fn duration_ns(value: Value) -> Option<f64> {
    match value {
        Value::Ns(ns) => ns.map(|ns| ns as f64),
        Value::Mean(ns) => ns,
        _ => None,
    }
}

/// Formats the relative change from `before`: [`None`] without a second recording, `Some(None)` if that has
/// no such row.
fn change(now: f64, before: Option<Option<f64>>, rough: bool) -> Markup {
    let Some(before) = before else { return html! {} };
    let Some(before) = before.filter(|before| *before > 0.0) else {
        return html! { span.change { "new" } };
    };
    let change = now / before - 1.0;
    // Both values may be off by the error of the buckets.
    if (rough && change.abs() <= 2.0 * MAX_RELATIVE_ERROR) || change.abs() < 0.0005 {
        return html! { span.change { "\u{2248}" } };
    }
    let (class, arrow) = if change > 0.0 { ("change up", "\u{25b2}") } else { ("change down", "\u{25bc}") };
    let text = if change >= 9.995 {
        format!("\u{d7}{:.0}", change + 1.0)
    } else {
        format!("{:+.1}\u{a0}%", 100.0 * change)
    };
    html! { span class=(class) { (arrow) "\u{a0}" (text) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_said_as_they_are() {
        let text = |now, before, rough| change(now, before, rough).into_string();
        assert_eq!(text(5.0, None, false), "");
        assert!(text(5.0, Some(None), false).contains("new"));
        assert!(text(150.0, Some(Some(100.0)), true).contains("+50.0"));
        assert!(text(50.0, Some(Some(100.0)), true).contains("-50.0"));
        assert!(text(106.0, Some(Some(100.0)), true).contains('\u{2248}'));
        assert!(text(106.0, Some(Some(100.0)), false).contains("+6.0"));
        assert!(text(2000.0, Some(Some(100.0)), false).contains("\u{d7}20"));
    }
}
