//! Recordings in the formats of other tools. Pure: intervals in, bytes out.
//!
//! Each format is an [`Export`]. It writes with each interval as far as it can, and the rest at the end.

use std::io::{self, Write};

use crate::{
    model::provenance::Header,
    model::{Interval, NamedInterval},
    render::escape,
};

pub mod folded;
pub mod hdr;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod long;
pub mod openmetrics;

/// A format of another tool.
pub trait Export {
    /// Adds an interval, and writes it if the format allows that.
    ///
    /// # Errors
    /// If the output cannot be written.
    fn interval(&mut self, out: &mut dyn Write, of: NamedInterval<'_>) -> io::Result<()>;

    /// Writes the rest. Call it after the last interval.
    ///
    /// # Errors
    /// If the output cannot be written.
    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// Begin and end of an interval in ns: by the host's monotonic clock, or by the wall clock in a merged
/// recording, whose hosts have no other clock in common.
pub fn span(header: &Header, interval: &Interval) -> (u64, u64) {
    if header.sources.is_empty() {
        return (interval.start_ns, interval.end_ns);
    }
    let end_ns = interval.end_unix_ms.saturating_mul(1_000_000);
    (end_ns.saturating_sub(interval.elapsed_ns()), end_ns)
}

/// Describes the origin of a recording in one line.
pub fn origin(header: &Header) -> String {
    let Header { tool, host, kernel, cpu, backend, path, .. } = header;
    let host = if host.is_empty() { String::new() } else { format!(" on {host}") };
    let words = format!("recorded{host} (Linux {kernel}, {backend}, {path}, {cpu}) by {tool}");
    escape::terminal(&words).into_owned()
}
