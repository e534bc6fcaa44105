//! Compares two recordings: what changed, by how much, and whether the change is significant.
//!
//! `docs/diff.md` says which methods are used and why; here is their order. Each recording is summed up by
//! row and by block of time ([`RecordingSummary`]). For each row each [`Metric`] gets its change, a 95 %
//! interval and the probability of such a change by chance; all probabilities that decide anything are
//! corrected together. A change counts if it is both larger than chance makes it and large enough to matter.

mod measure;
pub mod metrics;
pub mod rules;
pub mod statistics;
pub mod summary;
mod verdict;

use std::collections::BTreeSet;

pub use measure::{Distance, Evidence, Measured};
use measure::{RowOfSide, RowPair};
pub use metrics::{METRICS, Metric, MetricInfo, Unit};
pub use rules::{Rule, RuleOutcome};
use statistics::Change;
pub use summary::{RecordingSummary, RowKey, Summarizer};
pub use verdict::{Presence, Unjudged, Verdict};

/// With fewer blocks than this on either side, samples are taken as independent.
pub const MIN_BLOCKS: usize = 8;
/// How much larger a change has to be if samples had to be taken as independent.
pub const SAMPLES_FACTOR: f64 = 4.0;

/// What counts as a change.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The smallest relative change that matters.
    pub min_change: f64,
    /// Rows with fewer samples are not judged.
    pub min_samples: u64,
    /// The probability that any change at all is found where there is none.
    pub alpha: f64,
    /// The metrics that the default verdict judges.
    pub judge: Vec<Metric>,
    /// Whether the numbers of both sides mean the same. If not, nothing is judged.
    pub comparable: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let judge = METRICS.iter().filter(|info| info.judged).map(|info| info.metric).collect();
        Self { min_change: 0.05, min_samples: 1000, alpha: 0.001, judge, comparable: true }
    }
}

/// The unit of observation that is taken as independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Intervals, joined to blocks where there are many.
    Blocks,
    /// Single samples, because there are too few intervals.
    Samples,
}

/// A metric of a row, and what was found.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// Which metric it is.
    pub metric: Metric,
    /// The metric's values and their change.
    pub measured: Measured,
    /// The probability, corrected for all that was judged with it; `None` if the metric was not judged.
    pub adjusted: Option<f64>,
    /// The verdict on this metric of this row.
    pub verdict: Verdict,
}

/// A row of a comparison.
#[derive(Clone, Debug)]
pub struct RowDiff {
    /// Which exits the row stands for.
    pub key: RowKey,
    /// Samples before and after.
    pub counts: [u64; 2],
    /// One for each of [`METRICS`], in their order.
    pub findings: Vec<Finding>,
    /// How far the distributions are apart, if both sides have samples.
    pub distance: Option<Distance>,
    /// The worst of the findings.
    pub verdict: Verdict,
}

impl RowDiff {
    /// The finding of a metric.
    pub fn finding(&self, metric: Metric) -> &Finding {
        &self.findings[metric.index()]
    }

    /// On which sides the row has samples.
    pub fn presence(&self) -> Presence {
        match self.counts {
            [0, _] => Presence::New,
            [_, 0] => Presence::Vanished,
            _ => Presence::Both,
        }
    }

    /// The change of total time in units of its uncertainty, or in ns per second where that is not known.
    fn weight(&self) -> f64 {
        let measured = self.finding(Metric::Time).measured;
        let in_standard_errors = measured.change().and_then(|change| change.standard_errors);
        let value = |side: Option<f64>| side.unwrap_or_default();
        in_standard_errors.map_or_else(|| (value(measured.new) - value(measured.base)).abs(), f64::abs)
    }

    /// Whether there are enough samples: on both sides, or for amounts per time on either.
    fn has_enough_samples(&self, metric: Metric, settings: &Settings) -> bool {
        let enough = |count: &u64| *count >= settings.min_samples;
        if metric.is_over_time() { self.counts.iter().any(enough) } else { self.counts.iter().all(enough) }
    }

    /// The change of a metric that a verdict can rest on, or why there is none.
    fn testable(&self, metric: Metric, settings: &Settings) -> Result<Change, Unjudged> {
        if !settings.comparable {
            return Err(Unjudged::NotComparable);
        }
        let one_side_empty = !metric.is_over_time() && self.presence() != Presence::Both;
        if !one_side_empty && !self.has_enough_samples(metric, settings) {
            return Err(Unjudged::TooFewSamples);
        }
        self.finding(metric).measured.evidence.tested()
    }

    /// The change of a metric that the default verdict judges, or why it judges none.
    fn judgeable(&self, metric: Metric, settings: &Settings) -> Result<Change, Unjudged> {
        if !settings.judge.contains(&metric) {
            return Err(Unjudged::NotSelected);
        }
        if self.key.idle { Err(Unjudged::Idle) } else { self.testable(metric, settings) }
    }
}

