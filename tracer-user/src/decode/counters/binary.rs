//! The binary form of KVM's statistics: what a descriptor `anon_inode:kvm-vcpu-stats:N` or
//! `anon_inode:kvm-vm-stats` reads (Linux 5.14 and later).
//!
//! The layout is that of the kernel's include/uapi/linux/kvm.h: `struct kvm_stats_header`, an identifier, the
//! descriptors, and the numbers. Sizes and offsets are in the header, so nothing is taken for granted.

use super::{BUCKETS, Kind, Unit};

/// Bytes of `struct kvm_stats_header`: flags, size of names, number of descriptors, and the offsets of
/// identifier, descriptors and data, 32 bits each.
const HEADER: usize = 24;
/// Bytes of `struct kvm_stats_desc` before the name: flags (32 bits), exponent (16, signed), number of values
/// (16), offset in the data (32), width of a bucket (32).
const DESCRIPTOR: usize = 16;
/// The longest names. The kernel's have 48 bytes (KVM_STATS_NAME_SIZE).
const NAME: usize = 256;
/// The most descriptors. The kernel has some sixty.
const DESCRIPTORS: usize = 4096;

/// A statistic and its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistic {
    /// Its name.
    pub name: String,
    /// How it behaves.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// Width of the buckets of a linear histogram.
    pub bucket_size: u32,
    /// One number, or one for each bucket.
    pub values: Vec<u64>,
}

