//! `struct perf_event_attr`: what the samples of an event consist of, and a sample's fields.

use std::collections::HashMap;

use super::{Error, bytes::Bytes};

/// Bits of `sample_type` (`enum perf_event_sample_format` in the kernel's `perf_event.h`), in the order of
/// the fields in a record, which is not that of the bits.
mod sample {
    pub const IDENTIFIER: u64 = 1 << 16;
    pub const IP: u64 = 1 << 0;
    pub const TID: u64 = 1 << 1;
    pub const TIME: u64 = 1 << 2;
    pub const ADDR: u64 = 1 << 3;
    pub const ID: u64 = 1 << 6;
    pub const STREAM_ID: u64 = 1 << 9;
    pub const CPU: u64 = 1 << 7;
    pub const PERIOD: u64 = 1 << 8;
    pub const READ: u64 = 1 << 4;
    pub const CALLCHAIN: u64 = 1 << 5;
    pub const RAW: u64 = 1 << 10;
}

/// Bits of `read_format`.
mod read {
    pub const TIMES: [u64; 2] = [1 << 0, 1 << 1];
    pub const GROUP: u64 = 1 << 3;
    pub const PER_VALUE: [u64; 2] = [1 << 2, 1 << 4];
}

/// Size of the smallest `struct perf_event_attr` that any kernel had, in bytes.
const SMALLEST: u32 = 64;
/// Ids of events that are read. A machine with 8192 CPUs has some 60,000.
pub(super) const MAX_IDS: usize = 1 << 20;
/// `type` of a tracepoint.
const TRACEPOINT: u32 = 2;
/// `sample_id_all` in the bit field: records that are no samples end with thread, time and CPU too.
const SAMPLE_ID_ALL: u64 = 1 << 18;

/// An event: what it counts, and the fields that its samples consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attr {
    /// The tracepoint's number, the one that its records begin with; [`None`] for other kinds of events.
    pub tracepoint: Option<u64>,
    sample_type: u64,
    read_format: u64,
    sample_id_all: bool,
}

/// Attributes as a file holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizedAttr {
    pub attr: Attr,
    /// How many bytes they take up.
    pub size: u32,
}

impl Attr {
    /// Reads the attributes at the start of `bytes`; [`None`] if they are damaged.
    pub fn parse(mut bytes: Bytes<'_>) -> Option<SizedAttr> {
        let kind = bytes.u32()?;
        let size = bytes.u32()?;
        let config = bytes.u64()?;
        bytes.skip_words(1)?;
        let attr = Self {
            tracepoint: (kind == TRACEPOINT).then_some(config),
            sample_type: bytes.u64()?,
            read_format: bytes.u64()?,
            sample_id_all: bytes.bit_field()? & SAMPLE_ID_ALL != 0,
        };
        (size >= SMALLEST).then_some(SizedAttr { attr, size })
    }

    /// The fields of its samples, as (`sample_type`, `read_format`).
    fn layout(&self) -> (u64, u64) {
        (self.sample_type, self.read_format)
    }

    fn has(&self, bit: u64) -> bool {
        self.sample_type & bit != 0
    }

    /// Number of words before the event's id in a sample; [`None`] if samples have no id.
    fn id_position(&self) -> Option<u64> {
        let before = [sample::IP, sample::TID, sample::TIME, sample::ADDR];
        if self.has(sample::IDENTIFIER) {
            return Some(0);
        }
        self.has(sample::ID).then(|| before.iter().filter(|bit| self.has(**bit)).count() as u64)
    }
}

/// The fields of a sample that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample<'a> {
    pub pid: u32,
    pub tid: u32,
    /// Time by perf's clock.
    pub time_ns: u64,
    /// The CPU, if samples have it.
    pub cpu: Option<u32>,
    /// The tracepoint's record.
    pub raw: &'a [u8],
}

/// Where and when a record other than a sample was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Time by perf's clock.
    pub time_ns: u64,
    /// The CPU, if records have it.
    pub cpu: Option<u32>,
}