/// Two recordings, compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The rows, what matters most first.
    pub rows: Vec<RowDiff>,
    /// Which unit of observation was taken as independent.
    pub method: Method,
    /// Blocks before and after.
    pub blocks: [usize; 2],
    /// The thresholds.
    pub settings: Settings,
    /// The smallest relative change that counted, which depends on the method.
    pub min_change: f64,
    /// How many metrics of rows were judged.
    pub judged: usize,
    /// The worst of the rows' verdicts.
    pub verdict: Verdict,
    /// The outcome of each rule, in the order in which they were given.
    pub rules: Vec<RuleOutcome>,
}

impl Comparison {
    /// Whether the new recording is to be refused: by the rules if there are any, else by the verdict.
    pub fn failed(&self) -> bool {
        if self.rules.is_empty() {
            self.verdict == Verdict::Regressed
        } else {
            self.rules.iter().any(|rule| !rule.fired.is_empty())
        }
    }

    /// The rules whose pattern matches no row.
    pub fn unmatched_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.unmatched).map(|rule| &rule.rule)
    }
}

/// Compares two recordings.
pub fn compare(
    base: &RecordingSummary,
    new: &RecordingSummary,
    settings: Settings,
    rules: &[Rule],
) -> Comparison {
    let blocks = [base.blocks.len(), new.blocks.len()];
    let method =
        if blocks.iter().all(|blocks| *blocks >= MIN_BLOCKS) { Method::Blocks } else { Method::Samples };
    let factor = if method == Method::Samples { SAMPLES_FACTOR } else { 1.0 };
    let keys: BTreeSet<&RowKey> = base.rows.keys().chain(new.rows.keys()).collect();
    let mut rows: Vec<RowDiff> = keys.into_iter().map(|key| row(key, base, new, method)).collect();
    let min_change = settings.min_change * factor;
    let judged = judge(&mut rows, &settings, min_change);
    rows.sort_by(|a, b| {
        b.verdict.cmp(&a.verdict).then(b.weight().total_cmp(&a.weight())).then_with(|| a.key.cmp(&b.key))
    });
    let verdict = rows.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Unjudged(Unjudged::NoRows));
    let rules = rules::apply(rules, &rows, &settings);
    Comparison { rows, method, blocks, settings, min_change, judged, verdict, rules }
}

/// Measures a row. Nothing of it is judged yet.
fn row(key: &RowKey, base: &RecordingSummary, new: &RecordingSummary, method: Method) -> RowDiff {
    const UNJUDGED: Verdict = Verdict::Unjudged(Unjudged::NotSelected);
    let side = |recording| RowOfSide::new(recording, key);
    let pair = RowPair { key, base: side(base), new: side(new), method };
    let finding = |info: &MetricInfo| Finding {
        metric: info.metric,
        measured: pair.measure(info.metric),
        adjusted: None,
        verdict: UNJUDGED,
    };
    RowDiff {
        key: key.clone(),
        counts: [pair.base.count(), pair.new.count()],
        findings: METRICS.iter().map(finding).collect(),
        distance: pair.distance(),
        verdict: UNJUDGED,
    }
}

/// A metric of a row that is judged, by their indices, and its change.
struct Candidate {
    row: usize,
    finding: usize,
    change: Change,
}

/// Gives every finding and row its verdict; returns how many findings were judged.
fn judge(rows: &mut [RowDiff], settings: &Settings, min_change: f64) -> usize {
    let mut candidates = Vec::new();
    for (row_index, row) in rows.iter_mut().enumerate() {
        for (index, info) in METRICS.iter().enumerate() {
            match row.judgeable(info.metric, settings) {
                Ok(change) => candidates.push(Candidate { row: row_index, finding: index, change }),
                Err(why) => row.findings[index].verdict = Verdict::Unjudged(why),
            }
        }
    }
    let probabilities: Vec<f64> = candidates.iter().map(|candidate| candidate.change.p).collect();
    for (Candidate { row, finding, change }, adjusted) in
        candidates.iter().zip(statistics::holm(&probabilities))
    {
        let row = &mut rows[*row];
        let distance = row.distance;
        let finding = &mut row.findings[*finding];
        finding.adjusted = Some(adjusted);
        finding.verdict = if adjusted >= settings.alpha || change.relative.abs() < min_change {
            Verdict::Same
        } else {
            // The change of the shape has no sign.
            match distance.filter(|_| finding.metric == Metric::Shape) {
                Some(distance) => direction_of_shape(distance),
                None => by_sign(change.relative),
            }
        };
    }
    for row in rows.iter_mut() {
        let worst = row.findings.iter().map(|finding| finding.verdict).max();
        // The rate can be judged if anything can: its reason is that of the row.
        let unjudged = row.finding(Metric::Rate).verdict;
        row.verdict = worst.filter(|worst| worst.unjudged().is_none()).unwrap_or(unjudged);
    }
    candidates.len()
}

fn by_sign(change: f64) -> Verdict {
    if change < 0.0 { Verdict::Improved } else { Verdict::Regressed }
}

/// A distribution has become longer or shorter if most of the change has one direction. Compared as
/// logarithms, because a relative change is at least -1 but has no upper limit.
fn direction_of_shape(distance: Distance) -> Verdict {
    if distance.shift.ln_1p().abs() < distance.moved.ln_1p() / 2.0 {
        Verdict::Changed
    } else {
        by_sign(distance.shift)
    }
}
