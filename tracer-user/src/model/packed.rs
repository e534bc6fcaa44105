//! The filled buckets of many cells in one vector of bytes. Most buckets gain less than 256 samples between
//! two readings, and lie beside each other.
//!
//! A cell's buckets are runs: a head, which has the first bucket, how many there are and the bytes of each
//! count, and then the counts in planes: the lowest byte of all counts, then the next byte of all. Loops over
//! planes have no branch for each bucket.

use std::ops::Range;

use tracer_ebpf::histogram::BUCKETS;

/// Buckets are looked at in groups of this size: an empty group ends a run.
const GROUP: usize = 8;
/// Bytes of a run's head.
const HEAD: usize = 4;
/// Bits of the number of buckets in a head; above them are the planes.
const LEN_BITS: u32 = 10;
const _: () = assert!(BUCKETS < 1 << LEN_BITS);

/// The planes that these counts need.
pub fn planes_for(counts: &[u32]) -> usize {
    let all = counts.iter().fold(0, |all, count| all | count);
    (u32::BITS - all.leading_zeros()).div_ceil(u8::BITS) as usize
}

/// One plane of counts.
pub fn plane(counts: &[u32], plane: usize) -> impl Iterator<Item = u8> {
    counts.iter().map(move |count| (count >> (8 * plane)) as u8)
}

/// The planes of `len` counts, each with how far its bytes are to be shifted. A count is the sum over all.
pub fn planes(len: usize, bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (0..).step_by(8).zip(bytes.chunks_exact(len.max(1)))
}

/// The buckets of all cells of an interval.
#[derive(Clone, Debug, Default)]
pub struct PackedBuckets {
    bytes: Vec<u8>,
    /// Pairs that are being collected.
    pairs: Vec<(u16, u32)>,
}

impl PackedBuckets {
    /// The memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all but keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Takes back what was appended last.
    pub fn take_back(&mut self, place: &Range<usize>) {
        self.bytes.truncate(place.start);
    }

    /// A cell's buckets: what was added at one call.
    pub fn of(&self, place: &Range<usize>) -> Packed<'_> {
        Packed(&self.bytes[place.clone()])
    }

    /// Appends the counts of neighbouring buckets, of which this is the first. Returns their place.
    pub fn add_span(&mut self, first: usize, counts: &[u32]) -> Range<usize> {
        let begin = self.bytes.len();
        let mut start = None;
        for (group, at) in counts.chunks(GROUP).zip((0..).step_by(GROUP)) {
            let filled = group.iter().fold(0, |all, count| all | count) != 0;
            match start {
                None if filled => start = Some(at),
                Some(from) if !filled => {
                    self.add_run(first + from, &counts[from..at]);
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(from) = start {
            self.add_run(first + from, &counts[from..]);
        }
        begin..self.bytes.len()
    }

    /// Appends (bucket, count) pairs in rising order. Returns their place.
    ///
    /// # Panics
    /// At a bucket that a histogram does not have.
    pub fn add_pairs(&mut self, pairs: &[(u16, u32)]) -> Range<usize> {
        let (Some((first, _)), Some((last, _))) = (pairs.first(), pairs.last()) else {
            return self.add_span(0, &[]);
        };
        let mut counts = [0; BUCKETS];
        for (bucket, count) in pairs {
            counts[usize::from(*bucket)] = *count;
        }
        let (first, last) = (usize::from(*first), usize::from(*last));
        self.add_span(first, &counts[first..=last])
    }

    /// Appends the pairs that `collect` finds; see [`Self::add_pairs`].
    ///
    /// # Errors
    /// Those of `collect`; nothing is appended then.
    pub fn collect<E>(
        &mut self,
        collect: impl FnOnce(&mut Vec<(u16, u32)>) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.clear();
        let place = collect(&mut pairs).map(|()| self.add_pairs(&pairs));
        self.pairs = pairs;
        place
    }

    /// Appends one run, without the empty buckets at its ends.
    fn add_run(&mut self, first: usize, counts: &[u32]) {
        let filled = |count: &u32| *count != 0;
        let (Some(low), Some(high)) = (counts.iter().position(filled), counts.iter().rposition(filled))
        else {
            return;
        };
        let counts = &counts[low..=high];
        let number = planes_for(counts);
        self.bytes.extend(((first + low) as u16).to_le_bytes());
        self.bytes.extend((counts.len() as u16 | (number as u16) << LEN_BITS).to_le_bytes());
        (0..number).for_each(|number| self.bytes.extend(plane(counts, number)));
    }
}

/// The filled buckets of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed<'a>(&'a [u8]);

/// Neighbouring buckets, of which the first and the last are filled.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The first bucket.
    pub first: usize,
    /// How many there are.
    pub len: usize,
    bytes: &'a [u8],
}

impl Run<'_> {
    /// Adds the counts to those of the same buckets.
    pub fn add_to(&self, counts: &mut [u64]) {
        // Not one of them can overflow: then there is a faster addition.
        let roomy = counts.iter().fold(0, |all, count| all | count) >> (u64::BITS - 1) == 0;
        for (shift, plane) in planes(self.len, self.bytes) {
            let more = plane.iter().map(|byte| u64::from(*byte) << shift);
            if roomy {
                counts.iter_mut().zip(more).for_each(|(count, more)| *count = count.wrapping_add(more));
            } else {
                counts.iter_mut().zip(more).for_each(|(count, more)| *count = count.saturating_add(more));
            }
        }
    }

    fn count(&self, at: usize) -> u32 {
        planes(self.len, self.bytes).map(|(shift, plane)| u32::from(plane[at]) << shift).sum()
    }
}