/// Why bytes are no statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Something lies beyond the end.
    #[error("KVM's statistics end before their {0}")]
    Short(&'static str),
    /// A size is out of bounds.
    #[error("KVM's statistics have an absurd {0}")]
    Absurd(&'static str),
}

/// All statistics in the bytes of a descriptor, which are in the order of this machine.
///
/// # Errors
/// See [`Malformed`]. Whatever the bytes, the outcome has no more numbers than they have room for.
pub fn parse(bytes: &[u8]) -> Result<Vec<Statistic>, Malformed> {
    let header = bytes.get(..HEADER).ok_or(Malformed::Short("header"))?;
    let field = |at: usize| u32_at(header, 4 * at) as usize;
    let (name_size, count, descriptors_at, data_at) = (field(1), field(2), field(4), field(5));
    if name_size == 0 || name_size > NAME {
        return Err(Malformed::Absurd("length of names"));
    }
    if count > DESCRIPTORS {
        return Err(Malformed::Absurd("number of descriptors"));
    }
    let stride = DESCRIPTOR + name_size;
    let descriptors = bytes.get(descriptors_at..).and_then(|rest| rest.get(..count * stride));
    let descriptors = descriptors.ok_or(Malformed::Short("descriptors"))?;
    let data = bytes.get(data_at..).ok_or(Malformed::Short("data"))?;
    let mut room = data.len() / 8;
    let mut statistics = Vec::with_capacity(count);
    for descriptor in descriptors.chunks_exact(stride) {
        let flags = u32_at(descriptor, 0);
        let exponent = i16::from_ne_bytes([descriptor[4], descriptor[5]]);
        let size = usize::from(u16::from_ne_bytes([descriptor[6], descriptor[7]]));
        let (offset, bucket_size) = (u32_at(descriptor, 8) as usize, u32_at(descriptor, 12));
        // Descriptors that share their numbers could ask for more than there is.
        room = room
            .checked_sub(size)
            .filter(|_| size <= BUCKETS)
            .ok_or(Malformed::Absurd("number of values"))?;
        let values = data.get(offset..).and_then(|rest| rest.get(..8 * size));
        let values = values.ok_or(Malformed::Short("values"))?.chunks_exact(8);
        let values = values.map(|value| u64::from_ne_bytes(value.try_into().expect("eight bytes"))).collect();
        let name = descriptor[DESCRIPTOR..].split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        statistics.push(Statistic {
            name,
            kind: kind_of(flags),
            unit: unit_of(flags, exponent),
            bucket_size,
            values,
        });
    }
    Ok(statistics)
}

/// The lowest four bits of the flags (KVM_STATS_TYPE_*).
fn kind_of(flags: u32) -> Kind {
    match flags & 0xf {
        0 => Kind::Cumulative,
        1 => Kind::Instant,
        2 => Kind::Peak,
        3 => Kind::LinearHist,
        4 => Kind::LogHist,
        _ => Kind::Unknown,
    }
}

/// The next four bits (KVM_STATS_UNIT_*), the four after them (KVM_STATS_BASE_*: 10 or 2), and the exponent.
fn unit_of(flags: u32, exponent: i16) -> Unit {
    match (flags >> 4 & 0xf, flags >> 8 & 0xf, exponent) {
        (0, _, 0) => Unit::None,
        (1, _, 0) => Unit::Bytes,
        (1, 1, 10) => Unit::KiB,
        (1, 1, 20) => Unit::MiB,
        (1, 1, 30) => Unit::GiB,
        (2, _, 0) => Unit::S,
        (2, 0, -3) => Unit::Ms,
        (2, 0, -6) => Unit::Us,
        (2, 0, -9) => Unit::Ns,
        (3, _, 0) => Unit::Cycles,
        (4, _, 0) => Unit::Boolean,
        _ => Unit::Unknown,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel's include/uapi/linux/kvm.h calls a cumulative number of seconds, base 10.
    const TIME: u32 = 2 << 4;

    struct Described(u32, i16, u16, u32, u32, &'static str);

    /// As the kernel lays them out, with names of 16 bytes.
    fn image(descriptors: &[Described], data: &[u64]) -> Vec<u8> {
        let count = descriptors.len() as u32;
        let header = [0, 16, count, 24, 40, 40 + 32 * count];
        let mut image: Vec<u8> = header.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        image.extend(*b"kvm-1/vcpu-0\0\0\0\0");
        for Described(flags, exponent, size, offset, bucket_size, name) in descriptors {
            image.extend(flags.to_ne_bytes());
            image.extend(exponent.to_ne_bytes());
            image.extend(size.to_ne_bytes());
            image.extend(offset.to_ne_bytes());
            image.extend(bucket_size.to_ne_bytes());
            let mut padded = name.as_bytes().to_vec();
            padded.resize(16, 0);
            image.extend(padded);
        }
        image.extend(data.iter().flat_map(|value| value.to_ne_bytes()));
        image
    }

    fn sample() -> Vec<u8> {
        let descriptors = [
            Described(0, 0, 1, 16, 0, "exits"),
            Described(TIME, -9, 1, 24, 0, "halt_wait_ns"),
            Described(TIME | 4, -9, 2, 0, 0, "halt_wait_hist"),
            Described(1 | 4 << 4, 0, 1, 32, 0, "blocking"),
        ];
        image(&descriptors, &[3, 4, 1234, 5678, 1])
    }

    #[test]
    fn kinds_units_and_numbers_are_read() {
        let expected = [
            ("exits", Kind::Cumulative, Unit::None, vec![1234]),
            ("halt_wait_ns", Kind::Cumulative, Unit::Ns, vec![5678]),
            ("halt_wait_hist", Kind::LogHist, Unit::Ns, vec![3, 4]),
            ("blocking", Kind::Instant, Unit::Boolean, vec![1]),
        ];
        let found = parse(&sample()).unwrap();
        let found: Vec<_> =
            found.iter().map(|it| (it.name.as_str(), it.kind, it.unit, it.values.clone())).collect();
        assert_eq!(found, expected);
        let linear = parse(&image(&[Described(3 | 1 << 4 | 1 << 8, 20, 2, 0, 5, "sizes")], &[1, 2])).unwrap();
        assert_eq!((linear[0].kind, linear[0].unit, linear[0].bucket_size), (Kind::LinearHist, Unit::MiB, 5));
        let odd = parse(&image(&[Described(0xfff, 7, 1, 0, 0, "later")], &[1])).unwrap();
        assert_eq!((odd[0].kind, odd[0].unit), (Kind::Unknown, Unit::Unknown));
    }

    #[test]
    fn what_is_cut_off_or_absurd_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            assert!(matches!(parse(&whole[..length]), Err(Malformed::Short(_) | Malformed::Absurd(_))));
        }
        let with = |at: usize, word: u32| {
            let mut changed = whole.clone();
            changed[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            parse(&changed)
        };
        assert_eq!(with(4, 0), Err(Malformed::Absurd("length of names")));
        assert_eq!(with(4, u32::MAX), Err(Malformed::Absurd("length of names")));
        assert_eq!(with(8, u32::MAX), Err(Malformed::Absurd("number of descriptors")));
        assert_eq!(with(16, u32::MAX), Err(Malformed::Short("descriptors")));
        assert_eq!(with(20, u32::MAX), Err(Malformed::Short("data")));
        assert_eq!(with(40 + 8, u32::MAX), Err(Malformed::Short("values")));
    }

    /// Otherwise 64 KiB could ask for gigabytes.
    #[test]
    fn descriptors_cannot_share_their_numbers() {
        let shared = |_| Described(4, 0, 4, 0, 0, "hist");
        let many: Vec<_> = (0..100).map(shared).collect();
        let wide = image(&[Described(4, 0, BUCKETS as u16 + 1, 0, 0, "hist")], &[0; BUCKETS + 1]);
        assert_eq!(parse(&wide), Err(Malformed::Absurd("number of values")));
        assert_eq!(parse(&image(&many, &[1, 2, 3, 4])), Err(Malformed::Absurd("number of values")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut bytes in prop::collection::vec(any::<u8>(), 0..400),
            fields in prop::collection::vec(0u32..200, 6),
        ) {
            let _ = parse(&bytes);
            for (at, field) in fields.iter().enumerate() {
                if let Some(place) = bytes.get_mut(4 * at..4 * at + 4) {
                    place.copy_from_slice(&field.to_ne_bytes());
                }
            }
            if let Ok(statistics) = parse(&bytes) {
                let values: usize = statistics.iter().map(|it| it.values.len()).sum();
                prop_assert!(values <= bytes.len() / 8);
            }
        }
    }
}
