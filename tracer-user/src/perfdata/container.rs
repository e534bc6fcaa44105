//! The container of perf.data: header, sections and records of a file, or the records of a stream.

use std::io::{self, Read, Seek, SeekFrom};

use super::{
    Error, Limits, PerfData,
    bytes::Bytes,
    header_features::feature,
    session::{Record, Session},
};

/// The first bytes of a file from a little-endian machine.
pub(super) const MAGIC_LITTLE: &[u8; 8] = b"PERFILE2";
/// The first bytes of a file from a big-endian machine: the same number in the other order.
pub(super) const MAGIC_BIG: &[u8; 8] = b"2ELIFREP";

/// Size of `struct perf_file_header`.
const FILE_HEADER: usize = 104;
/// Bits of the header's map of features.
const FEATURES: u32 = 256;
/// Bytes of a section that are read. The formats of all tracepoints of a kernel take some 5 MiB.
const MAX_SECTION: u64 = 1 << 26;
/// Events that are read. A command line cannot name more.
const MAX_EVENTS: u64 = 1 << 16;
/// A record that is followed by tracing data.
const HEADER_TRACING_DATA: u32 = 66;
/// A record that is followed by a processor's own trace.
const AUXTRACE: u32 = 71;

/// A part of a file.
#[derive(Clone, Copy, Debug)]
struct Section {
    offset: u64,
    size: u64,
}

impl Section {
    fn parse(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self { offset: bytes.u64()?, size: bytes.u64()? })
    }

    /// Reads the whole section, named `what` in errors.
    fn read(self, input: &mut (impl Read + Seek), what: &'static str) -> Result<Vec<u8>, Error> {
        if self.size > MAX_SECTION {
            return Err(Error::TooMuch { what, limit: MAX_SECTION });
        }
        input.seek(SeekFrom::Start(self.offset))?;
        let mut data = Vec::new();
        input.take(self.size).read_to_end(&mut data)?;
        if data.len() as u64 == self.size { Ok(data) } else { Err(Error::Truncated(what)) }
    }
}

/// Reads perf.data as a file. `written_unix_ms` is when it was written, in ms since 1970; 0 if that is not
/// known.
///
/// # Errors
/// See [`Error`].
pub fn read_file(mut input: impl Read + Seek, written_unix_ms: u64) -> Result<PerfData, Error> {
    input.seek(SeekFrom::Start(0))?;
    let mut header = [0; FILE_HEADER];
    fill(&mut input, &mut header, "its header")?;
    let big_endian = is_big_endian(&header)?;
    let layout = Layout::parse(Bytes::new(&header, big_endian)).ok_or(Error::Truncated("its header"))?;
    if layout.data.size == 0 {
        return Err(Error::Truncated("its data: perf did not come to its end"));
    }
    let mut session = Session::new(big_endian, Limits::default());
    layout.features(&mut input, &mut session, big_endian)?;
    layout.attrs(&mut input, &mut session, big_endian)?;
    input.seek(SeekFrom::Start(layout.data.offset))?;
    records(&mut input.take(layout.data.size), &mut session, big_endian)?;
    session.finish(written_unix_ms)
}

/// Reads perf.data as a stream, as `perf record -o -` writes it. `written_unix_ms` is as for [`read_file`].
///
/// # Errors
/// See [`Error`].
pub fn read_stream(input: impl Read, written_unix_ms: u64) -> Result<PerfData, Error> {
    read_stream_within(input, written_unix_ms, Limits::default())
}

/// [`read_stream`] with limits of the caller's.
///
/// # Errors
/// See [`Error`].
pub fn read_stream_within(
    mut input: impl Read,
    written_unix_ms: u64,
    limits: Limits,
) -> Result<PerfData, Error> {
    let mut header = [0; 16];
    fill(&mut input, &mut header, "its header")?;
    let big_endian = is_big_endian(&header)?;
    let mut session = Session::new(big_endian, limits);
    records(&mut input, &mut session, big_endian)?;
    session.finish(written_unix_ms)
}

/// Whether a file that begins with `header` is big-endian.
fn is_big_endian(header: &[u8]) -> Result<bool, Error> {
    if header.starts_with(MAGIC_LITTLE) {
        Ok(false)
    } else if header.starts_with(MAGIC_BIG) {
        Ok(true)
    } else {
        Err(Error::Damaged("it does not begin with PERFILE2".to_owned()))
    }
}

/// Where a file's parts are, as its header says.
#[derive(Debug)]
struct Layout {
    attr_size: u64,
    attrs: Section,
    data: Section,
    features: Vec<u32>,
}

