//! The buckets of a slot as the last reading found them. The exits of one reason fall into some dozens of buckets that
//! lie together: only what is between the outermost of them is kept.

use std::ops::Range;

use tracer_ebpf::histogram::BUCKETS;

/// Samples per bucket; zero outside of what is kept.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    first: usize,
    kept: Vec<u32>,
}

impl Counts {
    /// What a copy has more, in rising order: (bucket, samples), without those that have nothing more. `copied` are the
    /// buckets that the copy has; counts wrap.
    pub fn gains<'a>(
        &'a self,
        copy: &'a [u32; BUCKETS],
        copied: &Range<usize>,
    ) -> impl Iterator<Item = (u16, u32)> + 'a {
        let last = |bucket: usize| self.kept.get(bucket.wrapping_sub(self.first)).copied().unwrap_or(0);
        let gains =
            copied.clone().map(move |bucket| (bucket as u16, copy[bucket].wrapping_sub(last(bucket))));
        gains.filter(|(_, gained)| *gained != 0)
    }

    /// From now on the copy's counts are the last ones.
    pub fn keep(&mut self, copy: &[u32; BUCKETS], copied: &Range<usize>) {
        let used = |bucket: &usize| copy[*bucket] != 0;
        if let (Some(low), Some(high)) = (copied.clone().find(used), copied.clone().rfind(used)) {
            self.cover(low..high + 1);
        }
        let end = self.first + self.kept.len();
        let start = copied.start.clamp(self.first, end);
        let both = start..copied.end.clamp(start, end);
        self.kept[both.start - self.first..both.end - self.first].copy_from_slice(&copy[both]);
    }

    /// Makes room for these buckets, and no more than that: it is there once for each slot.
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

    #[test]
    fn nothing_used_is_nothing_kept() {
        let mut counts = Counts::default();
        assert_eq!(counts.gains(&[0; BUCKETS], &(0..BUCKETS)).count(), 0);
        assert_eq!(counts.gains(&[7; BUCKETS], &(9..9)).count(), 0);
        counts.keep(&[0; BUCKETS], &(0..BUCKETS));
        assert!(counts.kept.is_empty());
    }

    #[test]
    fn what_wraps_is_gained() {
        let (mut counts, mut copy) = (Counts::default(), [0; BUCKETS]);
        copy[40] = u32::MAX;
        counts.keep(&copy, &(0..BUCKETS));
        copy[40] = 1;
        assert_eq!(counts.gains(&copy, &(40..41)).collect::<Vec<_>>(), [(40, 2)]);
        counts.keep(&copy, &(40..41));
        copy[40] = 0;
        assert_eq!(counts.gains(&copy, &(0..BUCKETS)).collect::<Vec<_>>(), [(40, u32::MAX)]);
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
                prop_assert_eq!(counts.gains(&copy, &copied).collect::<Vec<_>>(), expected);
                counts.keep(&copy, &copied);
                all[copied.clone()].copy_from_slice(&copy[copied]);
            }
        }
    }
}
