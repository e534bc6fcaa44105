//! The heat map: how many handled exits took how long, interval by interval.

use maud::{Markup, html};
use tracer_ebpf::histogram::{BUCKETS, PER_OCTAVE, bounds_of};

use super::{
    Data, SHORT, at,
    axis::{Chart, Latency, SIZE, clock_ticks, short},
    format::{count, time},
};
use crate::{
    model::{
        GroupBy, NamedInterval, Rows, Selection, Stats, calendar, columns::column_of, quantiles::quantile,
    },
    render::units,
};

/// The map has this many columns at most; in longer recordings a column covers several intervals.
const MOST: usize = 120;
/// Histogram buckets per cell: a power of two has two cells.
const CELL: usize = PER_OCTAVE as usize / 2;
/// Labels below the map where even steps of time do not work.
const TICKS: usize = 6;
/// Number of shades.
const SHADES: usize = 9;

/// A column.
#[derive(Clone, Debug)]
struct Column {
    start_ns: u64,
    end_ns: u64,
    /// Start by the wall clock, which may be set and goes on while the machine is suspended.
    start_unix_ms: u64,
    /// Number of time steps. Intervals of several hosts may share one.
    steps: u64,
    stats: Stats,
}

impl Column {
    fn rate(&self, count: u64) -> f64 {
        units::rate(count, self.end_ns.saturating_sub(self.start_ns))
    }

    /// Samples of the cells that have any.
    fn cells(&self) -> impl Iterator<Item = (usize, u64)> {
        let sums = self.stats.buckets.chunks(CELL).map(|buckets| buckets.iter().sum());
        sums.enumerate().filter(|(_, count)| *count != 0)
    }
}

/// The samples of the map.
#[derive(Debug)]
pub(super) struct Heat {
    columns: Vec<Column>,
    /// Time steps per column.
    each: u64,
    /// The exits of the newest interval, as one row.
    rows: Rows,
}

impl Heat {
    /// An empty map of the selected exits.
    pub(super) fn new(selection: Selection) -> Self {
        let by = GroupBy { reason: false, ..GroupBy::REASON };
        Self { columns: Vec::new(), each: 1, rows: Rows::new(by).of_exits_only().with_selection(selection) }
    }

    /// Adds the handled exits of an interval. `span` is its begin and end; intervals of several hosts may
    /// overlap.
    pub(super) fn add(&mut self, (start_ns, end_ns): (u64, u64), of: NamedInterval<'_>) {
        self.rows.of_interval(of);
        let mut stats = Stats::default();
        self.rows.exits().filter(|row| !row.idle).for_each(|row| stats.merge(&row.stats));
        let start_unix_ms = of.interval.start_unix_ms();
        let mut column = Column { start_ns, end_ns, start_unix_ms, steps: 1, stats };
        let first = self.columns.len() == 1;
        match self.columns.last_mut() {
            None => self.columns.push(column),
            // Columns do not overlap: an interval that mostly lies in the last column is added to it.
            Some(last) => {
                if start_ns + end_ns.saturating_sub(start_ns) / 2 < last.end_ns {
                    column.steps = 0;
                }
                if column.steps == 1 && last.steps >= self.each {
                    column.start_ns = start_ns.max(last.end_ns);
                    column.start_unix_ms += (column.start_ns - start_ns) / 1_000_000;
                    self.columns.push(column);
                } else {
                    column.start_ns = start_ns.max(if first { 0 } else { last.start_ns });
                    join(last, &column);
                }
            }
        }
        if self.columns.len() > MOST {
            self.each *= 2;
            self.columns = self.columns.chunks(2).map(joined).collect();
        }
    }

    /// The cells that have samples, as first and one past the last.
    fn range(&self) -> Option<(usize, usize)> {
        let cells = || self.columns.iter().flat_map(|column| column.cells().map(|(cell, _)| cell));
        Some((cells().min()?, cells().max()? + 1))
    }

    fn rates(&self) -> impl Iterator<Item = f64> {
        self.columns.iter().flat_map(|column| column.cells().map(|(_, count)| column.rate(count)))
    }
}

