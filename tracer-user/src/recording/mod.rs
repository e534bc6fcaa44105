//! The recording: `exitlat record` writes it and `exitlat report` reads it. This text is the format's
//! specification.
//!
//! A recording is UTF-8 text, one JSON object a line (`jq` reads it), only ever appended to. Every object has
//! a `type`; all times are integers, `_ns` in nanoseconds, `_ms` in milliseconds.
//!
//! | `type` | when | fields |
//! |---|---|---|
//! | `header` | first line | `schema` (2), `tool`, `host`, `kernel`, `arch`, `cpu`, `backend`, `path`, `options` (command line), `start_unix_ms`, `buckets` (`layout`, `sub_bits`, `max_bits`, `encoding`), `parts` (names of the measured parts), `exit_stamp` (left out if not known); merged: `sources` |
//! | `slot` | for each interval and (vCPU thread, isa, reason, detail) that had samples | `interval`, merged: `host`, `vm`, `pid`, `tid`, `vcpu` (or null), `isa`, `reason` (the code, flags included), `name`, `detail` (left out if 0), `cause` (the detail's name, if it is a cause), `count`, `sum_ns`, `min_ns`, `max_ns`, `parts` (ns by name; left out if all is `kernel`), `hist` |
//! | `vcpu` | for each interval and vCPU thread, if parts were measured | `interval`, merged: `host`, `vm`, `pid`, `tid`, `vcpu`, `elapsed_ns`, `guest_ns`, `parts` |
//! | `loss` | for each interval and cause that counted | `interval`, `cause`, `count` |
//! | `in_flight` | for each exit still open at the end of an interval | `interval`, merged: `host`, `vm`, `pid`, `tid`, `vcpu`, `isa`, `reason`, `age_ns` |
//! | `last_exit` | for each vCPU thread that ended in an exit | `interval`, merged: `host`, `vm`, `pid`, `tid`, `vcpu`, `isa`, `reason`, `name`, `user_exit` (the KVM_EXIT_* reason with which KVM_RUN had returned, if it had), `count` |
//! | `clock` | for each interval in which the clocks did not agree | `interval`, `suspended_ms`, `stepped_ms` (by which the wall clock was set forward, or back) |
//! | `interval` | last line of each interval | `interval` (1, 2, ...), `start_ns`, `end_ns` (CLOCK_MONOTONIC), `end_unix_ms`; merged: `host`, and `parts` if they differ from the header's |
//! | `end` | last line | `intervals`, `why` |
//!
//! `count`, `sum_ns`, `min_ns` and `max_ns` are exact. Causes without a histogram (`cr`, `msr`, `other`)
//! have no `hist`. `hist` is the interval's histogram as HdrHistogram V2
//! (uncompressed, lowest value 1, two significant digits) in base64. Each sample is at the midpoint of its
//! log-linear bucket. Two digits are finer than the buckets, so the buckets come back exactly. A bucket of
//! one `slot` line holds fewer than 2^32 samples.
//!
//! A `detail` is a subkey: a kind in the topmost byte and a value below it.
//!
//! - Kinds 0 (no detail) and 1 together are the exits of a reason, with their handled time. Kind 1 has the
//!   exits in which the vCPU halted or its process was stopped, without that time; kind 2 has the same exits
//!   with it.
//! - Kind 3 is time in the guest; isa and reason are 0. Kind 4 is time in the VMM by KVM_EXIT_* reason. The
//!   kinds from 5 to 11 are the causes of s390 intercepts, 12 and 13 those of x86, 14 is the causes without a
//!   record of their own. Kind 15, `none`, is not in recordings.
//! - Only kinds 0 and 1 have `parts`. These are the parts of the whole exits: they sum to `sum_ns`, `halt`
//!   and `stopped`.
//!
//! A `vcpu` line breaks down the thread's time, open exits included: `guest_ns` and `parts` sum to
//! `elapsed_ns`, minus the time lost with unpaired events.
//!
//! A merged recording has every interval of every source, with its `host`, renumbered in the order of their
//! ends. `sources` has of each source `start_unix_ms`, `host`, `tool`, `kernel`, `arch`, `cpu`, `backend`,
//! `path`, `options` and `exit_stamp`, sorted. The header's own fields join those of the sources by ` + `;
//! `start_unix_ms` is the earliest.
//!
//! Recording may go on in a new file at any end of an interval. Each file is a recording with a header of its
//! own, the numbers of its intervals go on, and its `end` says `switched`.
//!
//! The lines of an interval are written together. A reader takes a recording that stops anywhere: it reports
//! and leaves out a torn interval and uses the intervals before it. It counts and skips lines of unknown
//! type, ignores unknown fields, and refuses a higher `schema`. Schema 1 had no `detail`, `cause`, `parts`
//! and `vcpu` lines. There, exits on HLT and other idle reasons were whole exits, idle time included.

pub mod merge;
pub mod reader;
pub mod records;
pub mod rotate;
pub mod writer;

mod anonymize;
mod hist;

pub use reader::Reader;
pub use writer::Writer;

pub use crate::model::provenance::SCHEMA;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading the file failed.
    #[error("cannot read")]
    Io(#[from] std::io::Error),
    /// The first line is no header.
    #[error("not an exitlat recording: its first line is not a header ({0})")]
    NoHeader(String),
    /// Written by a newer version.
    #[error(
        "the recording has schema {found}; this exitlat reads up to {SCHEMA}; use the version that wrote it ({tool}) or newer"
    )]
    Newer {
        /// The recording's schema.
        found: u32,
        /// The version that wrote it.
        tool: String,
    },
    /// The buckets are laid out differently.
    #[error("the recording's histogram layout ({0}) is not known to this version")]
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
