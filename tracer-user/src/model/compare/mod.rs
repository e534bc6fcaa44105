//! Two recordings held against each other: what changed, by how much, and whether chance explains it.
//!
//! `docs/diff.md` says which methods are used and why; here is their order. Both sides are summed up by row and
//! by block of time ([`Side`]). For each row each [`Metric`] gets its change, a 95 % interval and the
//! probability of such a change by chance; all probabilities that decide anything are corrected together. A
//! change counts if it is both larger than chance makes it and large enough to matter.

mod metrics;
pub mod rules;
pub mod side;
pub mod statistics;

use std::collections::BTreeSet;

use metrics::Pair;
pub use metrics::{Distance, Measured};
pub use rules::{Rule, RuleOutcome};
pub use side::{Key, Side};

/// With fewer blocks than this on either side, samples are taken as independent.
pub const MIN_BLOCKS: usize = 8;
/// How much larger a change has to be if samples had to be taken as independent.
pub const SAMPLES_FACTOR: f64 = 4.0;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Exits per second.
    Rate,
    /// Share of the handled time.
    Share,
    /// Time of these exits per second.
    Time,
    /// Mean duration.
    Mean,
    /// Median.
    P50,
    /// 99 % quantile.
    P99,
    /// 99.9 % quantile.
    P999,
    /// Longest.
    Max,
    /// The whole distribution.
    Shape,
}

/// In what a metric is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things per second.
    PerSecond,
    /// A share of a whole.
    Share,
    /// ns per second.
    NsPerSecond,
    /// ns.
    Ns,
    /// No value, only a distance.
    None,
}

/// A line of the table of metrics.
#[derive(Debug)]
pub struct MetricInfo {
    /// The metric.
    pub metric: Metric,
    /// Its name, in rules and everywhere else.
    pub id: &'static str,
    /// Name in JSON, with the unit.
    pub json: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// The default verdict looks at it.
    pub judged: bool,
}

/// All metrics, in the order of [`Metric`].
pub static METRICS: [MetricInfo; 9] = [
    info(Metric::Rate, "rate", "per_second", Unit::PerSecond, true),
    info(Metric::Share, "share", "time_share", Unit::Share, false),
    info(Metric::Time, "time", "ns_per_second", Unit::NsPerSecond, false),
    info(Metric::Mean, "mean", "mean_ns", Unit::Ns, true),
    info(Metric::P50, "p50", "p50_ns", Unit::Ns, true),
    info(Metric::P99, "p99", "p99_ns", Unit::Ns, true),
    info(Metric::P999, "p99.9", "p999_ns", Unit::Ns, true),
    info(Metric::Max, "max", "max_ns", Unit::Ns, false),
    info(Metric::Shape, "shape", "shape", Unit::None, true),
];

const fn info(metric: Metric, id: &'static str, json: &'static str, unit: Unit, judged: bool) -> MetricInfo {
    MetricInfo { metric, id, json, unit, judged }
}

impl Metric {
    /// Its line of the table.
    pub fn info(self) -> &'static MetricInfo {
        &METRICS[self as usize]
    }
}

impl std::str::FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = METRICS.iter().find(|info| info.id == text);
        found.map(|info| info.metric).ok_or_else(|| {
            let all: Vec<_> = METRICS.iter().map(|info| info.id).collect();
            format!("`{text}` is no metric; there are {}", all.join(", "))
        })
    }
}

/// What was found of a metric, of a row, or of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Not looked at; the word says why.
    Unjudged(&'static str),
    /// Nothing beyond chance, or nothing that matters.
    Same,
    /// Less, or shorter.
    Improved,
    /// Different, in no direction: the distribution only.
    Changed,
    /// More, or longer.
    Regressed,
}

impl Verdict {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unjudged(_) => "not judged",
            Self::Same => "same",
            Self::Improved => "improved",
            Self::Changed => "changed",
            Self::Regressed => "regressed",
        }
    }
}

/// What counts as a change.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The smallest relative change that matters.
    pub min_change: f64,
    /// Rows with fewer samples are not judged.
    pub min_samples: u64,
    /// The probability that any change at all is found where there is none.
    pub alpha: f64,
    /// The metrics that the default verdict looks at.
    pub judge: Vec<Metric>,
    /// The numbers of both sides mean the same. If not nothing is judged.
    pub comparable: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let judge = METRICS.iter().filter(|info| info.judged).map(|info| info.metric).collect();
        Self { min_change: 0.05, min_samples: 1000, alpha: 0.001, judge, comparable: true }
    }
}

/// What is taken as the unit that chance acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Intervals, joined to blocks where there are many.
    Blocks,
    /// Single samples, as if they were independent: there are too few intervals.
    Samples,
}

/// A metric of a row, and what was found.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// Which.
    pub metric: Metric,
    /// Its numbers.
    pub measured: Measured,
    /// The probability, corrected for all that was judged with it; `None` if it was not.
    pub adjusted: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
}

/// A row of a comparison.
#[derive(Clone, Debug)]
pub struct RowDiff {
    /// What it stands for.
    pub key: Key,
    /// Samples before and after.
    pub counts: [u64; 2],
    /// One for each of [`METRICS`].
    pub findings: Vec<Finding>,
    /// How far the distributions are apart, if both sides have samples.
    pub distance: Option<Distance>,
    /// The worst of the findings.
    pub verdict: Verdict,
}

impl RowDiff {
    /// One of its findings.
    pub fn finding(&self, metric: Metric) -> &Finding {
        &self.findings[metric as usize]
    }

