//! Scales of the charts, their ticks, and the frame of a chart.

use maud::{Markup, html};

use super::format::time;
use crate::model::calendar;

/// Width and height of a drawing, in its own units.
pub(super) const SIZE: f64 = 1000.0;

/// Formats a coordinate or a percentage with at most one decimal.
pub(super) fn short(number: f64) -> String {
    // The sum turns -0.0 into 0.0, which has no sign.
    let text = format!("{:.1}", number + 0.0);
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Durations on a logarithmic scale, from the bottom up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    low: f64,
    high: f64,
}

impl Latency {
    /// The scale that contains both durations.
    pub(super) fn around(min_ns: u64, max_ns: u64) -> Self {
        let low = f64::from(min_ns.max(1).ilog2());
        let high = f64::from(max_ns.max(min_ns).max(1).ilog2() + 1);
        Self { low, high: high.max(low + 2.0) }
    }

    /// Distance from the top of the drawing.
    pub(super) fn y(&self, ns: f64) -> f64 {
        SIZE * (1.0 - (ns.max(1.0).log2() - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Ticks as (distance from the top, label): whole decades, and steps between them if there are few
    /// decades.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let decades = (0..20).map(|power| 10u64.saturating_pow(power));
        let inside = |ns: &u64| {
            let at = (*ns as f64).log2();
            (self.low..=self.high).contains(&at)
        };
        let mut ticks: Vec<u64> = decades.clone().filter(inside).collect();
        if ticks.len() < 3 {
            ticks = decades.flat_map(|ns| [1, 2, 5].map(|n| ns.saturating_mul(n))).filter(inside).collect();
        }
        ticks.into_iter().map(|ns| (self.y(ns as f64), time(ns).replace(".0", ""))).collect()
    }
}

/// Ticks at round times of day, as (share of the recording's length, label).
pub(super) fn clock_ticks(start_unix_ms: u64, elapsed_ns: u64) -> Vec<(f64, String)> {
    const STEPS: [u64; 17] =
        [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];
    const MOST: u64 = 7;
    let elapsed_ms = (elapsed_ns / 1_000_000).max(1);
    let fits = |step: &&u64| elapsed_ms / (**step * 1000) < MOST;
    let step = STEPS.iter().find(fits).copied().unwrap_or_else(|| elapsed_ms / 1000 / MOST + 1) * 1000;
    let first = start_unix_ms.next_multiple_of(step);
    (first..=start_unix_ms + elapsed_ms)
        .step_by(step as usize)
        .map(|at| ((at - start_unix_ms) as f64 / elapsed_ms as f64, calendar::time_of_day(at)))
        .collect()
}

/// A chart: a drawing with labels to its left and below.
pub(super) struct Chart<'a> {
    /// Name of the chart, unique on the page.
    pub(super) id: &'a str,
    /// Title of the chart.
    pub(super) title: &'a str,
    /// Description for screen readers.
    pub(super) description: &'a str,
    /// Ticks of the vertical axis: distance from the top, and label.
    pub(super) rows: &'a [(f64, String)],
    /// Ticks of the horizontal axis: share of the width, and label.
    pub(super) columns: &'a [(f64, String)],
    /// The SVG elements of the drawing.
    pub(super) marks: Markup,
}

impl Chart<'_> {
    /// The chart as HTML.
    pub(super) fn markup(self) -> Markup {
        let Self { id, title, description, rows, columns, marks } = self;
        html! {
            div.chart {
                div.rows aria-hidden="true" {
                    @for (y, text) in rows { span style=(format!("top:{}%", short(y / SIZE * 100.0))) { (text) } }
                }
                svg viewBox=(format!("0 0 {SIZE} {SIZE}")) preserveAspectRatio="none" role="img" id=(id)
                    aria-labelledby=(format!("{id}-title {id}-desc")) {
                    title id=(format!("{id}-title")) { (title) }
                    desc id=(format!("{id}-desc")) { (description) }
                    @for (y, _) in rows { line.grid x1="0" x2=(SIZE) y1=(short(*y)) y2=(short(*y)) {} }
                    @for (x, _) in columns {
                        line.grid x1=(short(x * SIZE)) x2=(short(x * SIZE)) y1="0" y2=(SIZE) {}
                    }
                    (marks)
                }
                div.columns aria-hidden="true" {
                    @for (x, text) in columns {
                        span.edge[*x > 0.95] style=(format!("left:{}%", short(x * 100.0))) { (text) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_holds_what_it_is_made_for() {
        let scale = Latency::around(700, 90_000_000);
        assert_eq!(scale.y(512.0), SIZE);
        assert!(scale.y(90e6) > 0.0);
        let words: Vec<_> = scale.ticks().into_iter().map(|(_, text)| text.replace('\u{a0}', " ")).collect();
        assert_eq!(words, ["1 \u{b5}s", "10 \u{b5}s", "100 \u{b5}s", "1 ms", "10 ms", "100 ms"]);
        assert!(Latency::around(5, 5).ticks().len() >= 2);
    }

    #[test]
    fn ticks_are_at_round_times() {
        let ticks = clock_ticks(1_700_000_003_500, 30_000_000_000);
        let words: Vec<_> = ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(words, ["22:13:25", "22:13:30", "22:13:35", "22:13:40", "22:13:45", "22:13:50"]);
        assert!((ticks[0].0 - 0.05).abs() < 1e-9);
        assert!(clock_ticks(0, 90 * 86_400 * 1_000_000_000).len() <= 8);
    }
}