/// The attributes of a file's events, and the ids by which samples refer to them.
#[derive(Debug, Default)]
pub(super) struct Attrs {
    attrs: Vec<Attr>,
    by_id: HashMap<u64, usize>,
    /// All samples have the same fields.
    uniform: bool,
    /// Words before the id in every sample, if that is the same number for all events.
    id_position: Option<u64>,
}

impl Attrs {
    /// Adds an event.
    ///
    /// # Errors
    /// If there are absurdly many ids.
    pub fn add(&mut self, attr: Attr, ids: impl Iterator<Item = u64>) -> Result<(), Error> {
        let first = self.attrs.first().copied();
        self.uniform = first.is_none_or(|first| self.uniform && attr.layout() == first.layout());
        self.id_position = attr.id_position().filter(|own| first.is_none() || self.id_position == Some(*own));
        self.attrs.push(attr);
        let number = self.attrs.len() - 1;
        self.by_id.extend(ids.take(MAX_IDS).map(|id| (id, number)));
        if self.by_id.len() >= MAX_IDS || self.attrs.len() > MAX_IDS {
            return Err(Error::TooMuch { what: "event ids", limit: MAX_IDS as u64 });
        }
        Ok(())
    }

    /// Whether the file has no events.
    pub fn is_empty(&self) -> bool {
        self.attrs.is_empty()
    }

    /// The event of a sample. Where events differ in their fields, each sample has an id at the same place;
    /// otherwise a sample can be read without an id, which may be missing.
    pub fn of(&self, body: Bytes<'_>) -> Option<Attr> {
        let first = *self.attrs.first()?;
        if self.uniform {
            return Some(first);
        }
        let mut body = body;
        body.skip_words(self.id_position?)?;
        let id = body.u64()?;
        self.by_id.get(&id).map(|number| self.attrs[*number])
    }

    /// Whether all samples are read in the same way, so that [`Attrs::of`] does not tell events apart.
    pub fn is_uniform(&self) -> bool {
        self.uniform
    }

    /// Reads the trailer of a kernel record that was written for the event of this id; [`None`] without one.
    pub fn written(&self, id: u64, mut trailer: Bytes<'_>) -> Option<Written> {
        let number = self.by_id.get(&id).copied();
        let attr = self.attrs.get(number.unwrap_or(0)).filter(|attr| attr.sample_id_all)?;
        trailer.skip_words(u64::from(attr.has(sample::TID)))?;
        let time_ns = attr.has(sample::TIME).then(|| trailer.u64())??;
        for bit in [sample::ID, sample::STREAM_ID] {
            trailer.skip_words(u64::from(attr.has(bit)))?;
        }
        let cpu = if attr.has(sample::CPU) { Some(trailer.u32()?) } else { None };
        Some(Written { time_ns, cpu })
    }

    /// Takes a sample apart; [`None`] if it is damaged, or lacks a field that is needed.
    pub fn sample<'a>(&self, body: Bytes<'a>) -> Option<Sample<'a>> {
        let attr = self.of(body)?;
        let mut body = body;
        let has = |bit: u64| attr.has(bit);
        for bit in [sample::IDENTIFIER, sample::IP] {
            body.skip_words(u64::from(has(bit)))?;
        }
        let needed = sample::TID | sample::TIME | sample::RAW;
        if attr.sample_type & needed != needed {
            return None;
        }
        let (pid, tid) = (body.u32()?, body.u32()?);
        let time_ns = body.u64()?;
        for bit in [sample::ADDR, sample::ID, sample::STREAM_ID] {
            body.skip_words(u64::from(has(bit)))?;
        }
        // The CPU's number, then a reserved word of four bytes.
        let cpu = if has(sample::CPU) { Some(body.u32().zip(body.u32())?.0) } else { None };
        body.skip_words(u64::from(has(sample::PERIOD)))?;
        if has(sample::READ) {
            skip_counter_values(&mut body, attr.read_format)?;
        }
        if has(sample::CALLCHAIN) {
            let length = body.u64()?;
            body.skip_words(length)?;
        }
        let size = body.u32()?;
        Some(Sample { pid, tid, time_ns, cpu, raw: body.take(u64::from(size))? })
    }
}