    /// `new` or `vanished`, if one side has no samples.
    pub fn presence(&self) -> Option<&'static str> {
        match self.counts {
            [0, _] => Some("new"),
            [_, 0] => Some("vanished"),
            _ => None,
        }
    }

    /// The change of total time in units of its uncertainty.
    fn weight(&self) -> f64 {
        let t = self.finding(Metric::Time).measured.change.map(|change| change.t.abs());
        t.filter(|t| !t.is_nan()).unwrap_or_else(|| {
            let of = |value: Option<f64>| value.unwrap_or_default();
            let measured = self.finding(Metric::Time).measured;
            (of(measured.new) - of(measured.base)).abs()
        })
    }

    /// Why its durations (or with `any`, its rate too) are not judged; "" if they are.
    fn reason_not_to(&self, any: bool, settings: &Settings) -> &'static str {
        let enough = |count: &u64| *count >= settings.min_samples;
        let enough = if any { self.counts.iter().any(enough) } else { self.counts.iter().all(enough) };
        match (settings.comparable, enough) {
            (false, _) => "the dumps are not comparable",
            (true, false) => "too few samples",
            (true, true) => "",
        }
    }

    /// Why a metric cannot be tested here; "" if it can.
    fn untestable(&self, metric: Metric, settings: &Settings) -> &'static str {
        let over_time = matches!(metric, Metric::Rate | Metric::Share | Metric::Time);
        let why = self.reason_not_to(over_time, settings);
        if why.is_empty() { self.finding(metric).measured.untested } else { why }
    }
}

/// Two recordings, compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The rows, what matters most first.
    pub rows: Vec<RowDiff>,
    /// How.
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
    /// What became of the rules.
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
}

/// Compares two recordings.
pub fn compare(base: &Side, new: &Side, settings: Settings, rules: &[Rule]) -> Comparison {
    let blocks = [base.blocks.len(), new.blocks.len()];
    let method =
        if blocks.iter().all(|blocks| *blocks >= MIN_BLOCKS) { Method::Blocks } else { Method::Samples };
    let factor = if method == Method::Samples { SAMPLES_FACTOR } else { 1.0 };
    let keys: BTreeSet<&Key> = base.rows.keys().chain(new.rows.keys()).collect();
    let mut rows: Vec<RowDiff> = keys.into_iter().map(|key| row(key, base, new, method)).collect();
    let min_change = settings.min_change * factor;
    let judged = judge(&mut rows, &settings, min_change);
    rows.sort_by(|a, b| {
        b.verdict.cmp(&a.verdict).then(b.weight().total_cmp(&a.weight())).then_with(|| a.key.cmp(&b.key))
    });
    let verdict = rows.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Unjudged("no samples"));
    let rules = rules::apply(rules, &rows, &settings);
    Comparison { rows, method, blocks, settings, min_change, judged, verdict, rules }
}

fn row(key: &Key, base: &Side, new: &Side, method: Method) -> RowDiff {
    let (before, after) = (base.rows.get(key), new.rows.get(key));
    let pair = Pair { key, base: (base, before), new: (new, after), method };
    let finding = |info: &MetricInfo| Finding {
        metric: info.metric,
        measured: pair.measure(info.metric),
        adjusted: None,
        verdict: Verdict::Unjudged(""),
    };
    RowDiff {
        key: key.clone(),
        counts: [before, after].map(|row| row.map_or(0, |row| row.stats.count)),
        findings: METRICS.iter().map(finding).collect(),
        distance: before.zip(after).map(|(base, new)| metrics::distance(&base.stats, &new.stats)),
        verdict: Verdict::Unjudged(""),
    }
}

/// Gives every finding and row its verdict; how many were judged.
fn judge(rows: &mut [RowDiff], settings: &Settings, min_change: f64) -> usize {
    let (mut places, mut chances) = (Vec::new(), Vec::new());
    for (index, row) in rows.iter_mut().enumerate() {
        for info in &METRICS {
            let why = match (settings.judge.contains(&info.metric), row.key.idle) {
                (false, _) => "shown only",
                (true, true) => "idle",
                (true, false) => row.untestable(info.metric, settings),
            };
            match row.finding(info.metric).measured.change {
                Some(change) if why.is_empty() => {
                    places.push((index, info.metric));
                    chances.push(change.p);
                }
                _ => row.findings[info.metric as usize].verdict = Verdict::Unjudged(why),
            }
        }
    }
    for ((index, metric), adjusted) in places.iter().zip(statistics::holm(&chances)) {
        let row = &mut rows[*index];
        let distance = row.distance;
        let finding = &mut row.findings[*metric as usize];
        let relative = finding.measured.change.map_or(0.0, |change| change.relative);
        finding.adjusted = Some(adjusted);
        finding.verdict = if adjusted >= settings.alpha || relative.abs() < min_change {
            Verdict::Same
        } else {
            // The shape's own change has no sign.
            match distance.filter(|_| *metric == Metric::Shape) {
                // Of the logarithms: down, a relative change ends at -1, and up it does not.
                Some(Distance { moved, shift, .. }) if shift.ln_1p().abs() < moved.ln_1p() / 2.0 => {
                    Verdict::Changed
                }
                Some(Distance { shift, .. }) if shift < 0.0 => Verdict::Improved,
                None if relative < 0.0 => Verdict::Improved,
                _ => Verdict::Regressed,
            }
        };
    }
    for row in rows.iter_mut() {
        let worst = row.findings.iter().map(|finding| finding.verdict).max();
        row.verdict = match worst {
            Some(Verdict::Unjudged(_)) | None => Verdict::Unjudged(row.findings[0].verdict.why()),
            Some(verdict) => verdict,
        };
    }
    places.len()
}

impl Verdict {
    /// Why nothing was judged; "" if something was.
    pub fn why(self) -> &'static str {
        match self {
            Self::Unjudged(why) => why,
            _ => "",
        }
    }
}