impl<'a> Packed<'a> {
    /// Its runs in rising order.
    pub fn runs(self) -> impl Iterator<Item = Run<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let ([a, b, c, d], behind) = rest.split_first_chunk::<HEAD>()?;
            let (first, len) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
            let (len, number) = (usize::from(len & ((1 << LEN_BITS) - 1)), usize::from(len >> LEN_BITS));
            let (bytes, behind) = behind.split_at(len * number);
            rest = behind;
            Some(Run { first: first.into(), len, bytes })
        })
    }

    /// (bucket, count) for each filled bucket, in rising order.
    pub fn iter(self) -> impl Iterator<Item = (u16, u32)> {
        let counts = |run: Run<'a>| (0..run.len).map(move |at| ((run.first + at) as u16, run.count(at)));
        self.runs().flat_map(counts).filter(|(_, count)| *count != 0)
    }

    /// The first and the last filled bucket.
    pub fn ends(self) -> Option<(usize, usize)> {
        let mut runs = self.runs();
        let first = runs.next()?;
        let last = runs.last().unwrap_or(first);
        Some((first.first, last.first + last.len - 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_samples_take_few_bytes() {
        let mut all = PackedBuckets::default();
        assert_eq!(all.add_span(100, &[1; 159]).len(), HEAD + 159);
        let apart = all.add_pairs(&[(3, 70_000), (500, 1)]);
        assert_eq!(apart.len(), HEAD + 3 + HEAD + 1);
        assert_eq!(all.of(&apart).ends(), Some((3, 500)));
        for nothing in [all.add_pairs(&[]), all.add_span(7, &[0; 100])] {
            assert_eq!((nothing.len(), all.of(&nothing).ends()), (0, None));
        }
    }

    #[test]
    fn sums_do_not_overflow() {
        let mut all = PackedBuckets::default();
        let place = all.add_pairs(&[(5, 256), (6, u32::MAX)]);
        let mut sums = [u64::MAX - 255, u64::MAX - 2];
        all.of(&place).runs().for_each(|run| run.add_to(&mut sums));
        assert_eq!(sums, [u64::MAX, u64::MAX]);
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            cells in prop::collection::vec(
                prop::collection::btree_map(0..BUCKETS as u16, prop_oneof![1..9u32, 1u32..], 0..60), 1..4)
        ) {
            let mut all = PackedBuckets::default();
            let mut places = Vec::new();
            for cell in &cells {
                places.push(all.add_pairs(&cell.clone().into_iter().collect::<Vec<_>>()));
            }
            for (cell, place) in cells.iter().zip(&places) {
                let packed = all.of(place);
                prop_assert!(packed.iter().eq(cell.iter().map(|(bucket, count)| (*bucket, *count))));
                let mut sums = [7; BUCKETS];
                packed.runs().for_each(|run| run.add_to(&mut sums[run.first..][..run.len]));
                for (bucket, sum) in sums.iter().enumerate() {
                    let count = cell.get(&(bucket as u16)).copied().unwrap_or(0);
                    prop_assert_eq!(*sum, 7 + u64::from(count));
                }
            }
        }
    }
}