/// Skips the values of a counter.
fn skip_counter_values(body: &mut Bytes<'_>, format: u64) -> Option<()> {
    let bits = |bits: [u64; 2]| bits.iter().filter(|bit| format & **bit != 0).count() as u64;
    let first = body.u64()?;
    body.skip_words(bits(read::TIMES))?;
    // One value, which was `first`; or as many as `first` says.
    let per_value = bits(read::PER_VALUE);
    let words = if format & read::GROUP == 0 { per_value } else { first.checked_mul(per_value + 1)? };
    body.skip_words(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn attrs(list: &[(u64, u64, &[u64])]) -> Attrs {
        let mut attrs = Attrs::default();
        for &(sample_type, read_format, ids) in list {
            let attr = Attr { tracepoint: Some(0), sample_type, read_format, sample_id_all: true };
            attrs.add(attr, ids.iter().copied()).unwrap();
        }
        attrs
    }

    const BASE: u64 = sample::TID | sample::TIME | sample::RAW;

    #[test]
    fn every_field_before_the_raw_data_is_skipped() {
        let all = BASE | 1 << 16 | 1 | 1 << 3 | 1 << 6 | 1 << 9 | 1 << 7 | 1 << 8 | 1 << 4 | 1 << 5;
        let attrs = attrs(&[(all, 0b1_1111, &[])]);
        // identifier, ip, tid, time, addr, id, stream, cpu, period, {nr 2, times, 2 x (value, id, lost)},
        // chain
        let mut data = words(&[9, 9, 7 << 32 | 5, 100, 9, 9, 9, 9, 9, 2, 9, 9, 9, 9, 9, 9, 9, 9, 1, 9]);
        data.extend([3, 0, 0, 0, 1, 2, 3, 4]);
        let sample = attrs.sample(Bytes::new(&data, false)).unwrap();
        assert_eq!(sample, Sample { pid: 5, tid: 7, time_ns: 100, cpu: Some(9), raw: &[1, 2, 3] });
        for cut in 0..data.len() - 1 {
            assert_eq!(attrs.sample(Bytes::new(&data[..cut], false)), None, "{cut}");
        }
    }

    #[test]
    fn events_that_differ_are_told_apart_by_the_identifier() {
        let attrs = attrs(&[(BASE | 1 << 16, 0, &[1, 2]), (BASE | 1 << 16 | 1 << 7, 0, &[3])]);
        let mut data = words(&[3, 7 << 32 | 5, 100, 0]);
        data.extend([0; 4]);
        assert!(attrs.sample(Bytes::new(&data, false)).is_some());
        data[0] = 4;
        assert_eq!(attrs.sample(Bytes::new(&data, false)), None);
    }

    /// Without IDENTIFIER, perf puts ID at one place in all samples.
    #[test]
    fn events_that_differ_are_told_apart_by_an_id_within() {
        let attrs = attrs(&[(BASE | 1 << 6, 0, &[1]), (BASE | 1 << 6 | 1 << 7, 0, &[3])]);
        let mut data = words(&[7 << 32 | 5, 100, 3, 6]);
        data.extend([0; 4]);
        assert_eq!(attrs.sample(Bytes::new(&data, false)).unwrap().cpu, Some(6));
        data[16] = 2;
        assert_eq!(attrs.sample(Bytes::new(&data, false)), None, "nobody's id");
    }

    #[test]
    fn ids_at_different_places_tell_nothing() {
        let attrs = attrs(&[(BASE | 1 << 6, 0, &[1]), (BASE | 1 << 6 | 1 << 3, 0, &[3])]);
        let mut data = words(&[7 << 32 | 5, 100, 1]);
        data.extend([0; 4]);
        assert_eq!(attrs.sample(Bytes::new(&data, false)), None);
    }

    #[test]
    fn absurd_lengths_are_no_samples() {
        let attrs = attrs(&[(BASE | 1 << 5, 0, &[])]);
        assert_eq!(attrs.sample(Bytes::new(&words(&[0, 0, u64::MAX / 8 + 2]), false)), None);
    }
}
