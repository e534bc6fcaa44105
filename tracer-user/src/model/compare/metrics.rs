//! What is compared of a row: every metric, from both sides' blocks and buckets to a change with its uncertainty.

use tracer_ebpf::histogram::{BUCKETS, bounds_of, midpoint_of};

use super::{
    Method, Metric,
    side::{Key, Samples, Side, SideRow},
    statistics::{self, Change, Estimate, Memory, compare_shares, ratio},
};
use crate::model::Stats;

/// A quantile needs this many samples above it to be judged.
const MIN_TAIL: f64 = 10.0;
/// Where two distributions are held against each other, as shares of both together.
const GRID: [f64; 13] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
/// The grid's points need this many samples on either side.
const MIN_SIDE: f64 = 20.0;

/// A metric of a row on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Before; `None` without samples.
    pub base: Option<f64>,
    /// After.
    pub new: Option<f64>,
    /// The difference, where it can be had.
    pub change: Option<Change>,
    /// Why there is no test of it, "" if there is one.
    pub untested: &'static str,
}

/// How far apart two distributions are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// The largest difference of the shares below any one duration (Kolmogorov and Smirnov's).
    pub largest: f64,
    /// By how much a sample would have to change on average to make one of the other (Wasserstein's, of the
    /// logarithms), as a relative change.
    pub moved: f64,
    /// The same with its direction, where changes up and down cancel: the change of the geometric mean.
    pub shift: f64,
}

/// A value that is per time, and what the blocks say of its uncertainty.
type OverTime = fn(&Side, Option<&SideRow>, &Key) -> (f64, Option<Estimate>);

/// Both sides of a row.
pub(super) struct Pair<'a> {
    pub key: &'a Key,
    pub base: (&'a Side, Option<&'a SideRow>),
    pub new: (&'a Side, Option<&'a SideRow>),
    pub method: Method,
}

