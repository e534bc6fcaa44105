//! Writes intervals as lines.

use std::io::{self, Write};

use tracer_ebpf::part::Part;

use crate::model::provenance::Header;
use crate::{
    decode::{decode, subkey},
    model::{
        ClockChange, LastExit, LastReason, MeasuredParts, NamedInterval, Parts, VcpuAccount, parts::PARTS,
    },
    recording::{
        hist,
        records::{
            ClockLine, End, InFlight, IntervalLine, LastExitLine, Line, LossLine, PartsNs, Slot, VcpuLine,
        },
    },
};

/// Appends to a recording. Each interval reaches the output in one piece.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// Measured parts of the intervals that do not list their own.
    known: MeasuredParts,
    intervals: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts a recording.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn new(out: W, header: Header) -> io::Result<Self> {
        let known = MeasuredParts::from_ids(&header.parts);
        let mut writer = Self { out, known, intervals: 0, bytes: 0, buffer: Vec::new() };
        writer.line(&Line::Header(header))?;
        writer.flush()?;
        Ok(writer)
    }

    /// Appends an interval.
    ///
    /// # Errors
    /// If the output cannot be written; intervals written before stay readable.
    pub fn interval(&mut self, of: NamedInterval<'_>) -> io::Result<()> {
        let NamedInterval { interval, .. } = of;
        let number = interval.number;
        if let Some(ClockChange { suspended_ms, stepped_ms }) = interval.clock {
            self.line(&Line::Clock(ClockLine { interval: number, suspended_ms, stepped_ms }))?;
        }
        for cell in &interval.cells {
            let thread = of.thread(cell.thread);
            self.line(&Line::Slot(Slot {
                interval: number,
                host: thread.host.as_deref().map(Into::into),
                vm: thread.vm.as_str().into(),
                pid: thread.pid,
                tid: thread.tid,
                vcpu: thread.vcpu,
                isa: cell.isa.0,
                reason: cell.code,
                name: decode(cell.isa, cell.code).to_string().into(),
                detail: cell.subkey,
                cause: subkey::label(cell.isa, cell.subkey),
                count: cell.count,
                sum_ns: cell.sum_ns,
                min_ns: cell.min_ns,
                max_ns: cell.max_ns,
                parts: if cell.parts.get(Part::Kernel) == cell.parts.total_ns() {
                    PartsNs::new()
                } else {
                    parts_ns(&cell.parts)
                },
                hist: if cell.buckets.is_empty() {
                    "".into()
                } else {
                    hist::encode(interval.buckets_of(cell)).into()
                },
            }))?;
        }
        for VcpuAccount { thread, account } in &interval.vcpus {
            let thread = of.thread(*thread);
            self.line(&Line::Vcpu(VcpuLine {
                interval: number,
                host: thread.host.as_deref().map(Into::into),
                vm: thread.vm.as_str().into(),
                pid: thread.pid,
                tid: thread.tid,
                vcpu: thread.vcpu,
                elapsed_ns: account.elapsed_ns,
                guest_ns: account.guest_ns,
                parts: parts_ns(&account.parts),
            }))?;
        }
        for (info, count) in interval.losses.nonzero() {
            self.line(&Line::Loss(LossLine { interval: number, cause: info.name.into(), count }))?;
        }
        for open in &interval.open {
            let thread = of.thread(open.thread);
            self.line(&Line::InFlight(InFlight {
                interval: number,
                host: thread.host.as_deref().map(Into::into),
                vm: thread.vm.as_str().into(),
                pid: thread.pid,
                tid: thread.tid,
                vcpu: thread.vcpu,
                isa: open.isa.0,
                reason: open.code,
                age_ns: open.age_ns,
            }))?;
        }
        for &LastExit { thread, reason, count } in &interval.last_exits {
            let thread = of.thread(thread);
            let LastReason { isa, code, user_exit } = reason;
            self.line(&Line::LastExit(LastExitLine {
                interval: number,
                host: thread.host.as_deref().map(Into::into),
                vm: thread.vm.as_str().into(),
                pid: thread.pid,
                tid: thread.tid,
                vcpu: thread.vcpu,
                isa: isa.0,
                reason: code,
                name: decode(isa, code).to_string().into(),
                user_exit,
                count,
            }))?;
        }
        self.line(&Line::Interval(IntervalLine {
            interval: number,
            start_ns: interval.start_ns,
            end_ns: interval.end_ns,
            end_unix_ms: interval.end_unix_ms,
            host: interval.host.clone(),
            parts: (interval.known != self.known).then(|| interval.known.ids().map(str::to_owned).collect()),
        }))?;
        self.flush()?;
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
        self.line(&Line::End(End { intervals: self.intervals, why: why.to_owned() }))?;
        self.flush()
    }

    /// Takes the last interval back: the output was cut to this many bytes.
    pub fn take_back(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.intervals -= 1;
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

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        Ok(())
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

fn parts_ns(parts: &Parts) -> PartsNs {
    let told = PARTS.iter().map(|info| (info.id.into(), parts.get(info.part)));
    told.filter(|(_, ns)| *ns != 0).collect()
}
