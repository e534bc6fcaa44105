//! A slot's histogram as text: a number for each bucket, in base 32, of characters that JSON leaves alone.
//!
//! | character | meaning |
//! |---|---|
//! | `^` to `}` (94 to 125) | the last digit of a number, 0 to 31 |
//! | `0` to `O` (48 to 79) | a digit before the last, 0 to 31, the highest first |
//! | `~` (126) | the next number is that of empty buckets |
//!
//! Any other number is the samples of the next bucket, from bucket 0 on. So most buckets take one character,
//! and a stretch of empty ones takes two or three.

use tracer_ebpf::histogram::{MAX_BITS, SUB_BITS, bucket_of};

/// Bits of a digit.
const DIGIT_BITS: u32 = 5;
/// The highest digit.
const HIGHEST: u8 = (1 << DIGIT_BITS) - 1;
/// The character of 0 as the last digit of a number.
const LAST: u8 = b'^';
/// The character of 0 as another digit.
const LEADING: u8 = b'0';
/// Before the number of empty buckets.
const EMPTY: u8 = b'~';
/// From this many on, empty buckets are shorter as a number.
const STRETCH: u32 = 3;

/// Error text for a bucket that no recording can have.
const TOO_MANY: &str = "hist holds more samples in a bucket than fit into 32 bits";

/// Appends the text of buckets in rising order.
pub(super) fn encode(buckets: impl Iterator<Item = (u16, u32)>, out: &mut String) {
    let mut next = 0;
    for (bucket, count) in buckets {
        let empty = u32::from(bucket) - next;
        if empty < STRETCH {
            (0..empty).for_each(|_| push(0, out));
        } else {
            out.push(EMPTY.into());
            push(empty, out);
        }
        push(count, out);
        next = u32::from(bucket) + 1;
    }
}

fn push(number: u32, out: &mut String) {
    let digits = (u32::BITS - number.leading_zeros()).div_ceil(DIGIT_BITS).max(1);
    for place in (0..digits).rev() {
        let digit = (number >> (place * DIGIT_BITS)) as u8 & HIGHEST;
        out.push((digit + if place == 0 { LAST } else { LEADING }).into());
    }
}

/// Reads a text of [`encode`] and appends its buckets to `out`. Checks that they hold `count` samples. There
/// are `1 << sub_bits` buckets for each power of two; finer ones than ours are joined.
pub(super) fn decode(text: &str, count: u64, sub_bits: u32, out: &mut Vec<(u16, u32)>) -> Result<(), String> {
    const LAST_END: u8 = LAST + HIGHEST;
    const LEADING_END: u8 = LEADING + HIGHEST;
    let buckets = (MAX_BITS - sub_bits + 1) << sub_bits;
    let start = out.len();
    let (mut bucket, mut number, mut total) = (0u32, 0u32, 0u64);
    let (mut within, mut empty) = (false, false);
    for byte in text.bytes() {
        let digit = match byte {
            LAST..=LAST_END => byte - LAST,
            LEADING..=LEADING_END => byte - LEADING,
            EMPTY if !within && !empty => {
                empty = true;
                continue;
            }
            _ => return Err(format!("hist has {:?} where no such character can be", char::from(byte))),
        };
        if number >> (u32::BITS - DIGIT_BITS) != 0 {
            return Err(TOO_MANY.to_owned());
        }
        number = number << DIGIT_BITS | u32::from(digit);
        within = byte <= LEADING_END;
        if within {
            continue;
        }
        let complete = std::mem::take(&mut number);
        let is_stretch = std::mem::take(&mut empty);
        let taken = if is_stretch { complete } else { 1 };
        if taken > buckets - bucket {
            return Err(format!("hist has more than {buckets} buckets"));
        }
        if !is_stretch && complete != 0 {
            total += u64::from(complete);
            let ours = if sub_bits == SUB_BITS { bucket } else { joined(bucket, sub_bits) };
            match out[start..].last_mut() {
                Some((last, all)) if u32::from(*last) == ours => {
                    *all = all.checked_add(complete).ok_or(TOO_MANY)?;
                }
                _ => out.push((ours as u16, complete)),
            }
        }
        bucket += taken;
    }
    if within || empty {
        return Err("hist ends within a number".to_owned());
    }
    if total != count {
        return Err(format!("hist holds {total} samples, count says {count}"));
    }
    Ok(())
}