fn join(column: &mut Column, next: &Column) {
    if next.start_ns < column.start_ns {
        (column.start_ns, column.start_unix_ms) = (next.start_ns, next.start_unix_ms);
    }
    column.end_ns = column.end_ns.max(next.end_ns);
    column.steps += next.steps;
    column.stats.merge(&next.stats);
}

fn joined(pair: &[Column]) -> Column {
    let mut column = pair[0].clone();
    pair[1..].iter().for_each(|next| join(&mut column, next));
    column
}

/// Shortest and longest duration of a cell.
fn bounds(cell: usize) -> (u64, u64) {
    let last = ((cell + 1) * CELL).min(BUCKETS) - 1;
    (bounds_of(cell * CELL).0, bounds_of(last).1)
}

/// The scale of shades, shared by all maps of a page.
struct Shades {
    lowest: f64,
    highest: f64,
}

impl Shades {
    fn of(maps: &[&Heat]) -> Self {
        let rates = || maps.iter().flat_map(|heat| heat.rates());
        let highest = rates().fold(1e-9, f64::max);
        // Rates more than five powers of ten below the highest have the same shade.
        Self { lowest: rates().fold(highest, f64::min).max(highest / 1e5), highest }
    }

    fn of_rate(&self, rate: f64) -> usize {
        let share = (rate / self.lowest).ln() / (self.highest / self.lowest).ln();
        // The result is NaN if all rates are equal; the cast makes it the first shade.
        ((share * SHADES as f64) as usize).min(SHADES - 1)
    }
}

/// The section of the page.
pub(super) fn section(data: &Data, base: Option<&Data>) -> Markup {
    let maps: Vec<&Heat> = base.iter().map(|base| &base.heat).chain([&data.heat]).collect();
    let range = maps.iter().filter_map(|heat| heat.range()).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    html! {
        section {
            h2 { "Latency over time" }
            @if let Some((low, high)) = range {
                @let shades = Shades::of(&maps);
                @let scale = Latency::around(bounds(low).0, bounds(high - 1).1.min(1 << 40) - 1);
                p.lead {
                    "Handled exits by duration. The further a cell stands out from the paper, the more exits per second it holds; "
                    "lines are the median and the 99\u{a0}% quantile of each column."
                }
                (legend(&shades))
                @if let Some(base) = base {
                    h3 { "Before" }
                    (map(base, "heat-before", scale, &shades))
                    h3 { "After" }
                }
                (map(data, "heat", scale, &shades))
            } @else {
                p { "There are no handled exits." }
            }
        }
    }
}

fn legend(shades: &Shades) -> Markup {
    html! {
        div.legend {
            span.item { span.ramp aria-hidden="true" { @for shade in 0..SHADES { i class=(format!("b{shade}")) {} } }
                (rate(shades.lowest)) " to " (rate(shades.highest)) " exits/s" }
            span.item { span.line.median aria-hidden="true" {} "median" }
            span.item { span.line.p99 aria-hidden="true" {} "99 %" }
        }
    }
}

fn rate(rate: f64) -> String {
    if rate >= 10.0 { count(rate.round() as u64) } else { format!("{rate:.1}") }
}

