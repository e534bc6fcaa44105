//! Recordings in the formats of other tools. Pure: intervals in, bytes out.
//!
//! Each format is an [`Export`]. What can be written as it comes is written with each interval; what needs
//! the whole is written at the end.

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

/// A format.
pub trait Export {
    /// Takes an interval.
    ///
    /// # Errors
    /// Those of the output.
    fn interval(&mut self, out: &mut dyn Write, of: NamedInterval<'_>) -> io::Result<()>;

    /// The intervals are over.
    ///
    /// # Errors
    /// Those of the output.
    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// Begin and end of an interval by one clock for all intervals, in ns: the host's own, and in a merged dump,
/// whose hosts have a clock each, the wall clock.
pub fn span(header: &Header, interval: &Interval) -> (u64, u64) {
    if header.sources.is_empty() {
        return (interval.start_ns, interval.end_ns);
    }
    let end_ns = interval.end_unix_ms.saturating_mul(1_000_000);
    (end_ns.saturating_sub(interval.elapsed_ns()), end_ns)
}

/// Where a recording comes from, as words for one line.
pub fn origin(header: &Header) -> String {
    let Header { tool, host, kernel, cpu, backend, path, .. } = header;
    let host = if host.is_empty() { String::new() } else { format!(" on {host}") };
    let words = format!("recorded{host} (Linux {kernel}, {backend}, {path}, {cpu}) by {tool}");
    escape::terminal(&words).into_owned()
}
