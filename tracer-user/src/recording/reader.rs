//! Reads recordings. Whatever the input, the outcome is intervals, notes or an error; never a panic.

use std::{
    collections::HashMap,
    io::{BufRead, Read as _},
};

use tracer_ebpf::part::Part;

use crate::model::provenance::{Buckets, Header};
use crate::{
    decode::Isa,
    model::{
        Account, Cell, ClockChange, Interval, LastExit, LastReason, Loss, MeasuredParts, OpenExit, Parts,
        Thread, Threads, VcpuAccount, kinds,
    },
    recording::{
        ReadError, SCHEMA, hist,
        records::{ClockLine, End, InFlight, Line, PartsNs, Slot, VcpuLine},
    },
};

/// The finest buckets that a histogram of two digits can represent: 64 per power of two.
const MAX_SUB_BITS: u32 = 6;
/// Limit of a line's length in bytes. The writer's lines are far shorter, except the header of many merged
/// recordings.
const MAX_LINE: u64 = 1 << 20;
/// Limit of the header line's length in bytes.
pub(super) const MAX_HEADER: u64 = 1 << 26;

/// Bytes of memory that a thread takes besides its names.
const THREAD_BYTES: usize = 128;
/// Limit of the memory for threads and their names in bytes. A million threads fit, as many as a host with
/// short-lived VMs has in days.
const MAX_THREAD_BYTES: usize = 1 << 27;
/// Limit of distinct exit reasons: four times as many as the kernel side can hold.
const MAX_CELLS: usize = 1 << 22;
/// Notes about clocks are cut off after this many.
const MAX_NOTES: usize = 100;
/// Limit of the filled buckets of an interval, which take 16 bytes each.
const MAX_BUCKETS: usize = 1 << 25;

