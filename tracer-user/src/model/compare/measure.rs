//! Measures every metric of a row: from both sides' blocks and buckets to a change with its uncertainty.

use tracer_ebpf::histogram::{BUCKETS, bounds_of, midpoint_of};

use super::{
    Method, Metric, Unjudged,
    statistics::{
        self, Autocorrelation, Change, Estimate, IntervalEstimate, Proportion, RatioTerm, compare_shares,
        ratio,
    },
    summary::{BlockSamples, RecordingSummary, RowKey, RowSummary},
};
use crate::model::{QUANTILES, Stats};

/// A quantile needs this many samples above it to be judged.
const MIN_TAIL: f64 = 10.0;
/// The shares of samples at which the quantiles of two distributions are compared.
const GRID: [f64; 13] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
/// A point of the grid needs this many samples below it, and as many above it.
const MIN_SAMPLES_BESIDE: f64 = 20.0;

/// The evidence for a change of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evidence {
    /// A change whose probability by chance is known.
    Tested(Change),
    /// A change that is shown, but whose probability is not to be trusted.
    Untested(Change, Unjudged),
    /// No change can be told.
    Missing(Unjudged),
}

impl Evidence {
    /// The change, if a verdict can rest on it.
    ///
    /// # Errors
    /// Why no verdict can.
    pub fn tested(self) -> Result<Change, Unjudged> {
        match self {
            Self::Tested(change) => Ok(change),
            Self::Untested(_, why) | Self::Missing(why) => Err(why),
        }
    }
}

/// A metric of a row on both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Value before, in the metric's unit; `None` without samples.
    pub base: Option<f64>,
    /// Value after, in the metric's unit; `None` without samples.
    pub new: Option<f64>,
    /// How the value has changed.
    pub evidence: Evidence,
}

impl Measured {
    /// The change, where it can be told, whether or not a verdict can rest on it.
    pub fn change(&self) -> Option<Change> {
        match self.evidence {
            Evidence::Tested(change) | Evidence::Untested(change, _) => Some(change),
            Evidence::Missing(_) => None,
        }
    }
}

/// How far apart two distributions are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// The largest difference of the shares below any one duration (Kolmogorov and Smirnov's).
    pub largest: f64,
    /// By how much a sample would have to change on average to make one of the other (Wasserstein's, of the
    /// logarithms), as a relative change.
    pub moved: f64,
    /// The average change with its direction, where changes up and down cancel: that of the geometric mean.
    pub shift: f64,
}

/// An amount per time.
struct OverTime {
    /// `None` where it has no meaning.
    value: Option<f64>,
    /// The amount with its uncertainty; `None` if there are too few blocks to tell that.
    estimate: Option<Estimate>,
}

/// A row within the recording of one side.
#[derive(Clone, Copy)]
pub(super) struct RowOfSide<'a> {
    recording: &'a RecordingSummary,
    /// `None` if the recording has no samples of the row.
    row: Option<&'a RowSummary>,
}

impl<'a> RowOfSide<'a> {
    pub fn new(recording: &'a RecordingSummary, key: &RowKey) -> Self {
        Self { recording, row: recording.rows.get(key) }
    }

    /// Samples of the row.
    pub fn count(&self) -> u64 {
        self.row.map_or(0, |row| row.stats.count)
    }
}

/// A row on both sides.
pub(super) struct RowPair<'a> {
    pub key: &'a RowKey,
    pub base: RowOfSide<'a>,
    pub new: RowOfSide<'a>,
    pub method: Method,
}

