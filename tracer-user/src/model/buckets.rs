//! Filled buckets of a histogram, as intervals bring them and as a store keeps them.

use crate::model::packed::Packed;

/// Some buckets and how many samples they hold.
#[derive(Clone, Copy, Debug)]
pub enum Buckets<'a> {
    /// Those of an interval's cell.
    Packed(Packed<'a>),
    /// The counts of neighbouring buckets, from this bucket on.
    Span(usize, &'a [u64]),
}

/// The buckets between the first and the last that were ever filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketSpan {
    first: usize,
    counts: Vec<u64>,
}

impl BucketSpan {
    /// All of them.
    pub fn as_buckets(&self) -> Buckets<'_> {
        Buckets::Span(self.first, &self.counts)
    }

    /// Adds samples. Allocates only if they lie outside the span.
    pub fn add(&mut self, buckets: Buckets<'_>) {
        match buckets {
            Buckets::Packed(packed) => {
                let Some((low, high)) = packed.ends() else { return };
                self.cover(low, high + 1);
                for run in packed.runs() {
                    run.add_to(&mut self.counts[run.first - self.first..][..run.len]);
                }
            }
            Buckets::Span(first, counts) if !counts.is_empty() => {
                self.cover(first, first + counts.len());
                let mine = &mut self.counts[first - self.first..];
                mine.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
            }
            Buckets::Span(..) => {}
        }
    }

    /// Forgets all samples but keeps the memory.
    pub fn clear(&mut self) {
        self.counts.clear();
    }

    fn cover(&mut self, low: usize, high: usize) {
        if self.counts.is_empty() {
            self.first = low;
        }
        if low < self.first {
            let more = self.first - low;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.first = low;
        }
        let len = high - self.first;
        if len > self.counts.len() {
            self.counts.resize(len, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::packed::PackedBuckets;

    #[test]
    fn a_span_grows_to_both_sides() {
        let mut span = BucketSpan::default();
        let mut packed = PackedBuckets::default();
        for pairs in [[].as_slice(), &[(5, 1), (7, 2)], &[(3, 4)]] {
            let place = packed.add_pairs(pairs);
            span.add(Buckets::Packed(packed.of(&place)));
        }
        span.add(Buckets::Span(7, &[10, 20]));
        let Buckets::Span(first, counts) = span.as_buckets() else { panic!() };
        assert_eq!((first, counts), (3, [4, 0, 1, 0, 12, 20].as_slice()));
        let mut other = BucketSpan::default();
        other.add(span.as_buckets());
        assert_eq!(other, span);
    }
}
