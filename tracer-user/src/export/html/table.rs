//! The table of rows, handled before idle, and what changed.

use maud::{Markup, html};
use tracer_ebpf::histogram::MAX_RELATIVE_ERROR;

use super::{
    Data,
    curves::label,
    format::{count, percent, time},
    matching::Counterparts,
};
use crate::{
    decode::decode,
    model::{GroupBy, Row, Stats, quantiles::quantile},
};

/// Rows of each kind at most.
const MOST: usize = 500;

/// A number of a row that may have changed.
struct Column {
    title: &'static str,
    get: fn(&Stats) -> Option<f64>,
    /// It comes from buckets, so small changes may be none.
    rough: bool,
}

/// The columns of durations.
static COLUMNS: [Column; 5] = [
    Column { title: "Mean", get: Stats::mean_ns, rough: false },
    Column { title: "Median", get: |stats| at(stats, quantile("p50_ns").q), rough: true },
    Column { title: "99 %", get: |stats| at(stats, quantile("p99_ns").q), rough: true },
    Column { title: "99.9 %", get: |stats| at(stats, quantile("p999_ns").q), rough: true },
    Column { title: "Longest", get: |stats| at(stats, 1.0), rough: false },
];

fn at(stats: &Stats, q: f64) -> Option<f64> {
    stats.quantile_ns(q).map(|ns| ns as f64)
}

/// The section of the page.
pub(super) fn section(data: &Data, base: Option<&Data>) -> Markup {
    let handled_ns = data.handled().sum_ns;
    let mut rows: Vec<&Row> = data.rows.exits().collect();
    rows.sort_by_key(|row| (row.idle, std::cmp::Reverse(row.stats.sum_ns)));
    let (idle, handled): (Vec<&Row>, Vec<&Row>) = rows.into_iter().partition(|row| row.idle);
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
                            th scope="col" { (heading(data.rows.by())) } th.n scope="col" { "Exits" } th.n scope="col" { "per s" }
                            th scope="col" { "Share of time" } th.n scope="col" { "Sum" }
                            @for column in &COLUMNS { th.n scope="col" { (column.title) } }
                        } }
                        tbody { @for row in handled.iter().take(MOST) { (line(data, before, row, handled_ns)) } }
                        @if !idle.is_empty() {
                            tbody.idle {
                                tr.rule { th colspan="10" scope="rowgroup" { "Idle: the guest has nothing to do" } }
                                @for row in idle.iter().take(MOST) { (line(data, before, row, 0)) }
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

/// Of the labels of rows: the dimensions that tell them apart.
fn heading(by: GroupBy) -> String {
    let dimensions = [(by.host, "Host"), (by.vm, "VM"), (by.vcpu, "vCPU"), (by.reason, "Exit reason")];
    let words: Vec<_> = dimensions.into_iter().filter_map(|(on, word)| on.then_some(word)).collect();
    words.join(" \u{b7} ")
}

fn line(data: &Data, before: Option<&(&Data, Counterparts<'_>)>, row: &Row, handled_ns: u64) -> Markup {
    let stats = &row.stats;
    let gloss = row.reason.map(|(isa, code)| decode(isa, code).gloss).unwrap_or_default();
    let before = before.map(|(base, rows)| (base, rows.find(row)));
    let rate = data.rate(row);
    let rate_before = before.map(|(base, row)| row.map(|row| base.rate(row)));
    let share = if handled_ns == 0 { None } else { Some(stats.sum_ns as f64 / handled_ns as f64) };
    html! {
        tr {
            th scope="row" { span.name { (label(row)) } @if !gloss.is_empty() { span.gloss { (gloss) } } }
            td.n { (count(stats.count)) }
            td.n { (count(rate.round() as u64)) (change(rate, rate_before, false)) }
            td {
                @if let Some(share) = share {
                    span.share { span.fill aria-hidden="true" style=(format!("width:{:.2}%", 100.0 * share)) {} }
                    (percent(share))
                } @else { "-" }
            }
            td.n { (time(stats.sum_ns)) }
            @for column in &COLUMNS {
                @let now = (column.get)(stats);
                @let then = before.map(|(_, row)| row.and_then(|row| (column.get)(&row.stats)));
                td.n title=(now.map_or_else(String::new, |ns| format!("{ns:.0} ns"))) {
                    (now.map_or_else(|| "-".to_owned(), |ns| time(ns.round() as u64)))
                    @if let Some(now) = now { (change(now, then, column.rough)) }
                }
            }
        }
    }
}

/// What changed: nothing without a base, `new` without a row in it.
fn change(now: f64, before: Option<Option<f64>>, rough: bool) -> Markup {
    let Some(before) = before else { return html! {} };
    let Some(before) = before.filter(|before| *before > 0.0) else {
        return html! { span.change { "new" } };
    };
    let change = now / before - 1.0;
    // Each of the two may be off by that much.
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
