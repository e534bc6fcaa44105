//! HdrHistogram V2 in base64 to buckets.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hdrhistogram::{Histogram, serialization::Deserializer};
use tracer_ebpf::histogram::{BUCKETS, MAX_BITS, bucket_of};

/// How it is called in a header.
pub(in crate::recording) const ENCODING: &str = "HdrHistogram V2, base64";

/// Two digits make 128 cells per octave: eight for each bucket of exitlat.
const DIGITS: u8 = 2;
/// Highest value of a histogram: beyond the midpoint of the last bucket.
const HIGH: u64 = 1 << MAX_BITS;

/// Error text for a bucket that no recording can have.
const TOO_MANY: &str = "hist holds more samples in a bucket than fit into 32 bits";

/// Decodes a histogram and appends its buckets to `out`. Checks that they hold `count` samples.
pub(super) fn decode(text: &str, count: u64, out: &mut Vec<(u16, u32)>) -> Result<(), String> {
    let bytes = BASE64.decode(text).map_err(|error| format!("hist is no base64: {error}"))?;
    check_header(&bytes)?;
    let histogram: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| format!("hist is no HdrHistogram V2: {error}"))?;
    let mut total = 0u64;
    let start = out.len();
    for cell in histogram.iter_recorded() {
        let samples = cell.count_at_value();
        let bucket = bucket_of(cell.value_iterated_to().min(HIGH - 1));
        debug_assert!(bucket < BUCKETS);
        total = total.checked_add(samples).ok_or("hist overflows")?;
        let samples = u32::try_from(samples).map_err(|_| TOO_MANY)?;
        match out[start..].last_mut() {
            Some((last, all)) if usize::from(*last) == bucket => {
                *all = all.checked_add(samples).ok_or(TOO_MANY)?;
            }
            _ => out.push((bucket as u16, samples)),
        }
    }
    if total != count {
        return Err(format!("hist holds {total} samples, count says {count}"));
    }
    Ok(())
}

/// Bytes of a V2 header: cookie, length of the payload, offset, digits, lowest and highest value, ratio.
const HEADER: usize = 40;

/// Checks the header. The deserializer trusts it: it reserves memory for the stated length of the payload,
/// and for all cells between lowest and highest value.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    let field = |at: usize, size: usize| {
        bytes[at..at + size].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    if bytes.len() < HEADER {
        return Err("hist is no HdrHistogram V2: it has no header".to_owned());
    }
    let (length, digits, high) = (field(4, 4), field(12, 4), field(24, 8));
    if length != (bytes.len() - HEADER) as u64 {
        return Err(format!("hist is no HdrHistogram V2: it says it has {length} bytes"));
    }
    // Cells of fewer digits are coarser than the buckets.
    if high > 2 * HIGH || !(u64::from(DIGITS)..=u64::from(DIGITS) + 1).contains(&digits) {
        return Err(format!("hist has an upper bound of {high} and {digits} digits"));
    }
    if has_longest_number(&bytes[HEADER..]) {
        return Err("hist holds a number of samples beyond all measure".to_owned());
    }
    Ok(())
}

/// Whether a payload holds a number of nine bytes, 2^55 samples or more. The deserializer negates numbers
/// that stand for runs of empty cells, and the lowest of all has no positive.
fn has_longest_number(payload: &[u8]) -> bool {
    let mut length = 0;
    for byte in payload {
        length += 1;
        // A byte has seven bits of the number; the eighth tells that more follow. The ninth byte has eight
        // bits.
        if length == 9 {
            return true;
        }
        if byte & 0x80 == 0 {
            length = 0;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{Serializer as _, V2Serializer};
    use proptest::prelude::*;
    use tracer_ebpf::histogram::midpoint_of;

    use super::*;

    /// Encodes buckets in rising order, as recordings of schema 1 and 2 have them.
    fn encode(buckets: &[(u16, u32)]) -> String {
        let mut histogram =
            Histogram::<u64>::new_with_bounds(1, HIGH, DIGITS).expect("constant bounds are valid");
        for &(bucket, count) in buckets {
            histogram
                .record_n(midpoint_of(usize::from(bucket)), count.into())
                .expect("every midpoint is below the upper bound");
        }
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut bytes).expect("writing to memory does not fail");
        BASE64.encode(bytes)
    }

    #[test]
    fn every_bucket_comes_back() {
        let all: Vec<_> = (0..BUCKETS as u16).map(|bucket| (bucket, u32::from(bucket) + 1)).collect();
        let mut back = Vec::new();
        decode(&encode(&all), all.iter().map(|(_, count)| u64::from(*count)).sum(), &mut back).unwrap();
        assert_eq!(back, all);
    }

    #[test]
    fn damage_is_named() {
        let mut out = Vec::new();
        assert!(decode("§", 0, &mut out).unwrap_err().contains("base64"));
        assert!(decode("AAAA", 0, &mut out).unwrap_err().contains("HdrHistogram"));
        assert!(decode(&encode(&[(5, 2)]), 3, &mut out).unwrap_err().contains("holds 2"));
    }

    /// Each of these headers made the deserializer reserve gigabytes.
    #[test]
    fn lengths_and_ranges_are_checked_before_they_are_believed() {
        let good = BASE64.decode(encode(&[(5, 2)])).unwrap();
        for (at, byte) in [(4, 0xff), (15, 5), (24, 0x7f)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(decode(&BASE64.encode(bad), 2, &mut Vec::new()).is_err(), "{at}");
        }
    }

    #[test]
    fn the_longest_run_of_empty_cells_is_refused() {
        let mut bytes = BASE64.decode(encode(&[(5, 2)])).unwrap();
        bytes.extend([0xff; 9]);
        let length = (bytes.len() - HEADER) as u32;
        bytes[4..8].copy_from_slice(&length.to_be_bytes());
        let error = decode(&BASE64.encode(&bytes), 2, &mut Vec::new()).unwrap_err();
        assert!(error.contains("beyond all measure"), "{error}");
    }

    #[test]
    fn a_bucket_has_32_bits() {
        let most = [(5, u32::MAX)];
        let mut back = Vec::new();
        decode(&encode(&most), u32::MAX.into(), &mut back).unwrap();
        assert_eq!(back, most);
        // One sample more, in another cell of the same bucket.
        let mut histogram = Histogram::<u64>::new_with_bounds(1, HIGH, DIGITS).unwrap();
        histogram.record_n(1_000, u32::MAX.into()).unwrap();
        histogram.record(1_020).unwrap();
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
        assert_eq!(bucket_of(1_000), bucket_of(1_020));
        let error = decode(&BASE64.encode(&bytes), 1 << 32, &mut Vec::new()).unwrap_err();
        assert!(error.contains("32 bits"), "{error}");
    }

    proptest! {
        #[test]
        fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&BASE64.encode(bytes), 0, &mut Vec::new());
        }
    }
}
