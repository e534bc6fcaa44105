//! Writes intervals as lines.

use std::io::{self, Write};

use crate::{
    model::{
        MeasuredParts, NamedInterval,
        provenance::{Buckets, Header, SCHEMA},
    },
    recording::{header, lines::Encoder},
};

/// Appends to a recording. Each interval reaches the output in one piece.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    lines: Encoder,
    intervals: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts a recording, of the present schema whatever the header says.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn new(out: W, header: Header) -> io::Result<Self> {
        let known = MeasuredParts::from_ids(&header.parts);
        let header = Header { schema: SCHEMA, buckets: Buckets::default(), ..header };
        let buffer = header::line(&header)?;
        let mut writer = Self { out, lines: Encoder::new(known), intervals: 0, bytes: 0, buffer };
        writer.flush()?;
        Ok(writer)
    }

    /// Appends an interval.
    ///
    /// # Errors
    /// If the output cannot be written; intervals written before stay readable.
    pub fn interval(&mut self, of: NamedInterval<'_>) -> io::Result<()> {
        let written = self.lines.interval(of, &mut self.buffer).and_then(|()| self.flush());
        if written.is_err() {
            self.buffer.clear();
            // Whoever cuts the output may cut the lines that gave numbers out.
            self.lines.forget();
        }
        written?;
        self.intervals += 1;
        Ok(())
    }

    /// Ends the recording and returns the output.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn end(mut self, why: &str) -> io::Result<W> {
        self.finish(why)?;
        Ok(self.out)
    }

    /// Ends the recording. Nothing may follow.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn finish(&mut self, why: &str) -> io::Result<()> {
        self.lines.end(self.intervals, why, &mut self.buffer)?;
        self.flush()
    }

    /// Takes the last interval back: the output was cut to this many bytes.
    pub fn take_back(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.intervals -= 1;
        self.lines.forget();
    }

    /// The output.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Bytes that reached the output, complete lines and intervals only.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Intervals written.
    pub fn intervals(&self) -> u64 {
        self.intervals
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        if written.is_ok() {
            self.bytes += self.buffer.len() as u64;
        }
        self.buffer.clear();
        written
    }
}
