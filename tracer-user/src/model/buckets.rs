//! Filled buckets of a histogram, as intervals bring them and as a store keeps them.

/// Some buckets and how many samples they hold.
#[derive(Clone, Copy, Debug)]
pub enum Buckets<'a> {
    /// (bucket, count) in rising order.
    Pairs(&'a [(u16, u32)]),
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
            Buckets::Pairs(pairs) => {
                let (Some((low, _)), Some((high, _))) = (pairs.first(), pairs.last()) else { return };
                self.cover(usize::from(*low), usize::from(*high) + 1);
                for &(bucket, count) in pairs {
                    let sum = &mut self.counts[usize::from(bucket) - self.first];
                    *sum = sum.saturating_add(count.into());
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

    #[test]
    fn a_span_grows_to_both_sides() {
        let mut span = BucketSpan::default();
        span.add(Buckets::Pairs(&[]));
        span.add(Buckets::Pairs(&[(5, 1), (7, 2)]));
        span.add(Buckets::Pairs(&[(3, 4)]));
        span.add(Buckets::Span(7, &[10, 20]));
        let Buckets::Span(first, counts) = span.as_buckets() else { panic!() };
        assert_eq!((first, counts), (3, [4, 0, 1, 0, 12, 20].as_slice()));
        let mut other = BucketSpan::default();
        other.add(span.as_buckets());
        assert_eq!(other, span);
    }
}
