//! From records to the replay: what perf's session does, for the few records that matter here.

use tracer_ebpf::abi::ABSENT;

use super::{
    Error, PerfData,
    attr::{Attr, Attrs, SizedAttr},
    bytes::Bytes,
    comms::Comms,
    events::{Decoded, Decoders},
    header_features::{HeaderFeatures, feature},
    ordered_events::OrderedEvents,
    tracing,
    unpack::unpack,
};
use crate::{
    model::Loss,
    replay::{Event, Replay},
};

/// Types of records: those of the kernel (`enum perf_event_type`), then perf's own from 64 on.
mod record {
    pub const MMAP: u32 = 1;
    pub const LOST: u32 = 2;
    pub const COMM: u32 = 3;
    pub const EXIT: u32 = 4;
    pub const FORK: u32 = 7;
    pub const SAMPLE: u32 = 9;
    pub const MMAP2: u32 = 10;
    pub const LOST_SAMPLES: u32 = 13;
    pub const HEADER_ATTR: u32 = 64;
    pub const FINISHED_ROUND: u32 = 68;
    pub const HEADER_FEATURE: u32 = 80;
    pub const COMPRESSED: u32 = 81;
    pub const COMPRESSED2: u32 = 83;
}

/// `misc` of a LOST_SAMPLES record: left out on purpose, by a filter of the user's.
const MISC_LOST_BY_FILTER: u16 = 1 << 15;
/// The kernel side's own limits, as `--max-vcpus` and `--slots` allow them.
const MAX_VCPUS: usize = 1 << 16;
const MAX_SLOTS: usize = 1 << 17;
/// Bytes of packed records that are read, which are held in memory.
const MAX_PACKED: usize = 1 << 30;

/// Everything that the records so far have told.
#[derive(Debug)]
pub(super) struct Session {
    big_endian: bool,
    attrs: Attrs,
    features: HeaderFeatures,
    decoders: Option<Decoders>,
    events: OrderedEvents<TaskEvent>,
    dispatcher: Dispatcher,
    comms: Comms,
    packed: Vec<u8>,
    damaged_samples: u64,
    lost: u64,
    lost_samples: u64,
}

/// A record, in the file's byte order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub kind: u32,
    pub misc: u16,
    pub body: &'a [u8],
}

/// An event of a thread, which waits for its turn.
#[derive(Clone, Copy, Debug)]
struct TaskEvent {
    /// The process in the upper half, the thread in the lower, as the kernel side numbers threads.
    thread: u64,
    kind: TaskEventKind,
}

#[derive(Clone, Copy, Debug)]
enum TaskEventKind {
    /// The thread, a vCPU, left its guest or enters it.
    Kvm(Decoded),
    /// The thread ends.
    Death,
}

/// The thread's number as the kernel side has it.
fn thread_number(pid: u32, tid: u32) -> u64 {
    u64::from(pid) << 32 | u64::from(tid)
}

/// Hands events to the replay, in the order of their times.
#[derive(Debug)]
struct Dispatcher {
    replay: Replay,
    /// Numbers of vCPUs by thread, for kernels whose exits do not say but whose entries do.
    vcpus: std::collections::HashMap<u64, u32>,
}

impl Dispatcher {
    fn dispatch(&mut self, now_ns: u64, TaskEvent { thread, kind }: TaskEvent) {
        match kind {
            TaskEventKind::Kvm(decoded) => {
                if decoded.vcpu != ABSENT && self.vcpus.len() < MAX_VCPUS {
                    self.vcpus.insert(thread, decoded.vcpu);
                }
                let vcpu = self.vcpus.get(&thread).copied().unwrap_or(decoded.vcpu);
                self.replay.event(thread, decoded.event(now_ns, vcpu));
            }
            TaskEventKind::Death => {
                self.vcpus.remove(&thread);
                self.replay.event(thread, Event::Death);
            }
        }
    }
}

impl Session {
    /// A session of no records.
    pub fn new(big_endian: bool) -> Self {
        Self {
            big_endian,
            attrs: Attrs::default(),
            features: HeaderFeatures::default(),
            decoders: None,
            events: OrderedEvents::new(),
            dispatcher: Dispatcher { replay: Replay::new(MAX_VCPUS, MAX_SLOTS), vcpus: Default::default() },
            comms: Comms::default(),
            packed: Vec::new(),
            damaged_samples: 0,
            lost: 0,
            lost_samples: 0,
        }
    }

