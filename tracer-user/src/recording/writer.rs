//! Intervals to lines.

use std::io::{self, Write};

use crate::{
    decode::decode,
    model::{Interval, Roster},
    recording::{
        hist,
        lines::{End, Header, InFlight, IntervalLine, Line, LossLine, Slot},
    },
};

/// Appends to a dump. Each interval reaches the output in one piece.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    intervals: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts a dump.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(out: W, header: Header) -> io::Result<Self> {
        let mut writer = Self { out, intervals: 0, bytes: 0, buffer: Vec::new() };
        writer.line(&Line::Header(header))?;
        writer.flush()?;
        Ok(writer)
    }

    /// Appends an interval.
    ///
    /// # Errors
    /// Those of the output; what was written before stays readable.
    pub fn interval(&mut self, interval: &Interval, roster: &Roster) -> io::Result<()> {
        let number = interval.number;
        for cell in &interval.cells {
            let thread = &roster.threads[cell.thread];
            self.line(&Line::Slot(Slot {
                interval: number,
                vm: thread.vm.as_str().into(),
                pid: thread.pid,
                tid: thread.tid,
                vcpu: thread.vcpu,
                isa: cell.isa.0,
                reason: cell.code,
                name: decode(cell.isa, cell.code).to_string().into(),
                count: cell.count,
                sum_ns: cell.sum_ns,
                min_ns: cell.min_ns,
                max_ns: cell.max_ns,
                hist: hist::encode(interval.buckets_of(cell)).into(),
            }))?;
        }
        for (info, count) in interval.losses.nonzero() {
            self.line(&Line::Loss(LossLine { interval: number, cause: info.name.into(), count }))?;
        }
        for open in &interval.open {
            let thread = &roster.threads[open.thread];
            self.line(&Line::InFlight(InFlight {
                interval: number,
                vm: thread.vm.as_str().into(),
                pid: thread.pid,
                tid: thread.tid,
                vcpu: thread.vcpu,
                isa: open.isa.0,
                reason: open.code,
                age_ns: open.age_ns,
            }))?;
        }
        self.line(&Line::Interval(IntervalLine {
            interval: number,
            start_ns: interval.start_ns,
            end_ns: interval.end_ns,
            end_unix_ms: interval.end_unix_ms,
        }))?;
        self.intervals += 1;
        self.flush()
    }

    /// Ends the dump and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn end(mut self, why: &str) -> io::Result<W> {
        self.line(&Line::End(End { intervals: self.intervals, why: why.to_owned() }))?;
        self.flush()?;
        Ok(self.out)
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Intervals written.
    pub fn intervals(&self) -> u64 {
        self.intervals
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        written
    }
}
