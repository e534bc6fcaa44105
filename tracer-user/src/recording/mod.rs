//! The recording: `exitlat record` writes it and `exitlat report` reads it. This text is the format's
//! specification.
//!
//! A recording is UTF-8 text, one JSON object a line (`jq` reads it), only ever appended to. The first line
//! has the `type` `header`. Every other line has one key, which says what the line is; the fields are below
//! it. All times are integers, `ns` and `_ns` in nanoseconds, `_ms` in milliseconds.
//!
//! | line | when | fields |
//! |---|---|---|
//! | header | first line | `type` (`header`), `schema` (3), `tool`, `host`, `kernel`, `arch`, `cpu`, `backend`, `path`, `options` (command line), `start_unix_ms`, `buckets` (`layout`, `sub_bits`, `max_bits`, `encoding`), `parts` (names of the measured parts), `exit_stamp` (left out if not known); merged: `sources` |
//! | `interval` | first line of each interval | `number` (1, 2, ...), `start_ns` (CLOCK_MONOTONIC); merged: `host`, and `parts` if they differ from the header's |
//! | `thread` | before the first line that names it | `number`, merged: `host`, `vm`, `pid`, `tid`, `vcpu` (left out if not known), `start_unix_ms` (of the process; left out if not known), `vm_number` (among the VMs of the process; left out if 0), `facts` |
//! | `reason` | before the first line that names it | `number`, `isa`, `code` (of the reason, flags included), `name`, `detail` (left out if 0), `cause` (the detail's name, if it is a cause) |
//! | `slot` | for each interval and (vCPU thread, isa, code, detail) that had samples | `at` (numbers of thread and reason), `count`, `ns` (sum, minimum, maximum), `parts` (left out if all is `kernel`), `hist` |
//! | `vcpu` | for each interval and vCPU thread, if parts were measured | `thread` (its number), `elapsed_ns`, `guest_ns`, `parts` |
//! | `loss` | for each interval and cause that counted | `cause`, `count` |
//! | `in_flight` | for each exit still open at the end of an interval | `at`, `age_ns` |
//! | `last_exit` | for each vCPU thread that ended in an exit | `at`, `user_exit` (the KVM_EXIT_* reason with which KVM_RUN had returned, if it had), `count` |
//! | `counter` | before the first line that names it | `number`, `vm`, `pid`, `vm_fd` (if known), `vcpu` (left out: of the whole VM), `name`, `kind`, `unit` (left out if none), `bucket_size` (of a linear histogram) |
//! | `readings` | for each interval and VM or vCPU whose own counters of KVM were read | `over_ns` (time since the reading before; left out if there was none), `values`, `hist` |
//! | `interval_end` | last line of each interval | `end_ns` (CLOCK_MONOTONIC), `end_unix_ms`, `clock` (if the clocks did not agree: `suspended_ms`, and `stepped_ms` by which the wall clock was set forward, or back) |
//! | `end` | last line | `intervals`, `why` |
//!
//! A `thread`, `reason` or `counter` line gives a number to what `at`, `thread` and others name from there
//! on. Numbers begin with 0, and a new one is the next. A number that is given again has its new meaning in
//! the lines after it.
//!
//! `facts` says what is known about the VM: by kind, the value and the source; docs/identity.md has both
//! lists. It is in the first line only that names a thread of the VM.
//!
//! `parts` of a line are nanoseconds in the order `kernel`, `poll`, `halt`, `blocked`, `runqueue`, `user`,
//! `user_blocked`, `stopped`; zeros at the end are left out.
//!
//! `count` and `ns` are exact. Causes without a histogram (`cr`, `msr`, `other`) have no `hist`. `hist` has a
//! number for each bucket, its samples, from the lowest bucket on. The numbers stand one after the other, in
//! base 32, with characters that JSON leaves alone:
//!
//! | character | ASCII | meaning |
//! |---|---|---|
//! | `^` to `}` | 94 to 125 | the last digit of a number, 0 to 31 |
//! | `0` to `O` | 48 to 79 | a digit before the last, 0 to 31, the highest first |
//! | `~` | 126 | the next number is one of empty buckets |
//!
//! So `~5g_^1a` is 169 empty buckets, one sample in bucket 169, none in 170, and 35 in 171. A bucket of one
//! `slot` line holds fewer than 2^32 samples.
//!
//! A `detail` is a subkey: a kind in the topmost byte and a value below it.
//!
//! - Kinds 0 (no detail) and 1 together are the exits of a reason, with their handled time. Kind 1 has the
//!   exits in which the vCPU halted or its process was stopped, without that time; kind 2 has the same exits
//!   with it.
//! - Kind 3 is time in the guest; isa and code are 0. Kind 4 is time in the VMM by KVM_EXIT_* reason. The
//!   kinds from 5 to 11 are the causes of s390 intercepts, 12 and 13 those of x86, 14 is the causes without a
//!   record of their own. Kind 15, `none`, is not in recordings.
//! - Only kinds 0 and 1 have `parts`. These are the parts of the whole exits: they sum to the sum of `ns`,
//!   `halt` and `stopped`.
//!
//! A `vcpu` line breaks down the thread's time, open exits included: `guest_ns` and `parts` sum to
//! `elapsed_ns`, minus the time lost with unpaired events.
//!
//! `values` has triples: the number of a `counter`, its value since the VM began, and how much it has
//! grown in `over_ns`. Each of the two is `null` where it is not known; a histogram that could not be read
//! has neither. `hist` has pairs of a number and a list of buckets since the VM began. Counters have
//! numbers of their own.
//!
//! A merged recording has every interval of every source, with its `host`, renumbered in the order of their
//! ends. `sources` has of each source `start_unix_ms`, `host`, `tool`, `kernel`, `arch`, `cpu`, `backend`,
//! `path`, `options` and `exit_stamp`, sorted. The header's own fields join those of the sources by ` + `;
//! `start_unix_ms` is the earliest.
//!
//! Recording may go on in a new file at any end of an interval. Each file is a recording with a header and
//! numbers of its own, the numbers of its intervals go on, and its `end` says `switched`.
//!
//! The lines of an interval are written together. A reader takes a recording that stops anywhere: it reports
//! and leaves out a torn interval and uses the intervals before it. It counts and skips lines of unknown
//! keys, ignores unknown fields, and refuses a higher `schema`.
//!
//! The schemas:
//!
//! | schema | readable | what it has |
//! |---|---|---|
//! | 1 | yes | lines that each name their VM, thread and reason; no parts, no causes, no time of vCPUs. Exits on HLT and other idle reasons are whole exits, idle time included |
//! | 2 | yes | as 1, with parts, causes and the time of vCPUs; the module `old` has its shape |
//! | 3 | yes, and written | the above |

pub mod merge;
pub mod reader;
pub mod rotate;
pub mod writer;

mod anonymize;
mod header;
mod lines;
mod old;
mod told;

pub use reader::Reader;
pub use told::End;
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