fn map(data: &Data, id: &str, scale: Latency, shades: &Shades) -> Markup {
    let columns = &data.heat.columns;
    let (Some(first), Some(last)) = (columns.first(), columns.last()) else {
        return html! { p { "There are no intervals." } };
    };
    let span_ns = last.end_ns.saturating_sub(first.start_ns).max(1);
    let x = |ns: u64| SIZE * ns.saturating_sub(first.start_ns) as f64 / span_ns as f64;
    let clock = |column: &Column| calendar::time_of_day(column.start_unix_ms);
    let quantiles = |id: &str| -> String {
        let q = quantile(id).q;
        let points = columns.iter().filter_map(|column| {
            let y = short(scale.y(column.stats.quantile_ns(q)? as f64));
            Some(format!("{},{y} {},{y}", short(x(column.start_ns)), short(x(column.end_ns))))
        });
        points.collect::<Vec<_>>().join(" ")
    };
    let all = data.handled();
    let description = format!(
        "{} handled exits in {} columns from {} to {} UTC, from {} to {}; the table below has the numbers of each column.",
        all.count,
        columns.len(),
        clock(first),
        calendar::time_of_day(data.end_unix_ms),
        time(all.min_ns),
        time(all.max_ns),
    );
    let marks = html! {
        g.cells {
            @for column in columns {
                @let (left, right) = (x(column.start_ns), x(column.end_ns));
                @for (cell, samples) in column.cells() {
                    @let (low, high) = bounds(cell);
                    @let (top, bottom) = (scale.y(high as f64), scale.y(low as f64));
                    rect class=(format!("s{}", shades.of_rate(column.rate(samples))))
                        x=(short(left)) y=(short(top)) width=(short(right - left)) height=(short(bottom - top)) {
                        title {
                            (clock(column)) " " (time(low)) " to "
                            (if high == u64::MAX { "longer".to_owned() } else { time(high) })
                            ": " (count(samples)) " exits"
                        }
                    }
                }
            }
        }
        polyline.halo points=(quantiles("p50_ns")) {}
        polyline.median points=(quantiles("p50_ns")) {}
        polyline.halo points=(quantiles("p99_ns")) {}
        polyline.p99 points=(quantiles("p99_ns")) {}
    };
    let ticks = if data.suspended_ms == 0 && data.clock_steps == 0 {
        clock_ticks(data.start_unix_ms, span_ns)
    } else {
        // The wall clock was set or the machine suspended: there are no even steps of time.
        let each = columns.len().div_ceil(TICKS);
        columns.iter().step_by(each).map(|column| (x(column.start_ns) / SIZE, clock(column))).collect()
    };
    let rows = scale.ticks();
    let title = "Handled exits by duration and time";
    html! {
        figure.heat {
            (Chart { id, title, description: &description, rows: &rows, columns: &ticks, marks }.markup())
            details {
                summary { "The numbers" }
                div.scroll tabindex="0" role="region" aria-label="Latency over time" {
                    table {
                        thead { tr {
                            th scope="col" { "From (UTC)" } th.n scope="col" { (column_of("samples").title) }
                            @for id in SHORT { th.n scope="col" { (column_of(id).title) } }
                        } }
                        tbody {
                            @for column in columns {
                                tr {
                                    th scope="row" { (clock(column)) }
                                    td.n { (count(column.stats.count)) }
                                    @for id in SHORT { td.n { (at(&column.stats, id)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Interval, Threads};

    #[test]
    fn long_recordings_have_several_intervals_in_a_column() {
        let mut heat = Heat::new(Selection::default());
        for number in 0..1000 {
            let (start_ns, end_ns) = (number * 10, number * 10 + 10);
            let interval = Interval { number, start_ns, end_ns, ..Interval::default() };
            heat.add((start_ns, end_ns), interval.with(&Threads::default()));
        }
        assert!(heat.columns.len() <= MOST && heat.columns.len() > MOST / 2, "{}", heat.columns.len());
        assert_eq!(heat.columns.iter().map(|column| column.steps).sum::<u64>(), 1000);
        assert!(heat.columns.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
    }

    /// Intervals of two hosts alternate and cover the same time: columns must not overlap.
    #[test]
    fn intervals_of_several_hosts_share_columns() {
        for offset in [1, 3, 5, 9] {
            let mut heat = Heat::new(Selection::default());
            for number in 0..400 {
                for start_ns in [number * 10 + 10, number * 10 + 10 + offset] {
                    let span = (start_ns, start_ns + 10);
                    heat.add(span, Interval::default().with(&Threads::default()));
                }
            }
            let columns = &heat.columns;
            assert!(columns.len() <= MOST && columns.len() > MOST / 2, "{}", columns.len());
            assert!(columns.array_windows().all(|[one, next]| one.end_ns == next.start_ns), "{offset}");
            assert_eq!((columns[0].start_ns, columns.last().unwrap().end_ns), (10, 4010 + offset));
        }
    }

    #[test]
    fn cells_tile_the_durations() {
        assert_eq!((bounds(0), bounds(1)), ((0, 8), (8, 16)));
        for cell in 1..BUCKETS / CELL {
            assert_eq!(bounds(cell).0, bounds(cell - 1).1);
        }
    }
}