/// The bucket of ours in which a finer one lies.
fn joined(bucket: u32, sub_bits: u32) -> u32 {
    let octave = (bucket >> sub_bits).saturating_sub(1);
    let lowest = u64::from(bucket - (octave << sub_bits)) << octave;
    bucket_of(lowest) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_ebpf::histogram::BUCKETS;

    use super::*;

    fn text(buckets: &[(u16, u32)]) -> String {
        let mut text = String::new();
        encode(buckets.iter().copied(), &mut text);
        text
    }

    fn decoded(text: &str, count: u64) -> Result<Vec<(u16, u32)>, String> {
        let mut out = Vec::new();
        decode(text, count, SUB_BITS, &mut out).map(|()| out)
    }

    #[test]
    fn the_text_is_the_specified_one() {
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[(0, 1), (1, 31), (4, 32)]), "_}^^1^");
        assert_eq!(text(&[(3, 1), (36, 1000)]), "~a_~1^Of");
        assert_eq!(text(&[(527, u32::MAX)]), "~@m3OOOOO}");
    }

    #[test]
    fn every_bucket_comes_back() {
        let all: Vec<_> = (0..BUCKETS as u16).map(|bucket| (bucket, u32::from(bucket) * 9001 + 1)).collect();
        let count = all.iter().map(|(_, count)| u64::from(*count)).sum();
        assert_eq!(decoded(&text(&all), count).unwrap(), all);
    }

    #[test]
    fn damage_is_named() {
        let error = |text: &str| decoded(text, 1).unwrap_err();
        assert!(error("__").contains("holds 2 samples"));
        assert!(error("_0").contains("within a number") && error("_~").contains("within a number"));
        for text in ["§", "_ ", "~~a_", "0~_", "P_"] {
            assert!(error(text).contains("no such character"), "{text}");
        }
        assert!(error("OOOOOOO}").contains("32 bits"));
        assert!(error("~@n^_").contains("more than 528 buckets"), "{}", error("~@n^_"));
        assert!(error("~3OOOOO}_").contains("more than 528 buckets"));
    }

    /// A finer bucket lies in the bucket of each value that it holds.
    #[test]
    fn finer_buckets_are_joined() {
        for sub_bits in SUB_BITS..=6 {
            let per_octave = 1u64 << sub_bits;
            for ns in (0u64..4096).chain((12..36).map(|bits| (1 << bits) + (1 << (bits - 1)) + 5)) {
                let octave = (u64::BITS - ns.leading_zeros()).saturating_sub(sub_bits + 1);
                let fine = u64::from(octave) * per_octave + (ns >> octave);
                assert_eq!(joined(fine as u32, sub_bits), bucket_of(ns) as u32, "{ns} of {sub_bits}");
            }
        }
        // The values 32 to 35, which have buckets of their own at 64 for each power of two.
        let (mut out, fine) = (Vec::new(), "~1^_`a_");
        decode(fine, 7, 6, &mut out).unwrap();
        assert_eq!(out, [(32, 3), (33, 4)]);
    }

    proptest! {
        #[test]
        fn any_buckets_come_back(found in proptest::collection::btree_map(0..BUCKETS as u16, 1u32.., 0..60)) {
            let buckets: Vec<_> = found.into_iter().collect();
            let count = buckets.iter().map(|(_, count)| u64::from(*count)).sum();
            prop_assert_eq!(decoded(&text(&buckets), count).unwrap(), buckets);
        }

        #[test]
        fn garbage_is_an_error(text in "[0-P^-~ ]{0,60}", count: u64) {
            let _ = decoded(&text, count);
        }
    }
}
