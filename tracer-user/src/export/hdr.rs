//! Aggregates as HdrHistograms.

use hdrhistogram::Histogram;
use tracer_ebpf::histogram::midpoint_of;

use crate::model::Stats;

/// The longest duration that a histogram holds: 13 days.
const HIGH: u64 = 1 << 50;
/// Three digits: at least eight cells for each bucket of exitlat, and maxima within 0.1 %.
const DIGITS: u8 = 3;

/// An empty histogram for any duration, to be filled repeatedly.
pub fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGH, DIGITS).expect("constant bounds are valid")
}

/// Empties a histogram and fills it. Samples are at the midpoints of their buckets, except one in the first
/// bucket at the exact minimum, and one in the last at the exact maximum: those are known to exist.
pub fn fill(histogram: &mut Histogram<u64>, stats: &Stats) {
    histogram.reset();
    let filled = |bucket: &usize| stats.buckets[*bucket] != 0;
    let mut all = 0..stats.buckets.len();
    let (Some(first), Some(last)) = (all.clone().find(filled), all.rfind(filled)) else { return };
    for (bucket, &count) in stats.buckets.iter().enumerate().filter(|(_, count)| **count != 0) {
        let mut rest = count;
        if bucket == last {
            histogram.saturating_record(stats.max_ns);
            rest -= 1;
        }
        if bucket == first && rest != 0 {
            histogram.saturating_record(stats.min_ns);
            rest -= 1;
        }
        let middle = midpoint_of(bucket).clamp(stats.min_ns, stats.max_ns.max(stats.min_ns));
        histogram.saturating_record_n(middle, rest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_ebpf::histogram::bucket_of;

    use super::*;

    proptest! {
        #[test]
        fn every_sample_is_there_and_the_extremes_are_exact(samples in prop::collection::vec(1u64..1 << 40, 1..50)) {
            let mut stats = Stats::default();
            for &ns in &samples {
                stats.add(1, ns, ns, ns, &[(bucket_of(ns) as u16, 1)]);
            }
            let mut histogram = empty();
            fill(&mut histogram, &stats);
            prop_assert_eq!(histogram.len(), samples.len() as u64);
            prop_assert!(histogram.equivalent(histogram.max(), stats.max_ns));
            prop_assert!(histogram.equivalent(histogram.min(), stats.min_ns));
            for cell in histogram.iter_recorded() {
                prop_assert!(stats.buckets[bucket_of(cell.value_iterated_to())] != 0);
            }
        }
    }

    #[test]
    fn nothing_is_nothing() {
        let mut histogram = empty();
        fill(&mut histogram, &Stats::default());
        assert_eq!(histogram.len(), 0);
    }
}