impl RowPair<'_> {
    /// Measures one metric.
    pub fn measure(&self, metric: Metric) -> Measured {
        match metric {
            Metric::Rate => self.over_time(rate),
            Metric::Time => self.over_time(time),
            Metric::Share => self.over_time(share),
            Metric::Mean => self.mean(),
            Metric::Quantile(index) => self.quantile(QUANTILES[index].q),
            Metric::Max => {
                let max = |side: RowOfSide<'_>| side.row.map(|row| row.stats.max_ns as f64);
                Measured {
                    base: max(self.base),
                    new: max(self.new),
                    evidence: Evidence::Missing(Unjudged::Maximum),
                }
            }
            Metric::Shape => self.shape(),
        }
    }

    /// How far the distributions are apart; `None` unless both sides have samples.
    pub fn distance(&self) -> Option<Distance> {
        self.both().map(|(base, new)| distance(&base.stats, &new.stats))
    }

    fn over_time(&self, of: fn(RowOfSide<'_>, &RowKey) -> OverTime) -> Measured {
        let (base, new) = (of(self.base, self.key), of(self.new, self.key));
        let evidence = match (base.estimate, new.estimate) {
            (Some(base), Some(new)) => Evidence::Tested(statistics::compare(base, new)),
            _ => Evidence::Missing(Unjudged::OneInterval),
        };
        Measured { base: base.value, new: new.value, evidence }
    }

    fn both(&self) -> Option<(&RowSummary, &RowSummary)> {
        self.base.row.zip(self.new.row)
    }

    /// A metric of durations where a side has no samples.
    fn one_side(&self, value: impl Fn(&RowSummary) -> Option<f64>) -> Measured {
        let (base, new) = (self.base.row.and_then(&value), self.new.row.and_then(&value));
        Measured { base, new, evidence: Evidence::Missing(Unjudged::OneSideEmpty) }
    }

    /// A change of durations as evidence. Where all of a side's samples are of one block, nothing is known of
    /// their fluctuation from block to block, which is more than that of independent samples: the change is
    /// not judged.
    fn of_durations(&self, change: Change) -> Evidence {
        let in_one_block = |side: RowOfSide<'_>| side.row.is_some_and(|row| row.blocks.len() < 2);
        if self.method == Method::Blocks && (in_one_block(self.base) || in_one_block(self.new)) {
            Evidence::Untested(change, Unjudged::OneBlock)
        } else {
            Evidence::Tested(change)
        }
    }

    fn mean(&self) -> Measured {
        let value = |row: &RowSummary| row.stats.mean_ns();
        let Some((base, new)) = self.both() else { return self.one_side(value) };
        let estimate = |row: &RowSummary| {
            // One sample says nothing about the spread.
            let spread = if row.stats.count < 2 { f64::INFINITY } else { variance(&row.stats) };
            let mean = row.stats.mean_ns().unwrap_or_default();
            let estimate = self.of_samples(row, mean, |block| block.sum_ns as f64);
            estimate.at_least(spread / row.stats.count as f64)
        };
        let change = statistics::compare(estimate(base), estimate(new));
        Measured { base: value(base), new: value(new), evidence: self.of_durations(change) }
    }

    /// An average over samples, with the uncertainty that the blocks show. Few blocks can raise the
    /// uncertainty of independent samples, but not say how well it is known.
    fn of_samples(&self, row: &RowSummary, value: f64, sum: impl Fn(&BlockSamples) -> f64) -> Estimate {
        let blocks = row.blocks.values().map(|block| RatioTerm { y: sum(block), x: block.count as f64 });
        let estimate = ratio(blocks, Autocorrelation::Short).unwrap_or(Estimate::exact(value));
        match self.method {
            Method::Blocks => Estimate { value, ..estimate },
            Method::Samples => Estimate { value, freedom: f64::INFINITY, ..estimate },
        }
    }

    /// The share of samples up to `x` ns.
    fn below(&self, row: &RowSummary, x: f64) -> Proportion {
        let count = row.stats.count as f64;
        let value = up_to(&row.stats, x) / count;
        Proportion { share: self.of_samples(row, value, |block| block_up_to(block, x)), count }
    }

    /// The probability of shares of samples up to `x` ns that differ as much by chance.
    fn compare_below(&self, base: &RowSummary, new: &RowSummary, x: f64) -> f64 {
        compare_shares(self.below(base, x), self.below(new, x))
    }

    fn quantile(&self, q: f64) -> Measured {
        let value = |row: &RowSummary| quantile(&row.stats, q);
        let Some((base, new)) = self.both() else { return self.one_side(value) };
        let (Some(at_base), Some(at_new)) = (value(base), value(new)) else { return self.one_side(value) };
        let at = |x| self.compare_below(base, new, x);
        // At both quantiles, corrected for looking twice: where one side has no samples, nothing can differ.
        let p = (2.0 * at(at_base).min(at(at_new))).min(1.0);
        let interval =
            statistics::ratio_interval(self.interval(base, q, at_base), self.interval(new, q, at_new));
        let relative = at_new / at_base - 1.0;
        let change = Change { relative, interval: Some(interval), p, standard_errors: None };
        let short_tail = [base, new].iter().any(|row| row.stats.count as f64 * (1.0 - q) < MIN_TAIL);
        // Only the start of the open last bucket is known.
        let open_bucket = [base, new].iter().any(|row| bucket_at(&row.stats, q) == Some(BUCKETS - 1));
        let evidence = match (short_tail, open_bucket) {
            (true, _) => Evidence::Untested(change, Unjudged::ShortTail),
            (_, true) => Evidence::Untested(change, Unjudged::OpenBucket),
            _ => self.of_durations(change),
        };
        Measured { base: Some(at_base), new: Some(at_new), evidence }
    }

    /// A quantile within its 95 % interval: the quantiles at the ends of the interval of its share
    /// (Woodruff), which is taken on the logit's scale, so that it stays within 0 and 1.
    fn interval(&self, row: &RowSummary, q: f64, value: f64) -> IntervalEstimate {
        let count = row.stats.count as f64;
        let below = self.below(row, value).share.at_least(q * (1.0 - q) / count);
        let reach = statistics::reach(below.freedom) * below.variance.sqrt() / (q * (1.0 - q));
        let share = |logit: f64| 1.0 / (1.0 + (-logit).exp());
        let logit = (q / (1.0 - q)).ln();
        let (from, to) = (share(logit - reach), share(logit + reach));
        let end = |share: f64| quantile(&row.stats, share).unwrap_or(value);
        // Nothing is known below the minimum and above the maximum.
        let low = if from * count < 1.0 { 0.0 } else { end(from).min(value) };
        let high = if (1.0 - to) * count < 1.0 { f64::INFINITY } else { end(to).max(value) };
        IntervalEstimate { low, value, high }
    }

    fn shape(&self) -> Measured {
        let Some((base, new)) = self.both() else { return self.one_side(|_| None) };
        let distance = distance(&base.stats, &new.stats);
        let mut pooled = base.stats.clone();
        pooled.merge(&new.stats);
        let mut edges: Vec<usize> = GRID.iter().filter_map(|share| bucket_at(&pooled, *share)).collect();
        edges.dedup();
        let (mut p, mut points) = (1.0f64, 0.0);
        for edge in edges {
            let x = upper_edge(edge);
            let below = up_to(&pooled, x);
            if below < MIN_SAMPLES_BESIDE || pooled.count as f64 - below < MIN_SAMPLES_BESIDE {
                continue;
            }
            points += 1.0;
            p = p.min(self.compare_below(base, new, x));
        }
        let p = (p * points).min(1.0);
        // A row all of whose samples are in one bucket on both sides has no edge to look at, and is
        // unchanged.
        let change = Change { relative: distance.moved, interval: None, p, standard_errors: None };
        Measured { base: None, new: None, evidence: self.of_durations(change) }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The ratio of an amount and a weight, each summed up over all blocks of a recording.
fn per_block(
    side: RowOfSide<'_>,
    amount: fn(&BlockSamples) -> u64,
    weight: impl Fn(usize) -> f64,
) -> Option<Estimate> {
    let blocks = (0..side.recording.blocks.len()).map(|index| {
        let samples = side.row.and_then(|row| row.blocks.get(&index));
        RatioTerm { y: samples.map_or(0.0, |samples| amount(samples) as f64), x: weight(index) }
    });
    ratio(blocks, Autocorrelation::Long)
}

/// A total per second. `squares` is the variance of the total if exits come at random times.
fn per_second(
    side: RowOfSide<'_>,
    key: &RowKey,
    amount: fn(&BlockSamples) -> u64,
    total: f64,
    squares: f64,
) -> OverTime {
    let blocks = &side.recording.blocks;
    let elapsed = |index: usize| seconds(blocks[index].elapsed_ns(key.host.as_deref()));
    let all: f64 = (0..blocks.len()).map(elapsed).sum();
    let estimate = per_block(side, amount, elapsed).map(|estimate| estimate.at_least(squares / (all * all)));
    OverTime { value: Some(if all > 0.0 { total / all } else { 0.0 }), estimate }
}

/// Exits per second.
fn rate(side: RowOfSide<'_>, key: &RowKey) -> OverTime {
    let count = side.count() as f64;
    per_second(side, key, |samples| samples.count, count, count.max(1.0))
}

/// Nanoseconds per second.
fn time(side: RowOfSide<'_>, key: &RowKey) -> OverTime {
    let sum = side.row.map_or(0, |row| row.stats.sum_ns) as f64;
    // Independent exits at random times: the sum of the squares of their durations.
    let squares = side.row.map_or(0.0, |row| {
        let mean = row.stats.mean_ns().unwrap_or_default();
        row.stats.count as f64 * (variance(&row.stats) + mean * mean)
    });
    per_second(side, key, |samples| samples.sum_ns, sum, squares)
}

/// Share of the handled time, which excludes idle rows.
fn share(side: RowOfSide<'_>, key: &RowKey) -> OverTime {
    if key.idle {
        return OverTime { value: None, estimate: None };
    }
    let recording = side.recording;
    let sum = side.row.map_or(0, |row| row.stats.sum_ns) as f64;
    let handled = recording.handled_ns() as f64;
    let estimate =
        per_block(side, |samples| samples.sum_ns, |index| recording.blocks[index].handled_ns as f64);
    OverTime { value: Some(if handled > 0.0 { sum / handled } else { 0.0 }), estimate }
}

/// Variance of the samples, from the buckets' midpoints.
fn variance(stats: &Stats) -> f64 {
    let filled = || stats.buckets.iter().enumerate().filter(|(_, count)| **count != 0);
    let total: f64 = filled().map(|(_, count)| *count as f64).sum();
    if total < 2.0 {
        return 0.0;
    }
    let mid = |bucket: usize| midpoint_of(bucket) as f64;
    let mean = filled().map(|(bucket, count)| mid(bucket) * *count as f64).sum::<f64>() / total;
    filled().map(|(bucket, count)| (mid(bucket) - mean).powi(2) * *count as f64).sum::<f64>() / (total - 1.0)
}

/// Upper end of a bucket in ns. The last bucket counts as closed.
fn upper_edge(bucket: usize) -> f64 {
    let (low, high) = bounds_of(bucket);
    if bucket == BUCKETS - 1 { 2.0 * midpoint_of(bucket) as f64 - low as f64 } else { high as f64 }
}

/// The bucket that holds a share of the samples, counted from the shortest.
fn bucket_at(stats: &Stats, share: f64) -> Option<usize> {
    let total = stats.buckets.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    let mut seen = 0.0;
    stats.buckets.iter().position(|count| {
        seen += *count as f64;
        *count != 0 && seen >= share * total as f64
    })
}

/// The duration below which a share of the samples lies, taking those of a bucket as spread evenly over it,
/// and kept within the exact minimum and maximum. A step of one bucket is then no change by itself.
fn quantile(stats: &Stats, share: f64) -> Option<f64> {
    let bucket = bucket_at(stats, share)?;
    let before: u64 = stats.buckets[..bucket].iter().sum();
    let total: u64 = stats.buckets.iter().sum();
    let within = (share * total as f64 - before as f64) / stats.buckets[bucket] as f64;
    let low = bounds_of(bucket).0 as f64;
    let value = low + within.clamp(0.0, 1.0) * (upper_edge(bucket) - low);
    let (min, max) = (stats.min_ns as f64, stats.max_ns.max(stats.min_ns) as f64);
    // Logarithms are taken of it.
    Some(value.clamp(min, max).max(0.5))
}

/// How many samples are below `x` ns, those of its bucket in proportion.
fn up_to(stats: &Stats, x: f64) -> f64 {
    let filled = stats.buckets.iter().enumerate().filter(|(_, count)| **count != 0);
    filled.map(|(bucket, count)| *count as f64 * part_below(bucket, x)).sum()
}

/// How many samples of a block are below `x` ns, those of its bucket in proportion.
fn block_up_to(samples: &BlockSamples, x: f64) -> f64 {
    samples.buckets.iter().map(|(bucket, count)| *count as f64 * part_below(usize::from(*bucket), x)).sum()
}

/// The share of a bucket that lies below `x` ns.
fn part_below(bucket: usize, x: f64) -> f64 {
    let low = bounds_of(bucket).0 as f64;
    if x <= low { 0.0 } else { ((x - low) / (upper_edge(bucket) - low)).min(1.0) }
}

/// How far apart the distributions of two rows are.
fn distance(base: &Stats, new: &Stats) -> Distance {
    let total = |stats: &Stats| stats.buckets.iter().map(|count| *count as f64).sum::<f64>().max(1.0);
    let (base_total, new_total) = (total(base), total(new));
    let (mut below_base, mut below_new) = (0.0, 0.0);
    let (mut largest, mut moved, mut shift) = (0.0f64, 0.0, 0.0);
    for bucket in 0..BUCKETS {
        below_base += base.buckets[bucket] as f64 / base_total;
        below_new += new.buckets[bucket] as f64 / new_total;
        let difference: f64 = below_base - below_new;
        // The distance from the middle of this bucket to that of the next.
        let middle = |bucket: usize| (midpoint_of(bucket) as f64).max(0.5);
        let width = if bucket + 1 < BUCKETS { (middle(bucket + 1) / middle(bucket)).ln() } else { 0.0 };
        largest = largest.max(difference.abs());
        moved += difference.abs() * width;
        shift += difference * width;
    }
    Distance { largest, moved: moved.exp_m1(), shift: shift.exp_m1() }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::histogram::bucket_of;

    use super::*;

    fn of(samples: impl IntoIterator<Item = u64>) -> Stats {
        let mut stats = Stats::default();
        for ns in samples {
            stats.add(1, ns, ns, ns, &[(bucket_of(ns) as u16, 1)]);
        }
        stats
    }

    #[test]
    fn quantiles_move_smoothly_through_buckets() {
        let stats = of(1..=100_000);
        // Not at the very top: the last bucket is filled in part only.
        for share in [0.1, 0.333, 0.5, 0.77, 0.98] {
            let found = quantile(&stats, share).unwrap();
            assert!((found / (share * 100_000.0) - 1.0).abs() < 0.002, "{share}: {found}");
            assert!((up_to(&stats, found) / 100_000.0 - share).abs() < 1e-9);
        }
        assert_eq!((quantile(&stats, 0.0), quantile(&stats, 1.0)), (Some(1.0), Some(100_000.0)));
        assert_eq!(quantile(&Stats::default(), 0.5), None);
        assert_eq!(quantile(&of([777; 5]), 0.99), Some(777.0));
    }

    #[test]
    fn distances_of_known_distributions() {
        let base = of((1_000..2_000).map(|ns| ns * 16));
        let same = distance(&base, &base);
        assert_eq!((same.largest, same.moved, same.shift), (0.0, 0.0, 0.0));
        // Everything twice as long: every sample has moved by 100 %.
        let doubled = distance(&base, &of((1_000..2_000).map(|ns| ns * 32)));
        // The longest before and the shortest after share a bucket.
        assert!(doubled.largest > 0.98, "{doubled:?}");
        assert!((doubled.moved - 1.0).abs() < 1e-3 && (doubled.shift - 1.0).abs() < 1e-3, "{doubled:?}");
        // A tenth of the samples is twice as long.
        let tenth = (1_000..2_000).map(|ns| ns * if ns % 10 == 0 { 32 } else { 16 });
        let tenth = distance(&base, &of(tenth));
        assert!((tenth.moved - (0.1 * 2f64.ln()).exp_m1()).abs() < 0.01, "{tenth:?}");
        // Up and down cancel in the shift only.
        let spread = distance(&of([1_000; 100]), &of([500, 2_000].repeat(50)));
        assert!(spread.moved > 0.9 && spread.shift.abs() < 0.05, "{spread:?}");
    }
}
