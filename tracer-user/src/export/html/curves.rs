//! Percentile curves, on HdrHistogram's axis: every further nine of the percentile is as wide as the last.

use maud::{Markup, html};
use tracer_ebpf::histogram::{BUCKETS, bounds_of, midpoint_of};

use super::{
    Data,
    axis::{Chart, Latency, SIZE, short},
    format::{count, time},
    matching::Counterparts,
};
use crate::{
    model::{Row, Stats, quantiles::QUANTILES},
    render::escape,
};

/// The chart has this many curves at most, of the rows with the most time.
const MOST: usize = 6;

/// Percentiles in the table below the chart, as (share, heading).
fn percentiles() -> impl Iterator<Item = (f64, &'static str)> {
    QUANTILES.iter().map(|quantile| (quantile.q, quantile.words)).chain([(1.0, "longest")])
}

/// The label of a row, harmless on a terminal and in HTML.
pub(super) fn label(row: &Row) -> String {
    let words = row.labels().join(" \u{b7} ");
    if words.is_empty() { "all exits".to_owned() } else { escape::terminal(&words).into_owned() }
}

/// The section of the page.
pub(super) fn section(data: &Data, base: Option<&Data>) -> Markup {
    let mut rows: Vec<&Row> = data.rows.exits().filter(|row| !row.idle).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.stats.sum_ns));
    let left_out = rows.len().saturating_sub(MOST);
    rows.truncate(MOST);
    let before = base.map(|base| Counterparts::of(&base.rows)).unwrap_or_default();
    let pairs: Vec<(&Row, Option<&Row>)> = rows.iter().map(|row| (*row, before.find(row))).collect();
    let all = || pairs.iter().flat_map(|(now, before)| [Some(*now), *before]).flatten();
    html! {
        section {
            h2 { "Percentiles" }
            @if pairs.is_empty() {
                p { "There are no handled exits." }
            } @else {
                p.lead {
                    "How long exits take at most, by the share of exits. "
                    @if left_out != 0 { (MOST) " rows with the most time; the table below has the other " (left_out) ". " }
                    @if base.is_some() { "Dashed lines are before, solid lines after." }
                }
                div.legend {
                    @for (index, (row, _)) in pairs.iter().enumerate() {
                        span.item { span class=(format!("line c{index}")) aria-hidden="true" {} span.name { (label(row)) } }
                    }
                    @if base.is_some() { span.item { span.line.dashed aria-hidden="true" {} "before" } }
                }
                @let min = all().map(|row| row.stats.min_ns).min().unwrap_or(1);
                @let max = all().map(|row| row.stats.max_ns).max().unwrap_or(1);
                @let most = all().map(|row| row.stats.count).max().unwrap_or(1);
                (chart(&pairs, Latency::around(min, max), most))
            }
        }
    }
}

fn chart(pairs: &[(&Row, Option<&Row>)], scale: Latency, most: u64) -> Markup {
    // With n exits, the last one begins at the percentile 1 - 1/n.
    let nines = (most.max(10) as f64).log10();
    let marks = html! {
        @for (index, (now, before)) in pairs.iter().enumerate().rev() {
            @if let Some(before) = before {
                polyline class=(format!("curve before c{index}")) points=(points(&before.stats, scale, nines)) {
                    title { (label(before)) ", before" }
                }
            }
            polyline class=(format!("curve c{index}")) points=(points(&now.stats, scale, nines)) {
                title { (label(now)) }
            }
        }
    };
    let columns: Vec<(f64, String)> =
        (0..=nines as u32).map(|n| (f64::from(n) / nines, percentile(n))).collect();
    let description = format!(
        "One curve for each of {} rows, over the percentile from 0 to beyond {}; the table below has the numbers.",
        pairs.len(),
        percentile(nines as u32)
    );
    let (id, title, rows) = ("curves", "Duration of exits by percentile", scale.ticks());
    let line = |row: &Row, when: &str| {
        html! {
            tr {
                th scope="row" { span.name { (label(row)) } (when) }
                td.n { (count(row.stats.count)) }
                @for (q, _) in percentiles() { td.n { (row.stats.quantile_ns(q).map_or_else(|| "-".to_owned(), time)) } }
            }
        }
    };
    html! {
        figure.curves {
            (Chart { id, title, description: &description, rows: &rows, columns: &columns, marks }.markup())
            details {
                summary { "The numbers" }
                div.scroll tabindex="0" role="region" aria-label="Percentiles" {
                    table {
                        thead { tr {
                            th scope="col" { "Row" } th.n scope="col" { "Exits" }
                            @for (_, text) in percentiles() { th.n scope="col" { (text) } }
                        } }
                        tbody {
                            @for (now, before) in pairs {
                                @if let Some(before) = before { (line(before, ", before")) }
                                (line(now, ""))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Formats a percentile by its number of nines: `0 %`, `90 %`, `99 %`, `99.9 %`.
fn percentile(nines: u32) -> String {
    match nines {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        n => format!("99.{} %", "9".repeat(n as usize - 2)),
    }
}

/// The steps of a curve: each bucket from the share of exits below it to the share with it.
fn points(stats: &Stats, scale: Latency, nines: f64) -> String {
    let total: u64 = stats.buckets.iter().sum();
    let end = (total.max(1) as f64).log10();
    let x = |seen: u64| {
        let left = 1.0 - seen as f64 / total as f64;
        // The percentile 100 % would be infinitely far to the right.
        let nines_here = if seen == total { end } else { -left.log10() };
        short(SIZE * (nines_here / nines).clamp(0.0, 1.0))
    };
    let mut seen = 0;
    let mut points = Vec::new();
    for (bucket, &count) in stats.buckets.iter().enumerate().filter(|(_, count)| **count != 0) {
        let middle = if bucket == BUCKETS - 1 { bounds_of(bucket).0 } else { midpoint_of(bucket) };
        let y = short(scale.y(middle.clamp(stats.min_ns, stats.max_ns) as f64));
        points.push(format!("{},{y}", x(seen)));
        seen += count;
        points.push(format!("{},{y}", x(seen)));
    }
    points.push(format!("{},{}", x(total), short(scale.y(stats.max_ns as f64))));
    points.join(" ")
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::histogram::bucket_of;

    use super::*;

    #[test]
    fn a_curve_begins_at_the_left_and_ends_at_the_maximum() {
        let mut stats = Stats::default();
        for ns in (0..100).map(|n| if n < 90 { 8 } else { 512 }) {
            stats.add(1, ns, ns, ns, &[(bucket_of(ns) as u16, 1)]);
        }
        let scale = Latency::around(1, 1023);
        let (low, high) = (short(scale.y(8.0)), short(scale.y(512.0)));
        // 90 of 100 samples are short. That is one nine: the middle of an axis of two.
        assert_eq!(
            points(&stats, scale, 2.0),
            format!("0,{low} 500,{low} 500,{high} 1000,{high} 1000,{high}")
        );
        assert_eq!([percentile(0), percentile(2), percentile(4)], ["0 %", "99 %", "99.99 %"]);
    }
}