/// Reads a recording, interval by interval.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    line: u64,
    buffer: Vec<u8>,
    threads: Threads,
    index_of: HashMap<Thread, usize>,
    /// The host of lines that name none.
    host: Option<String>,
    known: MeasuredParts,
    thread_bytes: usize,
    end: Option<End>,
    notes: Vec<String>,
    skipped: u64,
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
            threads: Threads::default(),
            index_of: HashMap::new(),
            host: None,
            known: MeasuredParts::default(),
            thread_bytes: 0,
            end: None,
            notes: Vec::new(),
            skipped: 0,
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
        let Buckets { layout, sub_bits, max_bits, encoding } = &self.header.buckets;
        // Finer buckets lie within ours; coarser ones cannot be parted.
        let within = (ours.sub_bits..=MAX_SUB_BITS).contains(sub_bits);
        if !within || self.header.buckets != (Buckets { sub_bits: *sub_bits, ..ours.clone() }) {
            return Err(ReadError::Layout(format!("{layout}, {sub_bits} bits of {max_bits}, {encoding}")));
        }
        if *sub_bits != ours.sub_bits {
            self.notes.push(format!(
                "its buckets are finer (1/{} of a power of two); they are joined to those of this version",
                1u32 << sub_bits
            ));
            self.header.buckets = ours;
        }
        self.known = MeasuredParts::from_ids(&self.header.parts);
        Ok(())
    }

    /// Gives every interval and thread its host: the one in its lines, else the one in the header.
    #[must_use]
    pub fn with_hosts(mut self) -> Self {
        self.host = Some(self.header.host.clone());
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
        &self.threads
    }

    /// Defects of the recording that leave it readable. Complete after the last interval.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why recording ended; known after the last interval.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Reads the next interval into `interval`; false at the end of the recording.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn next_interval(&mut self, interval: &mut Interval) -> Result<bool, ReadError> {
        interval.reset();
        interval.host.clone_from(&self.host);
        interval.known = self.known;
        let mut pending = false;
        while self.end.is_none() && self.next_line(MAX_LINE)? {
            let buffer = std::mem::take(&mut self.buffer);
            let complete = buffer.last() == Some(&b'\n');
            let outcome = serde_json::from_slice(&buffer)
                .map_err(|error| error.to_string())
                .and_then(|line| self.take(line, interval))
                .and_then(|step| self.within_bounds(interval).map(|()| step));
            self.buffer = buffer;
            match outcome {
                Ok(Step::More) => pending = true,
                Ok(Step::Interval) => return Ok(true),
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
            if self.end.is_none() {
                self.notes.push("the recording has no end line: recording did not stop by itself".into());
            } else if self.has_end && self.input.fill_buf().is_ok_and(|rest| !rest.is_empty()) {
                self.notes.push(
                    "what follows its end line is not read: name recordings one by one, or merge them".into(),
                );
            }
        }
        if self.skipped != 0 {
            self.notes.push(format!("{} lines of unknown type were skipped", self.skipped));
            self.skipped = 0;
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

    fn take(&mut self, line: Line<'_>, interval: &mut Interval) -> Result<Step, String> {
        match line {
            Line::Slot(slot) => {
                interval.number = slot.interval;
                if let Some(host) = &slot.host {
                    interval.host = Some(host.to_string());
                }
                let cell = self.cell(slot, interval)?;
                interval.cells.push(cell);
                Ok(Step::More)
            }
            Line::Vcpu(line) => {
                interval.number = line.interval;
                let parts = parts_of(&line.parts)?;
                let told_ns = line.guest_ns.checked_add(parts.total_ns());
                if told_ns.is_none_or(|told_ns| told_ns > line.elapsed_ns) {
                    return Err("a vCPU's time is more than has passed".into());
                }
                let thread = self.thread(line.host.as_deref(), line.pid, line.tid, line.vcpu, &line.vm);
                let VcpuLine { elapsed_ns, guest_ns, .. } = line;
                // The end of the interval may say that other parts were measured.
                let account = Account { elapsed_ns, guest_ns, parts, measured: interval.known };
                interval.vcpus.push(VcpuAccount { thread, account });
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
            Line::InFlight(InFlight { interval: number, host, vm, pid, tid, vcpu, isa, reason, age_ns }) => {
                interval.number = number;
                let thread = self.thread(host.as_deref(), pid, tid, vcpu, &vm);
                interval.open.push(OpenExit { thread, isa: Isa(isa), code: reason, age_ns });
                Ok(Step::More)
            }
            Line::LastExit(line) => {
                interval.number = line.interval;
                let thread = self.thread(line.host.as_deref(), line.pid, line.tid, line.vcpu, &line.vm);
                let reason = LastReason::new(Isa(line.isa), line.reason, line.user_exit);
                interval.last_exits.push(LastExit { thread, reason, count: line.count });
                Ok(Step::More)
            }
            Line::Interval(line) => {
                interval.number = line.interval;
                interval.start_ns = line.start_ns;
                interval.end_ns = line.end_ns;
                interval.end_unix_ms = line.end_unix_ms;
                if let Some(parts) = &line.parts {
                    interval.known = MeasuredParts::from_ids(parts);
                    let accounts = interval.vcpus.iter_mut().map(|vcpu| &mut vcpu.account);
                    accounts.for_each(|account| account.measured = interval.known);
                }
                if line.host.is_some() {
                    interval.host = line.host;
                }
                Ok(Step::Interval)
            }
            Line::Clock(line) => {
                self.clock(&line);
                let ClockLine { suspended_ms, stepped_ms, .. } = line;
                interval.clock = Some(ClockChange { suspended_ms, stepped_ms });
                Ok(Step::Other)
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

    fn clock(&mut self, line: &ClockLine) {
        let ClockLine { interval, suspended_ms, stepped_ms } = *line;
        let mut note = |text: String| {
            if self.notes.len() < MAX_NOTES {
                self.notes.push(format!("in interval {interval} {text}"));
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

    /// Memory stays bounded, however long the input.
    fn within_bounds(&self, interval: &Interval) -> Result<(), String> {
        let limits = [
            (self.thread_bytes, MAX_THREAD_BYTES, "bytes of threads and names"),
            (interval.cells.len(), MAX_CELLS, "slots in an interval"),
            (interval.open.len(), MAX_CELLS, "open exits in an interval"),
            (interval.last_exits.len(), MAX_CELLS, "last exits in an interval"),
            (interval.vcpus.len(), MAX_CELLS, "vCPUs in an interval"),
            (interval.buckets.len(), MAX_BUCKETS, "filled buckets in an interval"),
        ];
        match limits.into_iter().find(|(found, limit, _)| found > limit) {
            Some((_, limit, what)) => Err(format!("the recording has more than {limit} {what}")),
            None => Ok(()),
        }
    }

    fn cell(&mut self, slot: Slot<'_>, interval: &mut Interval) -> Result<Cell, String> {
        let Slot {
            host,
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
            detail: subkey,
            parts,
            interval: _,
            name: _,
            cause: _,
        } = slot;
        // In 128 bits: no count is refused because a product overflows.
        let times = |ns: u64| u128::from(count) * u128::from(ns);
        let within = (times(min_ns)..=times(max_ns)).contains(&u128::from(sum_ns));
        if count == 0 || min_ns > max_ns || sum_ns < max_ns || !within {
            return Err("count, sum, min and max do not go together".into());
        }
        let start = interval.buckets.len();
        let thin = hist.is_empty() && tracer_ebpf::subkey::is_thin(subkey);
        if !thin && let Err(what) = hist::decode(&hist, count, &mut interval.buckets) {
            interval.buckets.truncate(start);
            return Err(what);
        }
        let thread = self.thread(host.as_deref(), pid, tid, vcpu, &vm);
        let buckets = start..interval.buckets.len();
        let mut parts = parts_of(&parts)?;
        if kinds::is_exit(subkey) && parts == Parts::default() {
            parts.add(Part::Kernel, sum_ns);
        }
        Ok(Cell {
            thread,
            isa: Isa(isa),
            code: reason,
            subkey,
            count,
            sum_ns,
            min_ns,
            max_ns,
            parts,
            buckets,
        })
    }

    fn thread(&mut self, host: Option<&str>, pid: u32, tid: u32, vcpu: Option<u32>, vm: &str) -> usize {
        let host = host.map(str::to_owned).or_else(|| self.host.clone());
        let thread = Thread { pid, tid, vcpu, vm: vm.to_owned(), host };
        let threads = &mut self.threads.list;
        let thread_bytes = &mut self.thread_bytes;
        *self.index_of.entry(thread).or_insert_with_key(|thread| {
            threads.push(thread.clone());
            let names = thread.vm.len() + thread.host.as_ref().map_or(0, String::len);
            // A name is stored in the list of threads and in the key.
            *thread_bytes += THREAD_BYTES + 2 * names;
            threads.len() - 1
        })
    }
}

/// Skips parts with unknown names.
fn parts_of(line: &PartsNs) -> Result<Parts, String> {
    let mut parts = Parts::default();
    let mut total_ns = 0u64;
    for (id, ns) in line {
        total_ns = total_ns.checked_add(*ns).ok_or("parts overflow")?;
        if let Some(part) = Parts::from_id(id) {
            parts.add(part, *ns);
        }
    }
    Ok(parts)
}

enum Step {
    /// It belongs to an interval.
    More,
    /// The end of an interval.
    Interval,
    /// It belongs to no interval.
    Other,
}
