//! The buckets of a slot as the last reading found them. The exits of one reason fall into some dozens of
//! neighbouring buckets, and most of them have few samples: only the range from the first to the last of them
//! is kept, and only the bytes that the largest count needs.

use std::ops::Range;

use tracer_ebpf::histogram::BUCKETS;

use crate::model::{
    PackedBuckets,
    packed::{plane, planes, planes_for},
};

/// Samples per bucket at the last reading; zero outside the kept range.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    first: u16,
    len: u16,
    /// See [`planes`].
    bytes: Box<[u8]>,
}

impl Counts {
    /// Appends the new samples of each bucket in which the copy has more than the baseline. Returns their
    /// place and their sum. `copied` are the buckets that the copy has; counts wrap. `room` may have any
    /// numbers.
    pub fn gains(
        &self,
        copy: &[u32; BUCKETS],
        copied: &Range<usize>,
        room: &mut [u32; BUCKETS],
        out: &mut PackedBuckets,
    ) -> (Range<usize>, u64) {
        let gains = &mut room[..copied.len()];
        gains.copy_from_slice(&copy[copied.clone()]);
        let kept = self.kept();
        let start = copied.start.clamp(kept.start, kept.end);
        let both = start..copied.end.clamp(start, kept.end);
        if !both.is_empty() {
            let gains = &mut gains[both.start - copied.start..both.end - copied.start];
            for (shift, plane) in planes(self.len.into(), &self.bytes) {
                let last = &plane[both.start - kept.start..both.end - kept.start];
                for (gain, byte) in gains.iter_mut().zip(last) {
                    *gain = gain.wrapping_sub(u32::from(*byte) << shift);
                }
            }
        }
        let gained = gains.iter().map(|gain| u64::from(*gain)).sum();
        (out.add_span(copied.start, gains), gained)
    }

    /// Makes the copy's counts the new baseline.
    pub fn keep(&mut self, copy: &[u32; BUCKETS], copied: &Range<usize>) {
        let new = &copy[copied.clone()];
        let (kept, len) = (self.kept(), usize::from(self.len));
        let within = kept.start <= copied.start && copied.end <= kept.end;
        if within && planes_for(new) * len <= self.bytes.len() {
            for (number, bytes) in self.bytes.chunks_exact_mut(len.max(1)).enumerate() {
                let old = &mut bytes[copied.start - kept.start..copied.end - kept.start];
                old.iter_mut().zip(plane(new, number)).for_each(|(old, new)| *old = new);
            }
            return;
        }
        let mut all = [0; BUCKETS];
        for (shift, plane) in planes(len, &self.bytes) {
            let old = all[kept.clone()].iter_mut().zip(plane);
            old.for_each(|(count, byte)| *count |= u32::from(*byte) << shift);
        }
        all[copied.clone()].copy_from_slice(new);
        self.pack(&all);
    }

    /// The buckets in the kept range.
    pub fn kept(&self) -> Range<usize> {
        self.first.into()..usize::from(self.first) + usize::from(self.len)
    }

    /// Keeps these counts, without spare room: each slot has a baseline.
    fn pack(&mut self, all: &[u32; BUCKETS]) {
        let used = |count: &u32| *count != 0;
        let range = match (all.iter().position(used), all.iter().rposition(used)) {
            (Some(low), Some(high)) => low..high + 1,
            _ => 0..0,
        };
        let counts = &all[range.clone()];
        (self.first, self.len) = (range.start as u16, range.len() as u16);
        let mut bytes = Vec::with_capacity(planes_for(counts) * counts.len());
        (0..planes_for(counts)).for_each(|number| bytes.extend(plane(counts, number)));
        self.bytes = bytes.into_boxed_slice();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gains(counts: &Counts, copy: &[u32; BUCKETS], copied: &Range<usize>) -> Vec<(u16, u32)> {
        let mut out = PackedBuckets::default();
        let (place, gained) = counts.gains(copy, copied, &mut [7; BUCKETS], &mut out);
        let pairs: Vec<_> = out.of(&place).iter().collect();
        assert_eq!(gained, pairs.iter().map(|(_, more)| u64::from(*more)).sum::<u64>());
        pairs
    }

    #[test]
    fn nothing_used_is_nothing_kept() {
        let mut counts = Counts::default();
        assert_eq!(gains(&counts, &[0; BUCKETS], &(0..BUCKETS)), []);
        assert_eq!(gains(&counts, &[7; BUCKETS], &(9..9)), []);
        counts.keep(&[0; BUCKETS], &(0..BUCKETS));
        assert!(counts.bytes.is_empty());
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
                (0..BUCKETS, 0..BUCKETS, prop::collection::vec((0..BUCKETS, prop_oneof![0..3u32, 0..70_000u32]), 0..20)), 1..8)
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
