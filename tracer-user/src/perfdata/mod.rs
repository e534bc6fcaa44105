//! Recordings of `perf kvm stat record`: perf.data to intervals.
//!
//! The container is the kernel's `tools/perf/Documentation/perf.data-file-format.txt`, as a file or as the stream
//! that `-o -` writes, plain or packed (`-z`), in either byte order. The events' layouts come from the recording
//! itself. Events are sorted by time and go through [`crate::replay`], which pairs them as the kernel side does: a
//! vCPU is a thread, an exit lasts until the thread's next entry.
//!
//! The whole recording becomes one interval. Its times are those of perf's clock, in ns since some point.
//!
//! Whatever the input, the outcome is intervals, notes or an error: counts and lengths are checked before they are
//! believed, and memory is bounded by the size of the input and by limits that no real recording reaches.

mod attr;
mod bytes;
mod comms;
mod container;
mod events;
mod header_features;
mod ordered_events;
mod session;
pub mod tracing;
mod unpack;

use std::io;

pub use container::{read_file, read_stream};

use crate::{
    model::provenance::Header,
    model::{Interval, Threads},
};

/// What a recording holds.
#[derive(Debug)]
pub struct Recording {
    /// Where it comes from, in the words of a dump.
    pub header: Header,
    /// All of it.
    pub interval: Interval,
    /// The threads it speaks of.
    pub threads: Threads,
    /// What is worth knowing about it.
    pub notes: Vec<String>,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed.
    #[error("cannot read")]
    Io(#[from] io::Error),
    /// It stops too early.
    #[error("the recording ends within {0}; was it copied whole, and did perf end properly?")]
    Truncated(&'static str),
    /// Something in it makes no sense.
    #[error("the recording is damaged: {0}")]
    Damaged(String),
    /// More of something than any real recording has.
    #[error("the recording has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many are read.
        limit: u64,
    },
    /// There are no format texts for exits and entries.
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
