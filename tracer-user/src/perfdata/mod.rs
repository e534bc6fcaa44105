//! Files of `perf kvm stat record`: perf.data to intervals.
//!
//! The container is the kernel's `tools/perf/Documentation/perf.data-file-format.txt`, as a file or as the
//! stream that `-o -` writes, plain or packed (`-z`), in either byte order. The events' layouts come from the
//! file itself. Events are sorted by time and go through [`crate::replay`], which pairs them as the kernel
//! side does: a vCPU is a thread, an exit lasts until the thread's next entry.
//!
//! The whole file becomes one interval. Its times are those of perf's clock, in ns since some point.
//!
//! Whatever the input, the outcome is intervals, notes or an error: counts and lengths are checked before
//! they are believed, and memory is bounded by the size of the input and by limits that no real file reaches.

mod attr;
mod bytes;
mod comms;
mod container;
mod dispatch;
mod events;
mod gaps;
mod header_features;
mod ordered_events;
mod session;
pub mod tracing;
mod unpack;

use std::io;

pub use container::{read_file, read_stream, read_stream_within};

use crate::{
    model::provenance::Header,
    model::{Interval, Threads},
};

/// The content of a perf.data file.
#[derive(Debug)]
pub struct PerfData {
    /// What perf noted of the machine, as the header of a recording.
    pub header: Header,
    /// All exits of the file.
    pub interval: Interval,
    /// The threads of the interval's exits.
    pub threads: Threads,
    /// Warnings for the reader of the numbers, one per line.
    pub notes: Vec<String>,
}

/// Limits of the memory that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events that wait until those of other CPUs are read, some 64 bytes each.
    pub waiting_events: usize,
}

/// Room for two rounds of a large machine.
impl Default for Limits {
    fn default() -> Self {
        Self { waiting_events: 1 << 24 }
    }
}

/// Why perf.data cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed.
    #[error("cannot read")]
    Io(#[from] io::Error),
    /// The file ends too early.
    #[error("the recording ends within {0}; was it copied whole, and did perf end properly?")]
    Truncated(&'static str),
    /// A part of the file makes no sense.
    #[error("the recording is damaged: {0}")]
    Damaged(String),
    /// The file has more of something than any real one.
    #[error("the recording has more than {limit} {what}")]
    TooMuch {
        /// Which part of the file there is too much of.
        what: &'static str,
        /// The largest number that is read.
        limit: u64,
    },
    /// The file has no format texts for exits and entries.
    #[error("the recording has no KVM exits and entries ({0}); record with: perf kvm stat record")]
    NoKvm(&'static str),
}

/// Whether a file that begins like this is perf's.
///
/// ```
/// # use tracer_user::perfdata::is_perf;
/// assert!(is_perf(b"PERFILE2h...") && is_perf(b"2ELIFREP"));
/// assert!(!is_perf(b"{\"type\":\"header\"") && !is_perf(b"PERF"));
/// ```
pub fn is_perf(beginning: &[u8]) -> bool {
    beginning.starts_with(container::MAGIC_LITTLE) || beginning.starts_with(container::MAGIC_BIG)
}

/// Whether it is a stream, as `perf record -o -` writes it: its header is shorter than a file's.
///
/// ```
/// # use tracer_user::perfdata::is_stream;
/// assert!(is_stream(b"PERFILE2\x10\0\0\0\0\0\0\0") && !is_stream(b"PERFILE2\x68\0\0\0\0\0\0\0"));
/// ```
pub fn is_stream(beginning: &[u8]) -> bool {
    let size = beginning.get(8..16);
    size == Some(&16u64.to_le_bytes()) && beginning.starts_with(container::MAGIC_LITTLE)
        || size == Some(&16u64.to_be_bytes()) && beginning.starts_with(container::MAGIC_BIG)
}