impl Layout {
    fn parse(mut bytes: Bytes<'_>) -> Option<Self> {
        bytes.skip_words(2)?;
        let attr_size = bytes.u64()?;
        let attrs = Section::parse(&mut bytes)?;
        let data = Section::parse(&mut bytes)?;
        let _event_types = Section::parse(&mut bytes)?;
        let mut features = Vec::new();
        for first in (0..FEATURES).step_by(64) {
            let word = bytes.u64()?;
            features.extend((0..64).filter(|bit| word >> bit & 1 != 0).map(|bit| first + bit));
        }
        Some(Self { attr_size, attrs, data, features })
    }

    /// Each set bit has a section; their places follow the data. Formats come last: how they are read depends
    /// on the processor.
    fn features(
        &self,
        input: &mut (impl Read + Seek),
        session: &mut Session,
        big: bool,
    ) -> Result<(), Error> {
        let what = "its feature sections";
        let end = self.data.offset.checked_add(self.data.size);
        let offset = end.ok_or_else(|| Error::Damaged("a data section of absurd size".to_owned()))?;
        let table = Section { offset, size: 16 * self.features.len() as u64 }.read(input, what)?;
        let mut places = Bytes::new(&table, big);
        let sections = self.features.iter().map_while(|number| Some((*number, Section::parse(&mut places)?)));
        let mut sections: Vec<_> = sections.filter(|(number, _)| feature::READ.contains(number)).collect();
        sections.sort_by_key(|(number, _)| *number == feature::TRACING_DATA);
        for (number, section) in sections {
            let data = section.read(input, what)?;
            session.feature(number, &data)?;
        }
        Ok(())
    }

    /// Each event has its attributes, and the place of its ids.
    fn attrs(&self, input: &mut (impl Read + Seek), session: &mut Session, big: bool) -> Result<(), Error> {
        let what = "its events";
        let attr_size = self.attr_size.checked_sub(16).filter(|size| *size >= 64);
        let damaged = || Error::Damaged(format!("attributes of {} bytes", self.attr_size));
        let attr_size = usize::try_from(attr_size.ok_or_else(damaged)?).map_err(|_| damaged())?;
        if self.attrs.size / self.attr_size > MAX_EVENTS {
            return Err(Error::TooMuch { what: "events", limit: MAX_EVENTS });
        }
        let table = self.attrs.read(input, what)?;
        for entry in table.chunks_exact(attr_size + 16) {
            let (attr, place) = entry.split_at(attr_size);
            let place = Section::parse(&mut Bytes::new(place, big)).ok_or_else(damaged)?;
            let ids = place.read(input, what)?;
            session.attr(attr, &ids)?;
        }
        Ok(())
    }
}

/// Hands all records to the session.
fn records(input: &mut impl Read, session: &mut Session, big_endian: bool) -> Result<(), Error> {
    let what = "a record";
    let mut body = Vec::new();
    loop {
        let mut header = [0; 8];
        // A recording ends between two records.
        if input.read(&mut header[..1])? == 0 {
            return Ok(());
        }
        fill(input, &mut header[1..], what)?;
        let mut bytes = Bytes::new(&header, big_endian);
        let kind = bytes.u32().unwrap_or(0);
        let misc = bytes.number(2).unwrap_or(0) as u16;
        let size = bytes.number(2).unwrap_or(0) as usize;
        let length =
            size.checked_sub(8).ok_or_else(|| Error::Damaged(format!("a record of {size} bytes")))?;
        body.resize(length, 0);
        fill(input, &mut body, what)?;
        // Some records are followed by data that their own size does not include.
        let mut bytes = Bytes::new(&body, big_endian);
        match kind {
            HEADER_TRACING_DATA => {
                let size = u64::from(bytes.u32().unwrap_or(0));
                let data = read_formats(input, size)?;
                session.feature(feature::TRACING_DATA, &data)?;
            }
            AUXTRACE => {
                let size = bytes.u64().unwrap_or(0);
                if io::copy(&mut input.by_ref().take(size), &mut io::sink())? != size {
                    return Err(Error::Truncated(what));
                }
            }
            _ => session.record(Record { kind, misc, body: &body })?,
        }
    }
}

/// Reads the tracing data that follow a record.
fn read_formats(input: &mut impl Read, size: u64) -> Result<Vec<u8>, Error> {
    let what = "the formats of tracepoints";
    if size > MAX_SECTION {
        return Err(Error::TooMuch { what: "bytes of formats", limit: MAX_SECTION });
    }
    let mut data = Vec::new();
    input.by_ref().take(size).read_to_end(&mut data)?;
    if data.len() as u64 == size { Ok(data) } else { Err(Error::Truncated(what)) }
}

/// Reads exactly as many bytes as `buffer` holds, named `what` in errors.
fn fill(input: &mut impl Read, buffer: &mut [u8], what: &'static str) -> Result<(), Error> {
    input.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated(what),
        _ => Error::Io(error),
    })
}
