//! One page that needs nothing else: a heat map of latency over time, percentile curves, where the time of
//! vCPUs went, the table of rows, and the losses. With a second recording, both are shown: before and after.
//!
//! No script, no font, no address: the page forbids itself to load anything. Every value passes through
//! `maud`, which escapes it, and every name through [`escape::terminal`] before, so that no direction mark of
//! a guest's name turns the text around it.
//!
//! Marks are drawn in SVG that stretches with the page; the words of the axes are HTML beside it and keep
//! their size. Each chart has a title, a description, and its numbers as a table.

use std::io::{self, Write};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    export::{Export, span},
    model::provenance::Header,
    model::{
        ClockChange, NamedInterval, Row, Rows, Stats, Store, calendar, quantile_error, quantiles::quantile,
    },
    render::{escape, units},
};

mod axis;
mod causes;
mod curves;
mod format;
mod heat;
mod matching;
mod table;
mod time_chart;

use format::{count, time};
use heat::Heat;

/// Content security policy: the page may load nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The data of one recording that the page shows.
#[derive(Debug)]
pub struct Data {
    header: Header,
    store: Store,
    /// Filled by [`Data::settle`].
    rows: Rows,
    heat: Heat,
    /// How long the machine was suspended, and how often its clock was set.
    suspended_ms: u64,
    clock_steps: u64,
    intervals: u64,
    start_unix_ms: u64,
    end_unix_ms: u64,
}

impl Data {
    /// No data yet. The page will show these rows.
    pub fn new(header: Header, rows: Rows) -> Self {
        let (start_unix_ms, end_unix_ms) = (header.start_unix_ms, header.start_unix_ms);
        Self {
            header,
            store: Store::keeping(usize::MAX),
            heat: Heat::new(rows.selection().clone()),
            rows,
            suspended_ms: 0,
            clock_steps: 0,
            intervals: 0,
            start_unix_ms,
            end_unix_ms,
        }
    }

    /// Adds an interval.
    pub fn add(&mut self, of: NamedInterval<'_>) {
        let interval = of.interval;
        let start_unix_ms = interval.start_unix_ms();
        if self.intervals == 0 {
            self.start_unix_ms = start_unix_ms;
        } else if !self.header.sources.is_empty() {
            // Intervals come in the order of their ends; a later one may have begun earlier.
            self.start_unix_ms = self.start_unix_ms.min(start_unix_ms);
        }
        self.intervals += 1;
        self.end_unix_ms = interval.end_unix_ms;
        // A merged recording has several hosts, each with its own clock.
        if let (Some(ClockChange { suspended_ms, stepped_ms }), true) =
            (interval.clock, self.header.sources.is_empty())
        {
            self.suspended_ms = self.suspended_ms.saturating_add(suspended_ms);
            self.clock_steps += u64::from(stepped_ms != 0);
        }
        self.store.add(of);
        self.heat.add(span(&self.header, interval), of);
    }

    /// Groups the data. Call it after the last interval.
    pub fn settle(&mut self) {
        self.rows.of_store(&self.store);
    }

    /// Samples of a row per second of its host's time, or of all time if the row is of no single host.
    fn rate(&self, row: &Row) -> f64 {
        units::rate(row.stats.count, self.rows.elapsed_of(row))
    }

    /// The samples of all handled exits.
    fn handled(&self) -> Stats {
        let mut total = Stats::default();
        self.rows.exits().filter(|row| !row.idle).for_each(|row| total.merge(&row.stats));
        total
    }
}

/// Collects a recording and writes the page at its end.
#[derive(Debug)]
pub struct Html {
    data: Data,
    base: Option<Data>,
}

impl Html {
    /// A page about `data`, which the intervals will fill, compared with `base` if there is one.
    pub fn new(data: Data, base: Option<Data>) -> Self {
        Self { data, base }
    }
}

impl Export for Html {
    fn interval(&mut self, _out: &mut dyn Write, of: NamedInterval<'_>) -> io::Result<()> {
        self.data.add(of);
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.data.settle();
        let page = page(&self.data, self.base.as_ref()).into_string();
        out.write_all(page.as_bytes())
    }
}

fn page(data: &Data, base: Option<&Data>) -> Markup {
    let what = if base.is_some() { "VM exits, before and after" } else { "VM exits" };
    let host = escape::terminal(&data.header.host).into_owned();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="referrer" content="no-referrer";
                meta name="color-scheme" content="light dark";
                meta name="generator" content="exitlat";
                title { (what) @if !host.is_empty() { " on " (host) } " - exitlat" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    (head(data, base, what, &host))
                    (figures(data, base))
                    (heat::section(data, base))
                    (curves::section(data, base))
                    (time_chart::section(data, base))
                    (table::section(data, base))
                    (causes::section(data))
                    (losses(data, base))
                    (foot())
                }
            }
        }
    }
}

fn head(data: &Data, base: Option<&Data>, what: &str, host: &str) -> Markup {
    html! {
        header {
            h1 { (what) @if !host.is_empty() { " on " span.name { (host) } } }
            @if let Some(base) = base { p.origin { b { "Before" } " " (recorded(base)) } }
            p.origin { @if base.is_some() { b { "After" } " " } (recorded(data)) }
        }
    }
}

