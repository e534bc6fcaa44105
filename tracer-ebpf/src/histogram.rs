//! Log-linear buckets: which bucket a duration falls in, and which durations a bucket holds.
//!
//! Every power of two is cut into [`PER_OCTAVE`] buckets of equal width, so a bucket is never wider than
//! 1/16 of its lower bound, and its midpoint is never further than 1/32 (3.125 %) from any value in it.
//! Values below [`PER_OCTAVE`] have a bucket each. The last bucket is open: it takes everything from
//! 2^36 − 2^31 ns (66.6 s) on. `count`, `sum`, `min` and `max` are kept beside the buckets and are exact.
//!
//! There is no leading-zero instruction in BPF, and the compiler's substitute takes about forty
//! instructions; [`bucket_of`] narrows the number down to a byte and looks that up.

use crate::codegen::{less, masked, shifted};

/// Buckets per power of two are `1 << SUB_BITS`.
pub const SUB_BITS: u32 = 4;
/// Buckets per power of two.
pub const PER_OCTAVE: u64 = 1 << SUB_BITS;
/// Durations of `1 << MAX_BITS` ns and more share the last bucket with the topmost regular one.
pub const MAX_BITS: u32 = 36;
/// Number of buckets.
pub const BUCKETS: usize = ((MAX_BITS - SUB_BITS + 1) as usize) << SUB_BITS;
/// Largest relative distance between a value and the midpoint of its bucket.
pub const MAX_RELATIVE_ERROR: f64 = 0.5 / PER_OCTAVE as f64;

/// The right shift that leaves [`SUB_BITS`] bits below a number's highest bit, by the value of its second
/// lowest byte, if the highest bit is there. 0 for 0.
static SHIFT_BY_BYTE: [u8; 256] = {
    let mut table = [0; 256];
    table[1] = 8 - SUB_BITS as u8;
    let mut value = 2;
    while value < 256 {
        table[value] = table[value / 2] + 1;
        value += 1;
    }
    table
};

/// The same by how far a number's second lowest byte is above 1.
static SHIFT_ABOVE: [u8; 256] = {
    let mut table = [0; 256];
    let mut above = 0;
    while above < 255 {
        table[above] = SHIFT_BY_BYTE[above + 1];
        above += 1;
    }
    // Never asked for; at 0 the table would end like a string, and be kept in a section of those.
    table[255] = table[254];
    table
};

/// The bucket of a duration. Always below [`BUCKETS`].
///
/// ```
/// # use tracer_ebpf::histogram::{bucket_of, bounds_of};
/// let bucket = bucket_of(1_000);
/// let (low, high) = bounds_of(bucket);
/// assert!(low <= 1_000 && 1_000 < high);
/// ```
#[inline(always)]
pub fn bucket_of(ns: u64) -> usize {
    let above = above_shortest(ns);
    if above < USUAL_SPAN { usual_bucket_of(ns, above) } else { rare_bucket_of(ns) }
}

/// The shortest duration that [`usual_bucket_of`] takes.
const USUAL_FROM: i32 = 1 << 8;
/// How many ns the longest one is longer, plus one: it ends at 2^16 ns. Most exits take as long.
pub(crate) const USUAL_SPAN: u64 = (1 << 16) - USUAL_FROM as u64;

/// How far a duration is above the shortest usual one. Wraps for shorter ones, so that one comparison with
/// [`USUAL_SPAN`] tells the usual ones from all others.
#[inline(always)]
pub(crate) fn above_shortest(ns: u64) -> u64 {
    less::<USUAL_FROM>(ns)
}

/// The bucket of a usual duration, which is `above` the shortest one: a look into a table. Always below 256.
#[inline(always)]
pub(crate) fn usual_bucket_of(ns: u64, above: u64) -> usize {
    in_octave(ns, SHIFT_ABOVE[(above >> 8) as usize].into())
}

/// The bucket of a duration that is not usual.
#[inline(always)]
pub(crate) fn rare_bucket_of(ns: u64) -> usize {
    if ns < 1 << 8 { short(ns) } else { long(ns) }
}

/// The bucket of a duration below 256 ns.
#[inline(always)]
fn short(ns: u64) -> usize {
    if ns < PER_OCTAVE { ns as usize } else { in_octave(ns, shift_by(ns) - 8) }
}

/// The bucket of a duration of 2^16 ns and more.
#[inline(always)]
fn long(ns: u64) -> usize {
    if ns >= 1 << MAX_BITS {
        return BUCKETS - 1;
    }
    let (byte, below) = if ns < 1 << 24 {
        (ns >> 16, 8)
    } else if ns < 1 << 32 {
        (ns >> 24, 16)
    } else {
        (ns >> 32, 24)
    };
    in_octave(ns, shift_by(byte) + below)
}

#[inline(always)]
fn shift_by(byte: u64) -> u64 {
    SHIFT_BY_BYTE[masked::<0xff>(byte)].into()
}

#[inline(always)]
fn in_octave(ns: u64, shift: u64) -> usize {
    // `ns >> shift` is in PER_OCTAVE..2*PER_OCTAVE, so octave `shift` starts at index (shift + 1) *
    // PER_OCTAVE.
    ((shift << SUB_BITS) + shifted(ns, shift)) as usize
}

/// The durations a bucket holds: from the first to just below the second. The last bucket ends at `u64::MAX`.
///
/// # Panics
/// If `bucket` is not below [`BUCKETS`].
pub const fn bounds_of(bucket: usize) -> (u64, u64) {
    assert!(bucket < BUCKETS, "no such bucket");
    let index = bucket as u64;
    if index < PER_OCTAVE {
        return (index, index + 1);
    }
    let shift = (index >> SUB_BITS) - 1;
    let low = (index - (shift << SUB_BITS)) << shift;
    let high = if bucket == BUCKETS - 1 { u64::MAX } else { low + (1 << shift) };
    (low, high)
}

/// The value that stands for a bucket: the middle of the integers it holds, rounded down. The open last
/// bucket is represented as if it were closed.
///
/// # Panics
/// If `bucket` is not below [`BUCKETS`].
pub const fn midpoint_of(bucket: usize) -> u64 {
    let (low, _) = bounds_of(bucket);
    let width = if (bucket as u64) < PER_OCTAVE { 1 } else { 1 << ((bucket as u64 >> SUB_BITS) - 1) };
    low + (width - 1) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_tile_the_range() {
        let mut expected_low = 0;
        for bucket in 0..BUCKETS {
            let (low, high) = bounds_of(bucket);
            assert_eq!(low, expected_low, "bucket {bucket}");
            assert_eq!(bucket_of(low), bucket);
            assert_eq!(bucket_of(high - 1), bucket);
            assert_eq!(bucket_of(midpoint_of(bucket)), bucket);
            expected_low = high;
        }
        assert_eq!(expected_low, u64::MAX);
    }

    #[test]
    fn last_bucket_takes_the_rest() {
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(1 << MAX_BITS), BUCKETS - 1);
        assert_eq!(bounds_of(BUCKETS - 1).0, (1 << MAX_BITS) - (1 << (MAX_BITS - SUB_BITS - 1)));
    }

    proptest! {
        #[test]
        fn a_value_is_within_the_stated_error_of_its_midpoint(ns in 0u64..1 << MAX_BITS) {
            let bucket = bucket_of(ns);
            let (low, high) = bounds_of(bucket);
            prop_assert!(low <= ns && ns < high);
            prop_assert!(midpoint_of(bucket).abs_diff(ns) as f64 <= ns as f64 * MAX_RELATIVE_ERROR);
        }
    }
}