impl Pair<'_> {
    /// One metric.
    pub fn measure(&self, metric: Metric) -> Measured {
        match metric {
            Metric::Rate => self.over_time(rate),
            Metric::Time => self.over_time(time),
            Metric::Share => self.over_time(share),
            Metric::Mean => self.mean(),
            Metric::P50 => self.quantile(0.5),
            Metric::P99 => self.quantile(0.99),
            Metric::P999 => self.quantile(0.999),
            Metric::Max => {
                let max = |row: Option<&SideRow>| row.map(|row| row.stats.max_ns as f64);
                let untested = "an extreme has no distribution to test";
                Measured { base: max(self.base.1), new: max(self.new.1), change: None, untested }
            }
            Metric::Shape => self.shape(),
        }
    }

    fn over_time(&self, estimate: OverTime) -> Measured {
        let (base, base_estimate) = estimate(self.base.0, self.base.1, self.key);
        let (new, new_estimate) = estimate(self.new.0, self.new.1, self.key);
        let estimates = base_estimate.zip(new_estimate);
        let change = estimates.map(|(base, new)| statistics::compare(base, new));
        let untested =
            if change.is_none() { "one interval does not tell how much it fluctuates" } else { "" };
        let known = |value: f64| Some(value).filter(|value| !value.is_nan());
        Measured { base: known(base), new: known(new), change, untested }
    }

    fn both(&self) -> Option<(&SideRow, &SideRow)> {
        self.base.1.zip(self.new.1)
    }

    /// What a metric of durations looks like where one side has no samples.
    fn one_side(&self, value: impl Fn(&SideRow) -> Option<f64>) -> Measured {
        let (base, new) = (self.base.1.and_then(&value), self.new.1.and_then(&value));
        Measured { base, new, change: None, untested: "one side has no samples" }
    }

    fn mean(&self) -> Measured {
        let value = |row: &SideRow| row.stats.mean_ns();
        let Some((base, new)) = self.both() else { return self.one_side(value) };
        let estimate = |row: &SideRow| {
            // One sample says nothing about the spread.
            let spread = if row.stats.count < 2 { f64::INFINITY } else { variance(&row.stats) };
            let mean = row.stats.mean_ns().unwrap_or_default();
            let estimate = self.of_samples(row, mean, |block| block.sum_ns as f64);
            estimate.at_least(spread / row.stats.count as f64)
        };
        let change = statistics::compare(estimate(base), estimate(new));
        Measured { base: value(base), new: value(new), change: Some(change), untested: self.burst() }
    }

    /// Why durations are not judged where all of a side's samples are of one block, "" elsewhere: how they fluctuate from
    /// block to block is not known then, and that is more than independent samples would.
    fn burst(&self) -> &'static str {
        let one = |row: Option<&SideRow>| row.is_some_and(|row| row.blocks.len() < 2);
        let burst = self.method == Method::Blocks && (one(self.base.1) || one(self.new.1));
        if burst { "all of a side's samples are of one time" } else { "" }
    }

    /// An average over samples, with the uncertainty that the blocks show. Few blocks can raise the uncertainty of
    /// independent samples, but not say how well it is known.
    fn of_samples(&self, row: &SideRow, value: f64, sum: impl Fn(&Samples) -> f64) -> Estimate {
        let blocks = row.blocks.values().map(|block| (sum(block), block.count as f64));
        let estimate = ratio(blocks, Memory::Short).unwrap_or(Estimate::exact(value));
        match self.method {
            Method::Blocks => Estimate { value, ..estimate },
            Method::Samples => Estimate { value, freedom: f64::INFINITY, ..estimate },
        }
    }

    /// The share of samples up to `x`.
    fn below(&self, row: &SideRow, x: f64) -> Estimate {
        let value = up_to(&row.stats, x) / row.stats.count as f64;
        self.of_samples(row, value, |block| block_up_to(block, x))
    }

    fn quantile(&self, q: f64) -> Measured {
        let value = |row: &SideRow| quantile(&row.stats, q);
        let Some((base, new)) = self.both() else { return self.one_side(value) };
        let (Some(at_base), Some(at_new)) = (value(base), value(new)) else { return self.one_side(value) };
        let counts = [base, new].map(|row| row.stats.count as f64);
        let at = |x| compare_shares(self.below(base, x), counts[0], self.below(new, x), counts[1]);
        // At both quantiles, corrected for looking twice: where one side has no samples, nothing can differ.
        let p = (2.0 * at(at_base).min(at(at_new))).min(1.0);
        let (low, high) =
            statistics::ratio_interval(self.interval(base, q, at_base), self.interval(new, q, at_new));
        let relative = at_new / at_base - 1.0;
        let few = counts.iter().any(|count| count * (1.0 - q) < MIN_TAIL);
        // Of the open last bucket only its start is known.
        let beyond = [base, new].iter().any(|row| bucket_at(&row.stats, q) == Some(BUCKETS - 1));
        let untested = match (few, beyond) {
            (true, _) => "fewer than 10 samples above it",
            (_, true) => "longer than the buckets tell apart",
            _ => self.burst(),
        };
        let change = Some(Change { relative, low, high, p, t: f64::NAN });
        Measured { base: Some(at_base), new: Some(at_new), change, untested }
    }

    /// A quantile within its 95 % interval: the quantiles at the ends of the interval of its share (Woodruff), which
    /// is taken on the logit's scale, so that it stays within 0 and 1.
    fn interval(&self, row: &SideRow, q: f64, value: f64) -> [f64; 3] {
        let count = row.stats.count as f64;
        let below = self.below(row, value).at_least(q * (1.0 - q) / count);
        let reach = statistics::reach(below.freedom) * below.variance.sqrt() / (q * (1.0 - q));
        let share = |logit: f64| 1.0 / (1.0 + (-logit).exp());
        let logit = (q / (1.0 - q)).ln();
        let (from, to) = (share(logit - reach), share(logit + reach));
        let end = |share: f64| quantile(&row.stats, share).unwrap_or(value);
        // Beyond the extremes nothing is known.
        let low = if from * count < 1.0 { 0.0 } else { end(from).min(value) };
        let high = if (1.0 - to) * count < 1.0 { f64::INFINITY } else { end(to).max(value) };
        [low, value, high]
    }

    fn shape(&self) -> Measured {
        let Some((base, new)) = self.both() else { return self.one_side(|_| None) };
        let distance = distance(&base.stats, &new.stats);
        let mut pooled = base.stats.clone();
        pooled.merge(&new.stats);
        let counts = [base, new].map(|row| row.stats.count as f64);
        let mut edges: Vec<usize> = GRID.iter().filter_map(|share| bucket_at(&pooled, *share)).collect();
        edges.dedup();
        let (mut p, mut points) = (1.0f64, 0.0);
        for edge in edges {
            let x = upper_edge(edge);
            let below = up_to(&pooled, x);
            if below < MIN_SIDE || pooled.count as f64 - below < MIN_SIDE {
                continue;
            }
            points += 1.0;
            p = p.min(compare_shares(self.below(base, x), counts[0], self.below(new, x), counts[1]));
        }
        let p = (p * points).min(1.0);
        let (low, high) = (f64::NAN, f64::NAN);
        let change = Change { relative: distance.moved, low, high, p, t: f64::NAN };
        // A row all of whose samples are in one bucket on both sides has no edge to look at, and is unchanged.
        Measured { base: None, new: None, change: Some(change), untested: self.burst() }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// `Σ` of something of a row's blocks over the time of the blocks.
fn per_time(
    side: &Side,
    row: Option<&SideRow>,
    of: fn(&Samples) -> u64,
    weight: impl Fn(usize) -> f64,
) -> Option<Estimate> {
    let blocks = (0..side.blocks.len()).map(|index| {
        let samples = row.and_then(|row| row.blocks.get(&index));
        (samples.map_or(0.0, |samples| of(samples) as f64), weight(index))
    });
    ratio(blocks, Memory::Long)
}

/// Exits per second.
fn rate(side: &Side, row: Option<&SideRow>, key: &Key) -> (f64, Option<Estimate>) {
    let elapsed = |index: usize| seconds(side.blocks[index].elapsed_ns(key.host.as_deref()));
    let total: f64 = (0..side.blocks.len()).map(elapsed).sum();
    let count = row.map_or(0, |row| row.stats.count) as f64;
    let independent = count.max(1.0) / (total * total);
    let estimate = per_time(side, row, |samples| samples.count, elapsed);
    (if total > 0.0 { count / total } else { 0.0 }, estimate.map(|estimate| estimate.at_least(independent)))
}

/// Nanoseconds per second.
fn time(side: &Side, row: Option<&SideRow>, key: &Key) -> (f64, Option<Estimate>) {
    let elapsed = |index: usize| seconds(side.blocks[index].elapsed_ns(key.host.as_deref()));
    let total: f64 = (0..side.blocks.len()).map(elapsed).sum();
    let sum = row.map_or(0, |row| row.stats.sum_ns) as f64;
    // Independent exits at random times: the sum of the squares of their durations.
    let squares = row.map_or(0.0, |row| {
        let mean = row.stats.mean_ns().unwrap_or_default();
        row.stats.count as f64 * (variance(&row.stats) + mean * mean)
    });
    let estimate = per_time(side, row, |samples| samples.sum_ns, elapsed);
    let independent = squares / (total * total);
    (if total > 0.0 { sum / total } else { 0.0 }, estimate.map(|estimate| estimate.at_least(independent)))
}

/// Share of the handled time.
fn share(side: &Side, row: Option<&SideRow>, key: &Key) -> (f64, Option<Estimate>) {
    if key.idle {
        return (f64::NAN, None);
    }
    let sum = row.map_or(0, |row| row.stats.sum_ns) as f64;
    let handled = side.handled_ns() as f64;
    let estimate =
        per_time(side, row, |samples| samples.sum_ns, |index| side.blocks[index].handled_ns as f64);
    (if handled > 0.0 { sum / handled } else { 0.0 }, estimate)
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

/// Upper end of a bucket; of the last, as if it were closed.
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

/// The duration below which a share of the samples lies, taking those of a bucket as spread evenly over it, and
/// kept within the exact extremes. A step of one bucket is then no change by itself.
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

/// How many samples are below `x`, those of its bucket in proportion.
fn up_to(stats: &Stats, x: f64) -> f64 {
    let filled = stats.buckets.iter().enumerate().filter(|(_, count)| **count != 0);
    filled.map(|(bucket, count)| *count as f64 * part_below(bucket, x)).sum()
}

fn block_up_to(samples: &Samples, x: f64) -> f64 {
    samples.buckets.iter().map(|(bucket, count)| *count as f64 * part_below(usize::from(*bucket), x)).sum()
}

fn part_below(bucket: usize, x: f64) -> f64 {
    let low = bounds_of(bucket).0 as f64;
    if x <= low { 0.0 } else { ((x - low) / (upper_edge(bucket) - low)).min(1.0) }
}

/// How far apart the distributions of two rows are.
pub(super) fn distance(base: &Stats, new: &Stats) -> Distance {
    let total = |stats: &Stats| stats.buckets.iter().map(|count| *count as f64).sum::<f64>().max(1.0);
    let (base_total, new_total) = (total(base), total(new));
    let (mut below_base, mut below_new) = (0.0, 0.0);
    let (mut largest, mut moved, mut shift) = (0.0f64, 0.0, 0.0);
    for bucket in 0..BUCKETS {
        below_base += base.buckets[bucket] as f64 / base_total;
        below_new += new.buckets[bucket] as f64 / new_total;
        let difference: f64 = below_base - below_new;
        // From the middle of this bucket to that of the next.
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