fn recorded(data: &Data) -> Markup {
    let Header { tool, kernel, cpu, backend, path, options, .. } = &data.header;
    let (first, last) = (calendar::date(data.start_unix_ms), calendar::date(data.end_unix_ms));
    let words = [
        format!(
            "{first}, {} to {}{} UTC",
            calendar::time_of_day(data.start_unix_ms),
            if first == last { String::new() } else { format!("{last}, ") },
            calendar::time_of_day(data.end_unix_ms)
        ),
        format!("{} in {}", units::plural(data.intervals as usize, "interval"), time(data.rows.elapsed_ns)),
        format!("Linux {kernel}"),
        format!("{backend}, {path}"),
        cpu.clone(),
        tool.clone(),
    ];
    html! {
        (escape::terminal(&words.join(" \u{b7} ")))
        @if !options.is_empty() { " \u{b7} " code { "exitlat " (escape::terminal(&options.join(" "))) } }
        @if data.suspended_ms != 0 {
            " \u{b7} the machine was suspended for " (format!("{:.1} s", data.suspended_ms as f64 / 1e3))
        }
        @if data.clock_steps != 0 {
            " \u{b7} the wall clock was set " (units::plural(data.clock_steps as usize, "time"))
        }
    }
}

/// The key figures at the top of the page.
fn figures(data: &Data, base: Option<&Data>) -> Markup {
    let (now, before) = (data.handled(), base.map(|base| (base, base.handled())));
    let rate = |data: &Data, stats: &Stats| units::rate(stats.count, data.rows.elapsed_ns);
    let lost: u64 = data.rows.losses.nonzero().filter(|(info, _)| info.missing).map(|(_, count)| count).sum();
    let was = |text: fn(&Data, &Stats) -> String| {
        before.as_ref().map(|(base, stats)| html! { div.was { "before: " (text(base, stats)) } })
    };
    html! {
        div.figures {
            div.figure {
                div.label { "Handled exits" }
                div.number data-id="exits" { (count(now.count)) }
                div.more { (count(rate(data, &now) as u64)) " per second" }
                (was(|base, stats| format!("{} per second", count(units::rate(stats.count, base.rows.elapsed_ns) as u64))).unwrap_or_default())
            }
            div.figure {
                div.label { "Handled time" }
                div.number data-id="handled" { (time(now.sum_ns)) }
                div.more { (share_of_cpu(data, &now)) }
                (was(share_of_cpu).unwrap_or_default())
            }
            div.figure {
                div.label { "99 % of exits take at most" }
                div.number data-id="p99" { (at(&now, "p99_ns")) }
                div.more { "median " (at(&now, "p50_ns")) ", longest " (at(&now, LONGEST)) }
                (was(|_, stats| at(stats, "p99_ns")).unwrap_or_default())
            }
            div.figure.warn[lost != 0] {
                div.label { "Samples lost" }
                div.number data-id="lost" { @if lost == 0 { "none" } @else { (count(lost)) } }
                div.more { a href="#losses" { "what is counted as lost" } }
            }
        }
    }
}

/// Ids of the columns of durations in the page's smaller tables.
const SHORT: [&str; 3] = ["p50_ns", "p99_ns", LONGEST];
/// The id of the longest sample.
const LONGEST: &str = "max_ns";

/// Formats a quantile of the samples, by its id.
fn at(stats: &Stats, id: &str) -> String {
    let q = if id == LONGEST { 1.0 } else { quantile(id).q };
    stats.quantile_ns(q).map_or_else(|| "-".to_owned(), time)
}

/// Formats the handled time per second.
fn share_of_cpu(data: &Data, stats: &Stats) -> String {
    if data.rows.elapsed_ns == 0 {
        return "-".to_owned();
    }
    format!("{:.2} s per second, all vCPUs", stats.sum_ns as f64 / data.rows.elapsed_ns as f64)
}

fn losses(data: &Data, base: Option<&Data>) -> Markup {
    let (now, before) = (data.rows.losses, base.map(|base| base.rows.losses));
    let rows: Vec<_> = crate::model::losses::LOSSES
        .iter()
        .map(|info| (info, now.get(info.loss), before.map(|before| before.get(info.loss))))
        .filter(|(_, now, before)| *now != 0 || before.is_some_and(|before| before != 0))
        .collect();
    html! {
        section id="losses" {
            h2 { "Losses" }
            @if rows.is_empty() {
                p { "None: every exit that began and ended within the recording is in the numbers above." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Losses" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Cause" }
                                @if before.is_some() { th.n scope="col" { "Before" } }
                                th.n scope="col" { @if before.is_some() { "After" } @else { "Count" } }
                                th scope="col" { "Samples missing" }
                                th.wide scope="col" { "Meaning" }
                            }
                        }
                        tbody {
                            @for (info, now, before) in rows {
                                tr {
                                    th scope="row" { (info.text) }
                                    @if let Some(before) = before { td.n { (count(before)) } }
                                    td.n { (count(now)) }
                                    td { @if info.missing { "yes" } @else { "no" } }
                                    td.wide { (info.meaning) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn foot() -> Markup {
    html! {
        footer {
            p {
                "An exit lasts from the VM exit of a vCPU to the next entry of the same vCPU into its guest. "
                "Exits in which the guest waits for work are idle and stand apart. "
                "Counts, sums, shortest and longest are exact. Quantiles come from histograms and are within "
                (quantile_error()) " of the true value."
            }
        }
    }
}
