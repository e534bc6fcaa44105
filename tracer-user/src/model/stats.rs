//! Count, sum, extremes and buckets of many samples, and what is derived from them.

use tracer_ebpf::histogram::{BUCKETS, bounds_of, midpoint_of};

use crate::model::{buckets::Buckets, store::CellRef};

/// The aggregate of a row. Count, sum, minimum and maximum are exact; quantiles and deviation come from the
/// buckets and are within [`tracer_ebpf::histogram::MAX_RELATIVE_ERROR`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Number of samples.
    pub count: u64,
    /// Their sum.
    pub sum_ns: u64,
    /// The shortest; `u64::MAX` without samples.
    pub min_ns: u64,
    /// The longest; 0 without samples.
    pub max_ns: u64,
    /// Samples by bucket.
    pub buckets: Box<[u64; BUCKETS]>,
}

impl Default for Stats {
    fn default() -> Self {
        Self { count: 0, sum_ns: 0, min_ns: u64::MAX, max_ns: 0, buckets: Box::new([0; BUCKETS]) }
    }
}

impl Stats {
    /// Adds samples that come as exact aggregates and (bucket, count) pairs.
    pub fn add(&mut self, count: u64, sum_ns: u64, min_ns: u64, max_ns: u64, buckets: &[(u16, u32)]) {
        self.count = self.count.saturating_add(count);
        self.sum_ns = self.sum_ns.saturating_add(sum_ns);
        self.min_ns = self.min_ns.min(min_ns);
        self.max_ns = self.max_ns.max(max_ns);
        for &(bucket, count) in buckets {
            let bucket = &mut self.buckets[usize::from(bucket)];
            *bucket = bucket.saturating_add(count.into());
        }
    }

    /// Adds the samples of a cell.
    pub(super) fn add_cell(&mut self, cell: &CellRef<'_>) {
        let CellRef { count, sum_ns, min_ns, max_ns, buckets, .. } = *cell;
        match buckets {
            Buckets::Packed(packed) => {
                self.add(count, sum_ns, min_ns, max_ns, &[]);
                packed.runs().for_each(|run| run.add_to(&mut self.buckets[run.first..][..run.len]));
            }
            Buckets::Span(first, counts) => {
                self.add(count, sum_ns, min_ns, max_ns, &[]);
                let mine = &mut self.buckets[first..first + counts.len()];
                mine.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
            }
        }
    }

    /// Forgets all samples.
    pub fn clear(&mut self) {
        (self.count, self.sum_ns, self.min_ns, self.max_ns) = (0, 0, u64::MAX, 0);
        self.buckets.fill(0);
    }

    /// Adds another aggregate.
    pub fn merge(&mut self, other: &Self) {
        self.add(other.count, other.sum_ns, other.min_ns, other.max_ns, &[]);
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// The shortest and the longest; `None` without samples, or where they are not known.
    pub fn extremes_ns(&self) -> Option<(u64, u64)> {
        (self.count != 0 && self.min_ns <= self.max_ns).then_some((self.min_ns, self.max_ns))
    }

    /// Mean, exact up to rounding; `None` without samples.
    pub fn mean_ns(&self) -> Option<f64> {
        (self.count != 0).then(|| self.sum_ns as f64 / self.count as f64)
    }

    /// The value below or at which a share `q` (0 to 1) of the samples lies: the midpoint of the bucket that
    /// holds it, kept within the exact minimum and maximum. `None` without samples.
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        // The buckets' own total: a reading may be torn between the count and the buckets of a dead writer.
        let total = self.buckets.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
        if total == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total);
        if rank == total {
            return Some(self.max_ns);
        }
        let mut seen = 0u64;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen = count.saturating_add(seen);
            if seen >= rank {
                // The last bucket is open: only its start is known.
                let value = if bucket == BUCKETS - 1 { bounds_of(bucket).0 } else { midpoint_of(bucket) };
                return Some(value.clamp(self.min_ns, self.max_ns.max(self.min_ns)));
            }
        }
        None
    }

    /// Standard deviation of the mean in percent of the mean, as perf prints it after `+-`. The variance
    /// is that of the bucket midpoints. `None` below two samples.
    pub fn relative_deviation_percent(&self) -> Option<f64> {
        if self.count < 2 {
            return None;
        }
        let (mut total, mut sum) = (0.0, 0.0);
        for (bucket, &count) in self.buckets.iter().enumerate().filter(|(_, count)| **count != 0) {
            total += count as f64;
            sum += count as f64 * midpoint_of(bucket) as f64;
        }
        let mean = sum / total;
        if total < 2.0 || mean == 0.0 {
            return None;
        }
        let squares: f64 = (self.buckets.iter().enumerate().filter(|(_, count)| **count != 0))
            .map(|(bucket, &count)| count as f64 * (midpoint_of(bucket) as f64 - mean).powi(2))
            .sum();
        Some(100.0 * (squares / (total - 1.0) / total).sqrt() / mean)
    }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::histogram::{MAX_RELATIVE_ERROR, bucket_of};

    use super::*;

    fn of(samples: &[u64]) -> Stats {
        let mut stats = Stats::default();
        for &ns in samples {
            stats.add(1, ns, ns, ns, &[(bucket_of(ns) as u16, 1)]);
        }
        stats
    }

    #[test]
    fn quantiles_are_within_the_stated_error() {
        let samples: Vec<u64> = (1..=10_000).map(|n| n * 37).collect();
        let stats = of(&samples);
        for (q, exact) in [(0.5, 5_000 * 37), (0.99, 9_900 * 37), (0.999, 9_990 * 37)] {
            let found = stats.quantile_ns(q).unwrap();
            assert!(
                found.abs_diff(exact) as f64 <= exact as f64 * MAX_RELATIVE_ERROR,
                "{q}: {found} {exact}"
            );
        }
        assert_eq!(stats.quantile_ns(1.0), Some(370_000));
        assert_eq!(stats.mean_ns(), Some(185_018.5));
    }

    #[test]
    fn quantiles_never_leave_the_exact_extremes() {
        let stats = of(&[1_000_003; 5]);
        assert_eq!(stats.quantile_ns(0.5), Some(1_000_003));
        let long = of(&[100_000_000_000, 5]);
        assert_eq!(long.quantile_ns(0.5), Some(5));
        assert!(long.quantile_ns(1.0).unwrap() <= 100_000_000_000);
    }

    #[test]
    fn deviation_is_that_of_the_mean() {
        assert_eq!(of(&[5]).relative_deviation_percent(), None);
        assert_eq!(of(&[700, 700, 700]).relative_deviation_percent(), Some(0.0));
        // Small values have buckets of their own: exact. Mean 6, variance 8, of the mean 8/3.
        let found = of(&[4, 4, 8, 10, 4, 6]).relative_deviation_percent().unwrap();
        assert!((found - 100.0 * (6.4f64 / 6.0).sqrt() / 6.0).abs() < 1e-9, "{found}");
        assert_eq!(Stats::default().quantile_ns(0.5), None);
    }
}
