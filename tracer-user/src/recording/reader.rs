//! Reads recordings. Whatever the input, the outcome is intervals, notes or an error; never a panic.

use std::io::{BufRead, Read as _};

use crate::model::{
    ClockChange, Interval, MeasuredParts, Threads,
    provenance::{Buckets, Header, SCHEMA},
};
use crate::recording::{
    ReadError,
    lines::Decoder,
    old,
    told::{End, Step, Told},
};

/// The finest buckets that a histogram of two digits can represent: 64 per power of two.
const MAX_SUB_BITS: u32 = 6;
/// Limit of a line's length in bytes. The writer's lines are far shorter, except the header of many merged
/// recordings.
const MAX_LINE: u64 = 1 << 20;
/// Limit of the header line's length in bytes.
pub(super) const MAX_HEADER: u64 = 1 << 26;
/// Notes about clocks are cut off after this many.
const MAX_NOTES: usize = 100;

/// Reads a recording, interval by interval.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    line: u64,
    buffer: Vec<u8>,
    lines: Lines,
    told: Told,
    known: MeasuredParts,
    notes: Vec<String>,
    exhausted: bool,
    has_end: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut reader = Self {
            input,
            header: Header::default(),
            line: 0,
            buffer: Vec::new(),
            lines: Lines::Old,
            told: Told::default(),
            known: MeasuredParts::default(),
            notes: Vec::new(),
            exhausted: false,
            has_end: false,
        };
        reader.read_header()?;
        Ok(reader)
    }

    fn read_header(&mut self) -> Result<(), ReadError> {
        if !self.next_line(MAX_HEADER)? {
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
        let ours = Buckets::default();
        let encoding = if self.header.schema < SCHEMA { old::ENCODING } else { &ours.encoding };
        let Buckets { layout, sub_bits, max_bits, encoding: found } = self.header.buckets.clone();
        // Finer buckets lie within ours; coarser ones cannot be parted.
        let within = (ours.sub_bits..=MAX_SUB_BITS).contains(&sub_bits);
        if !within || (layout.as_str(), max_bits, found.as_str()) != (&ours.layout, ours.max_bits, encoding) {
            return Err(ReadError::Layout(format!("{layout}, {sub_bits} bits of {max_bits}, {found}")));
        }
        if sub_bits != ours.sub_bits {
            self.notes.push(format!(
                "its buckets are finer (1/{} of a power of two); they are joined to those of this version",
                1u32 << sub_bits
            ));
        }
        // So intervals have them, whatever the recording has.
        self.header.buckets = ours;
        self.known = MeasuredParts::from_ids(&self.header.parts);
        if self.header.schema == SCHEMA {
            self.lines = Lines::Present(Decoder::new(self.known, sub_bits));
        }
        Ok(())
    }

    /// Gives every interval and thread its host: the one in its lines, else the one in the header.
    #[must_use]
    pub fn with_hosts(mut self) -> Self {
        self.told.host = Some(self.header.host.clone());
        self
    }

    /// Declares that the input is finite, so that data behind the recording's end is noted. Do not use it for
    /// a pipe: its writers may keep it open.
    #[must_use]
    pub fn with_end(self) -> Self {
        Self { has_end: true, ..self }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The threads seen so far.
    pub fn threads(&self) -> &Threads {
        &self.told.threads
    }

    /// Defects of the recording that leave it readable. Complete after the last interval.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why recording ended; known after the last interval.
    pub fn end(&self) -> Option<&End> {
        self.told.end.as_ref()
    }

    /// Reads the next interval into `interval`; false at the end of the recording.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn next_interval(&mut self, interval: &mut Interval) -> Result<bool, ReadError> {
        interval.reset();
        interval.host.clone_from(&self.told.host);
        interval.known = self.known;
        let mut pending = false;
        while self.told.end.is_none() && self.next_line(MAX_LINE)? {
            let buffer = std::mem::take(&mut self.buffer);
            let complete = buffer.last() == Some(&b'\n');
            let outcome = self
                .lines
                .take(&buffer, &mut self.told, interval)
                .and_then(|step| self.told.within_bounds(interval).map(|()| step));
            self.buffer = buffer;
            match outcome {
                Ok(Step::More) => pending = true,
                Ok(Step::Interval) => {
                    if let Some(change) = interval.clock {
                        self.note_clock(interval.number, change);
                    }
                    return Ok(true);
                }
                Ok(Step::Other) => {}
                // Only the last line of a file can be torn: it lacks a line feed.
                Err(_) if !complete => {
                    self.notes.push(format!(
                        "line {} is torn (recording was killed or the disk was full)",
                        self.line
                    ));
                }
                Err(what) => return Err(ReadError::Damaged { line: self.line, what }),
            }
        }
        if !std::mem::replace(&mut self.exhausted, true) {
            if self.told.end.is_none() {
                self.notes.push("the recording has no end line: recording did not stop by itself".into());
            } else if self.has_end && self.input.fill_buf().is_ok_and(|rest| !rest.is_empty()) {
                self.notes.push(
                    "what follows its end line is not read: name recordings one by one, or merge them".into(),
                );
            }
        }
        if self.told.skipped != 0 {
            self.notes.push(format!("{} lines of unknown type were skipped", self.told.skipped));
            self.told.skipped = 0;
        }
        if pending {
            // The interval's length and the rest of its samples are unknown: every rate and sum would be
            // wrong.
            let (number, exits) = (interval.number, interval.exits());
            self.notes.push(format!(
                "interval {number} is incomplete: what there is of it, {exits} exits, is left out"
            ));
            interval.reset();
        }
        Ok(false)
    }

    /// Fills the buffer with the next line, of `most` bytes at most; false at the end of the file.
    fn next_line(&mut self, most: u64) -> Result<bool, ReadError> {
        self.buffer.clear();
        self.line += 1;
        (&mut self.input).take(most + 1).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.len() as u64 > most {
            return Err(ReadError::Damaged {
                line: self.line,
                what: format!("it is longer than {most} bytes"),
            });
        }
        Ok(!self.buffer.is_empty())
    }

    fn note_clock(&mut self, number: u64, change: ClockChange) {
        let ClockChange { suspended_ms, stepped_ms } = change;
        let mut note = |text: String| {
            if self.notes.len() < MAX_NOTES {
                self.notes.push(format!("in interval {number} {text}"));
            }
        };
        if suspended_ms != 0 {
            note(format!("the machine was suspended for {:.1} s", suspended_ms as f64 / 1e3));
        }
        if stepped_ms != 0 {
            let way = if stepped_ms > 0 { "forward" } else { "back" };
            note(format!("the wall clock was set {way} by {:.1} s", stepped_ms.unsigned_abs() as f64 / 1e3));
        }
    }
}

/// Who takes the lines after the header.
#[derive(Debug)]
enum Lines {
    /// Of schema 1 or 2.
    Old,
    Present(Decoder),
}

impl Lines {
    fn take(&mut self, line: &[u8], told: &mut Told, interval: &mut Interval) -> Result<Step, String> {
        match self {
            Self::Old => old::take(line, told, interval),
            Self::Present(decoder) => decoder.take(line, told, interval),
        }
    }
}
