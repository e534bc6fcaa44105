//! Lines to intervals. Whatever the input, the outcome is intervals, notes or an error; never a panic.

use std::{
    collections::HashMap,
    io::{BufRead, Read as _},
};

use crate::{
    decode::Isa,
    model::{Cell, Interval, Loss, OpenExit, Parts, Roster, Thread},
    recording::{
        ReadError, SCHEMA, hist,
        lines::{Buckets, End, Header, InFlight, Line, Slot},
    },
};

/// No line that the writer makes is near this long.
const MAX_LINE: u64 = 1 << 20;

/// Reads a dump, interval by interval.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    line: u64,
    buffer: Vec<u8>,
    roster: Roster,
    threads: HashMap<(u32, u32, Option<u32>, String), usize>,
    end: Option<End>,
    notes: Vec<String>,
    skipped: u64,
    exhausted: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn new(input: R) -> Result<Self, ReadError> {
        let header = Header {
            schema: SCHEMA,
            tool: String::new(),
            host: String::new(),
            kernel: String::new(),
            arch: String::new(),
            cpu: String::new(),
            backend: String::new(),
            path: String::new(),
            options: Vec::new(),
            start_unix_ms: 0,
            buckets: Buckets::default(),
        };
        let mut reader = Self {
            input,
            header,
            line: 0,
            buffer: Vec::new(),
            roster: Roster::default(),
            threads: HashMap::new(),
            end: None,
            notes: Vec::new(),
            skipped: 0,
            exhausted: false,
        };
        reader.read_header()?;
        Ok(reader)
    }

    fn read_header(&mut self) -> Result<(), ReadError> {
        if !self.next_line()? {
            return Err(ReadError::NoHeader("the file is empty".into()));
        }
        let no_header = |error: serde_json::Error| ReadError::NoHeader(error.to_string());
        let value: serde_json::Value = serde_json::from_slice(&self.buffer).map_err(no_header)?;
        if value["type"] != "header" {
            return Err(ReadError::NoHeader("`type` is not `header`".into()));
        }
        // Before anything else is asked of it: a newer header may look different.
        if let Some(found) = value["schema"].as_u64().filter(|schema| *schema > u64::from(SCHEMA)) {
            let tool = value["tool"].as_str().unwrap_or("unknown").to_owned();
            return Err(ReadError::Newer { found: found.try_into().unwrap_or(u32::MAX), tool });
        }
        self.header = serde_json::from_value(value).map_err(no_header)?;
        let Buckets { layout, sub_bits, max_bits, encoding } = &self.header.buckets;
        if self.header.buckets != Buckets::default() {
            return Err(ReadError::Layout(format!("{layout}, {sub_bits} bits of {max_bits}, {encoding}")));
        }
        Ok(())
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The threads seen so far.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// What is wrong with the dump without making it unreadable. Complete after the last interval.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why recording ended, once the end has been read.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Reads the next interval into `interval`; false at the end of the dump.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn next_interval(&mut self, interval: &mut Interval) -> Result<bool, ReadError> {
        interval.reset();
        let mut pending = false;
        while self.end.is_none() && self.next_line()? {
            let buffer = std::mem::take(&mut self.buffer);
            let complete = buffer.last() == Some(&b'\n');
            let outcome = serde_json::from_slice(&buffer)
                .map_err(|error| error.to_string())
                .and_then(|line| self.take(line, interval));
            self.buffer = buffer;
            match outcome {
                Ok(Step::More) => pending = true,
                Ok(Step::Interval) => return Ok(true),
                Ok(Step::Other) => {}
                // Only the end of the file can be torn: there is no line feed after it.
                Err(_) if !complete => {
                    self.notes.push(format!(
                        "line {} is torn (recording was killed or the disk was full); the rest is used",
                        self.line
                    ));
                }
                Err(what) => return Err(ReadError::Damaged { line: self.line, what }),
            }
        }
        if self.end.is_none() && !std::mem::replace(&mut self.exhausted, true) {
            self.notes.push("the dump has no end line: recording did not stop by itself".into());
        }
        if self.skipped != 0 {
            self.notes.push(format!("{} lines of unknown type were skipped", self.skipped));
            self.skipped = 0;
        }
        if pending {
            interval.end_ns = interval.start_ns;
            self.notes.push(format!("interval {} is incomplete", interval.number));
        }
        Ok(pending)
    }

    /// Fills the buffer with the next line; false at the end of the file.
    fn next_line(&mut self) -> Result<bool, ReadError> {
        self.buffer.clear();
        self.line += 1;
        (&mut self.input).take(MAX_LINE + 1).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.len() as u64 > MAX_LINE {
            return Err(ReadError::Damaged {
                line: self.line,
                what: format!("it is longer than {MAX_LINE} bytes"),
            });
        }
        Ok(!self.buffer.is_empty())
    }

    fn take(&mut self, line: Line<'_>, interval: &mut Interval) -> Result<Step, String> {
        match line {
            Line::Slot(slot) => {
                interval.number = slot.interval;
                let cell = self.cell(slot, interval)?;
                interval.cells.push(cell);
                Ok(Step::More)
            }
            Line::Loss(loss) => {
                interval.number = loss.interval;
                match Loss::from_name(&loss.cause) {
                    Some(cause) => interval.losses.add(cause, loss.count),
                    None => self.skipped += 1,
                }
                Ok(Step::More)
            }
            Line::InFlight(InFlight { interval: number, vm, pid, tid, vcpu, isa, reason, age_ns }) => {
                interval.number = number;
                let thread = self.thread(pid, tid, vcpu, &vm);
                interval.open.push(OpenExit { thread, isa: Isa(isa), code: reason, age_ns });
                Ok(Step::More)
            }
            Line::Interval(line) => {
                interval.number = line.interval;
                interval.start_ns = line.start_ns;
                interval.end_ns = line.end_ns;
                interval.end_unix_ms = line.end_unix_ms;
                Ok(Step::Interval)
            }
            Line::End(end) => {
                self.end = Some(end);
                Ok(Step::Other)
            }
            Line::Header(_) => Err("a second header".into()),
            Line::Unknown => {
                self.skipped += 1;
                Ok(Step::Other)
            }
        }
    }

    fn cell(&mut self, slot: Slot<'_>, interval: &mut Interval) -> Result<Cell, String> {
        let Slot {
            vm,
            pid,
            tid,
            vcpu,
            isa,
            reason,
            count,
            sum_ns,
            min_ns,
            max_ns,
            hist,
            interval: _,
            name: _,
        } = slot;
        if count == 0 || min_ns > max_ns || sum_ns < max_ns {
            return Err("count, sum, min and max do not go together".into());
        }
        let start = interval.buckets.len();
        if let Err(what) = hist::decode(&hist, count, &mut interval.buckets) {
            interval.buckets.truncate(start);
            return Err(what);
        }
        let thread = self.thread(pid, tid, vcpu, &vm);
        let buckets = start..interval.buckets.len();
        let (detail, parts) = (0, Parts::default());
        Ok(Cell {
            thread,
            isa: Isa(isa),
            code: reason,
            detail,
            count,
            sum_ns,
            min_ns,
            max_ns,
            parts,
            buckets,
        })
    }

    fn thread(&mut self, pid: u32, tid: u32, vcpu: Option<u32>, vm: &str) -> usize {
        let threads = &mut self.roster.threads;
        *self.threads.entry((pid, tid, vcpu, vm.to_owned())).or_insert_with(|| {
            threads.push(Thread { pid, tid, vcpu, vm: vm.to_owned() });
            threads.len() - 1
        })
    }
}

enum Step {
    /// Part of an interval.
    More,
    /// The end of an interval.
    Interval,
    /// Not part of an interval.
    Other,
}