    fn bytes<'a>(&self, data: &'a [u8]) -> Bytes<'a> {
        Bytes::new(data, self.big_endian)
    }

    /// Adds an event: its attributes, which begin `data`, and its ids.
    pub fn attr(&mut self, data: &[u8], ids: &[u8]) -> Result<(), Error> {
        let damaged = || Error::Damaged("attributes of an event".to_owned());
        let SizedAttr { attr, .. } = Attr::parse(self.bytes(data)).ok_or_else(damaged)?;
        let big_endian = self.big_endian;
        let ids = ids.chunks_exact(8).filter_map(|id| Bytes::new(id, big_endian).u64());
        self.attrs.add(attr, ids)
    }

    /// Reads a feature section.
    pub fn feature(&mut self, number: u32, data: &[u8]) -> Result<(), Error> {
        if number != feature::TRACING_DATA {
            self.features.add(number, self.bytes(data));
            return Ok(());
        }
        let formats =
            tracing::formats(data).ok_or_else(|| Error::Damaged("the formats of tracepoints".to_owned()))?;
        let decoders = Decoders::new(&formats, self.big_endian, self.features.isa().0);
        if !decoders.complete() {
            return Err(Error::NoKvm("its tracepoints are others"));
        }
        self.decoders = Some(decoders);
        Ok(())
    }

    /// Reads a record. The types of records that are not named here are left out.
    pub fn record(&mut self, Record { kind, misc, body }: Record<'_>) -> Result<(), Error> {
        let mut bytes = self.bytes(body);
        match kind {
            record::SAMPLE => return self.sample(bytes),
            // Packed events come out of their stream later than they were recorded; they are sorted at the
            // end.
            record::FINISHED_ROUND if self.packed.is_empty() => {
                let dispatcher = &mut self.dispatcher;
                self.events.finish_round(|now_ns, event| dispatcher.dispatch(now_ns, event));
            }
            record::COMPRESSED => self.pack(body)?,
            record::COMPRESSED2 => {
                let size = bytes.u64().unwrap_or(0);
                let data = bytes.take(size).ok_or(Error::Truncated("a packed record"))?;
                self.pack(data)?;
            }
            record::HEADER_ATTR => {
                let SizedAttr { size, .. } =
                    Attr::parse(bytes).ok_or_else(|| Error::Damaged("an event".into()))?;
                let (attr, ids) = body.split_at_checked(size as usize).ok_or(Error::Truncated("an event"))?;
                self.attr(attr, ids)?;
            }
            record::HEADER_FEATURE => {
                let number = bytes.u64().unwrap_or(0);
                if let Ok(number) = u32::try_from(number)
                    && feature::READ.contains(&number)
                {
                    self.feature(number, bytes.rest())?;
                }
            }
            record::LOST => {
                let count = bytes.u64().and_then(|_| bytes.u64()).unwrap_or(0);
                self.lost = self.lost.saturating_add(count);
            }
            record::LOST_SAMPLES if misc & MISC_LOST_BY_FILTER == 0 => {
                self.lost_samples = self.lost_samples.saturating_add(bytes.u64().unwrap_or(0));
            }
            record::COMM | record::MMAP | record::MMAP2 | record::FORK | record::EXIT => {
                // A damaged one names nobody.
                let _ = self.task(kind, bytes);
                if kind == record::EXIT {
                    return self.death(bytes);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn sample(&mut self, body: Bytes<'_>) -> Result<(), Error> {
        let decoders = self.decoders.as_ref().ok_or(Error::NoKvm("no formats of tracepoints"))?;
        let event = self.attrs.of(body).filter(|_| !self.attrs.is_uniform());
        if event.is_some_and(|attr| !attr.tracepoint.is_some_and(|number| decoders.knows(number))) {
            return Ok(());
        }
        let Some(sample) = self.attrs.sample(body) else {
            self.damaged_samples += 1;
            return Ok(());
        };
        let Some(decoded) = decoders.decode(sample.raw) else { return Ok(()) };
        let thread = thread_number(sample.pid, sample.tid);
        self.events.push(sample.time_ns, TaskEvent { thread, kind: TaskEventKind::Kvm(decoded) })
    }

    /// Reads a record about a process, which may name it.
    fn task(&mut self, kind: u32, mut bytes: Bytes<'_>) -> Option<()> {
        let (pid, second) = (bytes.u32()?, bytes.u32()?);
        match kind {
            record::COMM => self.comms.comm(pid, second, bytes.rest()),
            record::FORK => self.comms.fork(pid, second),
            record::MMAP | record::MMAP2 => {
                // Address, length and offset; a MMAP2 also has device, inode, generation, protection and
                // flags.
                bytes.skip_words(if kind == record::MMAP { 3 } else { 3 + 4 })?;
                self.comms.mmap(pid, bytes.rest());
            }
            _ => {}
        }
        Some(())
    }

    /// Reads the record of a thread's end.
    fn death(&mut self, mut bytes: Bytes<'_>) -> Result<(), Error> {
        let words = (bytes.u32(), bytes.u32(), bytes.u32(), bytes.u32(), bytes.u64());
        if let (Some(pid), _, Some(tid), _, Some(time_ns)) = words {
            let thread = thread_number(pid, tid);
            self.events.push(time_ns, TaskEvent { thread, kind: TaskEventKind::Death })?;
        }
        Ok(())
    }

    fn pack(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.packed.len() + data.len() > MAX_PACKED {
            return Err(Error::TooMuch { what: "bytes of packed records", limit: MAX_PACKED as u64 });
        }
        self.packed.extend_from_slice(data);
        Ok(())
    }

    fn unpack(&mut self) -> Result<(), Error> {
        let packed = std::mem::take(&mut self.packed);
        let mut pieces = Vec::new();
        unpack(&packed, |piece| {
            pieces.extend_from_slice(piece);
            let mut rest = self.bytes(&pieces);
            while let Some(record) = packed_record(&mut rest)? {
                // Records are packed once.
                if !matches!(record.kind, record::COMPRESSED | record::COMPRESSED2) {
                    self.record(record)?;
                }
            }
            let used = pieces.len() - rest.rest().len();
            pieces.drain(..used);
            Ok(())
        })
    }

    /// Ends the session: all records were read. `written_unix_ms` is when the file was written, 0 if that is
    /// not known.
    pub fn finish(mut self, written_unix_ms: u64) -> Result<PerfData, Error> {
        self.unpack()?;
        if self.attrs.is_empty() {
            return Err(Error::NoKvm("no events at all"));
        }
        if self.decoders.is_none() {
            return Err(Error::NoKvm("no formats of tracepoints"));
        }
        let dispatcher = &mut self.dispatcher;
        self.events.finish(|now_ns, event| dispatcher.dispatch(now_ns, event));
        let (mut interval, mut threads) = self.dispatcher.replay.finish();
        for thread in &mut threads.list {
            if let Some(name) = self.comms.get(thread.pid) {
                name.clone_into(&mut thread.vm);
            }
        }
        interval.end_unix_ms = written_unix_ms;
        // Both count the same: LOST when there was room again, LOST_SAMPLES at the end, from counters.
        interval.losses.add(Loss::LostRecords, self.lost.max(self.lost_samples));
        let header = self.features.header(interval.start_unix_ms());
        let mut notes = Vec::new();
        if self.damaged_samples != 0 {
            notes.push(format!("{} samples are damaged or lack their time or thread", self.damaged_samples));
        }
        if self.events.late != 0 {
            notes.push(format!(
                "{} events came later than perf promises; their order is a guess",
                self.events.late
            ));
        }
        Ok(PerfData { header, interval, threads, notes })
    }
}

/// The next whole record of unpacked bytes; [`None`] if the rest is not a whole one.
fn packed_record<'a>(rest: &mut Bytes<'a>) -> Result<Option<Record<'a>>, Error> {
    let mut ahead = *rest;
    let Some(((kind, misc), size)) = ahead.u32().zip(ahead.number(2)).zip(ahead.number(2)) else {
        return Ok(None);
    };
    let length = size.checked_sub(8).ok_or_else(|| Error::Damaged(format!("a record of {size} bytes")))?;
    let Some(body) = ahead.take(length) else { return Ok(None) };
    *rest = ahead;
    Ok(Some(Record { kind, misc: misc as u16, body }))
}
