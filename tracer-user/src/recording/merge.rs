//! Merges recordings into one. The merged recording has every interval of every source, with its host. No
//! interval is cut, moved or summed up, so the sums do not depend on the order of merging.
//!
//! One interval of each source is in memory. Intervals are written in the order of their ends.

use std::io::{BufRead, Write};

use crate::model::provenance::{self, Header, MergeError};
use crate::{
    model::Interval,
    recording::{ReadError, Reader, Writer, header, reader::MAX_HEADER},
};

/// Why recordings cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A source cannot be read. The number is its index among the sources.
    #[error("cannot read recording {0}")]
    Read(usize, #[source] ReadError),
    /// The merged recording cannot be written.
    #[error("cannot write the merged recording")]
    Write(#[from] std::io::Error),
    /// The sources do not fit together.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

/// Size of a merged recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Intervals written.
    pub intervals: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// A source and its next interval.
struct Source<'a, R> {
    number: usize,
    reader: &'a mut Reader<R>,
    interval: Interval,
    more: bool,
}

impl<R: BufRead> Source<'_, R> {
    fn advance(&mut self) -> Result<(), Failure> {
        let read = self.reader.next_interval(&mut self.interval);
        self.more = read.map_err(|error| Failure::Read(self.number, error))?;
        Ok(())
    }

    /// Intervals are written in the order of this key.
    fn order(&self) -> impl Ord + '_ {
        (self.interval.end_unix_ms, &self.interval.host, self.interval.end_ns, self.number)
    }
}

/// Merges recordings. The readers must have been made with [`Reader::with_hosts`]; their notes are complete
/// afterwards.
///
/// # Errors
/// See [`Failure`]. What was written up to there has no end line.
pub fn merge<R: BufRead, W: Write>(
    readers: &mut [Reader<R>],
    tool: &str,
    output: W,
) -> Result<(Merged, W), Failure> {
    let header = provenance::merged(readers.iter().map(Reader::header), tool)?;
    within(&header, MAX_HEADER)?;
    let mut writer = Writer::new(output, header)?;
    let mut sources = Vec::new();
    for (number, reader) in readers.iter_mut().enumerate() {
        let mut source = Source { number, reader, interval: Interval::default(), more: false };
        source.advance()?;
        sources.push(source);
    }
    while let Some(next) =
        sources.iter_mut().filter(|source| source.more).min_by(|a, b| a.order().cmp(&b.order()))
    {
        next.interval.number = writer.intervals() + 1;
        writer.interval(next.interval.with(next.reader.threads()))?;
        next.advance()?;
    }
    let merged = Merged { intervals: writer.intervals(), bytes: writer.bytes() };
    Ok((merged, writer.end("merged")?))
}

/// Refuses a header that readers refuse: each source makes its line longer.
fn within(header: &Header, most: u64) -> Result<(), Failure> {
    if header::line(header)?.len() as u64 > most {
        return Err(MergeError::Sources { sources: header.sources.len(), most }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::SCHEMA;

    #[test]
    fn a_header_that_no_reader_takes_is_refused() {
        let header = Header {
            schema: SCHEMA,
            tool: "exitlat".into(),
            host: "host".into(),
            kernel: "6.1".into(),
            arch: "x86_64".into(),
            cpu: "a CPU".into(),
            backend: "kvm_amd".into(),
            path: "classic tracepoints".into(),
            options: vec!["merge".into()],
            start_unix_ms: 5,
            buckets: Default::default(),
            parts: Vec::new(),
            exit_stamp: String::new(),
            sources: Vec::new(),
        };
        let length = Writer::new(Vec::new(), header.clone()).unwrap().bytes();
        assert!(within(&header, length).is_ok());
        let error = within(&header, length - 1).unwrap_err();
        assert!(error.to_string().contains("merge fewer at a time"), "{error}");
    }
}
