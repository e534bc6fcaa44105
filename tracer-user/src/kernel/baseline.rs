//! The buckets of a slot as the last reading found them. The exits of one reason fall into some dozens of
//! neighbouring buckets: only the range from the first to the last of them is kept.

use std::ops::Range;

use tracer_ebpf::histogram::BUCKETS;

/// Samples per bucket at the last reading; zero outside the kept range.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    first: usize,
    kept: Vec<u32>,
}

impl Counts {
    /// Appends (bucket, new samples) for each bucket in which the copy has more than the baseline, in rising
    /// order, and returns their sum. `copied` are the buckets that the copy has; counts wrap.
    pub fn gains(&self, copy: &[u32; BUCKETS], copied: &Range<usize>, out: &mut Vec<(u16, u32)>) -> u64 {
        let mut gained = 0;
        let mut add = |(bucket, more): (usize, u32)| {
            if more != 0 {
                out.push((bucket as u16, more));
                gained += u64::from(more);
            }
        };
        let both = self.both(copied);
        // Outside the kept range no bucket was used.
        let new = |bucket| (bucket, copy[bucket]);
        (copied.start..both.start.min(copied.end)).map(new).for_each(&mut add);
        let last = &self.kept[both.start - self.first..both.end - self.first];
        let more = copy[both.clone()].iter().zip(last).map(|(new, last)| new.wrapping_sub(*last));
        both.clone().zip(more).for_each(&mut add);
        (both.end.max(copied.start)..copied.end).map(new).for_each(&mut add);
        gained
    }

    /// Makes the copy's counts the new baseline.
    pub fn keep(&mut self, copy: &[u32; BUCKETS], copied: &Range<usize>) {
        let used = |bucket: &usize| copy[*bucket] != 0;
        if let (Some(low), Some(high)) = (copied.clone().find(used), copied.clone().rfind(used)) {
            self.cover(low..high + 1);
        }
        let both = self.both(copied);
        self.kept[both.start - self.first..both.end - self.first].copy_from_slice(&copy[both]);
    }

    /// The buckets that are both copied and kept.
    fn both(&self, copied: &Range<usize>) -> Range<usize> {
        let end = self.first + self.kept.len();
        let start = copied.start.clamp(self.first, end);
        start..copied.end.clamp(start, end)
    }

    /// Extends the kept range to these buckets, without spare room: each slot has a baseline.
    fn cover(&mut self, used: Range<usize>) {
        if self.kept.is_empty() {
            self.first = used.start;
        }
        let (first, end) = (self.first.min(used.start), used.end.max(self.first + self.kept.len()));
        if end - first > self.kept.len() {
            let mut kept = vec![0; end - first];
            kept[self.first - first..][..self.kept.len()].copy_from_slice(&self.kept);
            (self.first, self.kept) = (first, kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gains(counts: &Counts, copy: &[u32; BUCKETS], copied: &Range<usize>) -> Vec<(u16, u32)> {
        let mut out = Vec::new();
        let gained = counts.gains(copy, copied, &mut out);
        assert_eq!(gained, out.iter().map(|(_, more)| u64::from(*more)).sum::<u64>());
        out
    }

    #[test]
    fn nothing_used_is_nothing_kept() {
        let mut counts = Counts::default();
        assert_eq!(gains(&counts, &[0; BUCKETS], &(0..BUCKETS)), []);
        assert_eq!(gains(&counts, &[7; BUCKETS], &(9..9)), []);
        counts.keep(&[0; BUCKETS], &(0..BUCKETS));
        assert!(counts.kept.is_empty());
    }

    #[test]
    fn what_wraps_is_gained() {
        let (mut counts, mut copy) = (Counts::default(), [0; BUCKETS]);
        copy[40] = u32::MAX;
        counts.keep(&copy, &(0..BUCKETS));
        copy[40] = 1;
        assert_eq!(gains(&counts, &copy, &(40..41)), [(40, 2)]);
        counts.keep(&copy, &(40..41));
        copy[40] = 0;
        assert_eq!(gains(&counts, &copy, &(0..BUCKETS)), [(40, u32::MAX)]);
    }

    proptest! {
        /// Against an array of all buckets.
        #[test]
        fn as_if_all_were_kept(
            rounds in prop::collection::vec(
                (0..BUCKETS, 0..BUCKETS, prop::collection::vec((0..BUCKETS, 0..3u32), 0..20)), 1..8)
        ) {
            let (mut counts, mut all, mut copy) = (Counts::default(), [0; BUCKETS], [0; BUCKETS]);
            for (one, other, samples) in rounds {
                let copied = one.min(other)..one.max(other) + 1;
                for (bucket, new) in samples {
                    copy[bucket] += new;
                }
                let expected: Vec<_> = copied
                    .clone()
                    .map(|bucket| (bucket as u16, copy[bucket] - all[bucket]))
                    .filter(|(_, gained)| *gained != 0)
                    .collect();
                prop_assert_eq!(gains(&counts, &copy, &copied), expected);
                counts.keep(&copy, &copied);
                all[copied.clone()].copy_from_slice(&copy[copied]);
            }
        }
    }
}
