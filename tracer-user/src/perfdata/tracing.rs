//! The tracing data of perf.data: the kernel's `format` texts, as perf copied them out of tracefs
//! (`tools/perf/util/trace-event-info.c` of the kernel writes it).

use super::bytes::Bytes;

/// How tracing data begin: three bytes and a word, then the version as a string.
const MAGIC: &[u8] = b"\x17\x08\x44tracing";

/// The format text of a tracepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The subsystem, `kvm`.
    pub system: String,
    /// The text of the tracepoint's `format` file.
    pub text: String,
}

/// Reads the format texts, in either byte order; [`None`] if the data are damaged.
pub fn formats(data: &[u8]) -> Option<Vec<Format>> {
    let mut bytes = Bytes::new(data.strip_prefix(MAGIC)?, false);
    let _version = bytes.string()?;
    let big_endian = bytes.u8()? != 0;
    let (_long_size, _page_size) = (bytes.u8()?, bytes.take(4)?);
    let mut bytes = Bytes::new(bytes.rest(), big_endian);
    for section in ["header_page", "header_event"] {
        if bytes.string()? != section {
            return None;
        }
        let size = bytes.u64()?;
        bytes.take(size)?;
    }
    // The events of ftrace itself belong to no system.
    for _ in 0..bytes.u32()? {
        let size = bytes.u64()?;
        bytes.take(size)?;
    }
    let mut formats = Vec::new();
    for _ in 0..bytes.u32()? {
        let system = bytes.string()?;
        for _ in 0..bytes.u32()? {
            let size = bytes.u64()?;
            let text = String::from_utf8_lossy(bytes.take(size)?).into_owned();
            formats.push(Format { system: system.clone(), text });
        }
    }
    Some(formats)
}
