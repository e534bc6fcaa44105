//! The dump: what `exitlat record` writes and `exitlat report` reads. This text is the format's specification.
//!
//! A dump is UTF-8 text, one JSON object a line (`jq` reads it), only ever appended to. Every object has a
//! `type`; all times are integers, `_ns` in nanoseconds, `_ms` in milliseconds.
//!
//! | `type` | when | fields |
//! |---|---|---|
//! | `header` | first line | `schema` (1), `tool`, `host`, `kernel`, `arch`, `cpu`, `backend`, `path`, `options` (command line), `start_unix_ms`, `buckets` (`layout`, `sub_bits`, `max_bits`, `encoding`) |
//! | `slot` | for each interval and (vCPU thread, isa, reason) that had samples | `interval`, `vm`, `pid`, `tid`, `vcpu` (or null), `isa`, `reason` (the code, flags included), `name`, `count`, `sum_ns`, `min_ns`, `max_ns`, `hist` |
//! | `loss` | for each interval and cause that counted | `interval`, `cause`, `count` |
//! | `in_flight` | for each exit still open at the end of an interval | `interval`, `vm`, `pid`, `tid`, `vcpu`, `isa`, `reason`, `age_ns` |
//! | `interval` | last line of each interval | `interval` (1, 2, ...), `start_ns`, `end_ns` (CLOCK_MONOTONIC), `end_unix_ms` |
//! | `end` | last line | `intervals`, `why` |
//!
//! `count`, `sum_ns`, `min_ns` and `max_ns` are exact. `hist` is the interval's histogram as HdrHistogram V2
//! (uncompressed, lowest value 1, two significant digits) in base64, with each sample at the midpoint of its
//! log-linear bucket; two digits are finer than the buckets, so the buckets come back exactly.
//!
//! The lines of an interval are written together. A reader takes a dump that stops anywhere: a torn last
//! line is reported and left out, the rest is used. Lines of unknown type are counted and skipped, unknown
//! fields are ignored; a higher `schema` is refused. Schema 1 is the only one so far.

pub mod lines;
pub mod reader;
pub mod writer;

mod hist;

pub use reader::Reader;
pub use writer::Writer;

/// The schema written, and the newest one read.
pub const SCHEMA: u32 = 1;

/// Why a dump cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading the file failed.
    #[error("cannot read")]
    Io(#[from] std::io::Error),
    /// The first line is no header.
    #[error("this is no exitlat dump: its first line is no header ({0})")]
    NoHeader(String),
    /// Written by a newer version.
    #[error(
        "the dump has schema {found}, this exitlat reads up to {SCHEMA}; use the version that wrote it ({tool}) or newer"
    )]
    Newer {
        /// The dump's schema.
        found: u32,
        /// The version that wrote it.
        tool: String,
    },
    /// The buckets are laid out differently.
    #[error("the dump's histogram layout ({0}) is not known to this version")]
    Layout(String),
    /// A line that is not the last is damaged.
    #[error("line {line} is damaged: {what}")]
    Damaged {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}
