//! Turns records into replayed events: the part of perf's session that matters here.

use std::collections::{HashMap, VecDeque};

use tracer_ebpf::abi::ABSENT;

use super::{
    Error, Limits, PerfData,
    attr::{Attr, Attrs, MAX_IDS, Sample, SizedAttr, Written},
    bytes::Bytes,
    comms::Comms,
    dispatch::{Dispatcher, MAX_SLOTS, MAX_VCPUS, Queued, TaskEvent, TaskEventKind, thread_number},
    events::Decoders,
    gaps::{self, Gap, Gaps, Ring},
    header_features::{HeaderFeatures, feature},
    ordered_events::OrderedEvents,
    tracing,
    unpack::Unpacker,
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
    pub const ID_INDEX: u32 = 69;
    pub const HEADER_FEATURE: u32 = 80;
    pub const COMPRESSED: u32 = 81;
    pub const COMPRESSED2: u32 = 83;
}

/// `misc` of a LOST_SAMPLES record: left out on purpose, by a filter of the user's.
const MISC_LOST_BY_FILTER: u16 = 1 << 15;
/// Limit of the ends of rounds that wait for packed events before them.
const MAX_MARKS: usize = 1 << 16;

/// Stands in for the name of a VM whose process perf could not see.
const UNKNOWN_VM: &str = "unknown";

/// The state that the records so far have built up.
#[derive(Debug)]
pub(super) struct Session {
    big_endian: bool,
    attrs: Attrs,
    features: HeaderFeatures,
    decoders: Option<Decoders>,
    events: OrderedEvents<Queued>,
    dispatcher: Dispatcher,
    /// The buffers of events by their ids, where perf says.
    ring_of: HashMap<u64, Ring>,
    /// Whether some of the buffers are those of threads.
    of_threads: bool,
    /// The time of the newest event in each buffer.
    newest_ns: HashMap<Ring, u64>,
    /// A gap that the next sample of its buffer may end earlier.
    gap: Option<Gap>,
    comms: Comms,
    unpacker: Unpacker,
    /// Unpacked bytes that are no whole record yet.
    unpacked: Vec<u8>,
    /// Ends of rounds that wait for packed events.
    marks: VecDeque<Mark>,
    /// There was an exit or an entry.
    fired: bool,
    damaged_samples: u64,
    /// Events of threads outside perf's pid namespace.
    outside: u64,
    /// Events among `outside` that do not name their thread either.
    nobodys: u64,
    lost: u64,
    lost_samples: u64,
}

/// The end of a round.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Once this many unpacked bytes are read, all events before the mark have been read.
    settled_at: u64,
    /// The newest event that had been read by then.
    newest_ns: u64,
}

/// A record, in the file's byte order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub kind: u32,
    pub misc: u16,
    pub body: &'a [u8],
}

impl Session {
    /// A session of no records.
    pub fn new(big_endian: bool, limits: Limits) -> Self {
        Self {
            big_endian,
            attrs: Attrs::default(),
            features: HeaderFeatures::default(),
            decoders: None,
            events: OrderedEvents::new(limits.waiting_events),
            dispatcher: Dispatcher {
                replay: Replay::new(MAX_VCPUS, MAX_SLOTS),
                gaps: Gaps::default(),
                vcpus: HashMap::new(),
            },
            ring_of: HashMap::new(),
            of_threads: false,
            newest_ns: HashMap::new(),
            gap: None,
            comms: Comms::default(),
            unpacker: Unpacker::default(),
            unpacked: Vec::new(),
            marks: VecDeque::new(),
            fired: false,
            damaged_samples: 0,
            outside: 0,
            nobodys: 0,
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

    /// Reads a record. Records of other types than those named here are ignored.
    pub fn record(&mut self, Record { kind, misc, body }: Record<'_>) -> Result<(), Error> {
        let mut bytes = self.bytes(body);
        match kind {
            record::SAMPLE => return self.sample(bytes),
            record::FINISHED_ROUND => {
                self.begin_gap()?;
                if self.marks.len() == MAX_MARKS {
                    return Err(Error::TooMuch { what: "rounds at a time", limit: MAX_MARKS as u64 });
                }
                let mark = Mark { settled_at: self.unpacker.settled_at(), newest_ns: self.events.newest_ns };
                self.marks.push_back(mark);
                self.finish_rounds();
            }
            record::COMPRESSED => self.packed(body)?,
            record::COMPRESSED2 => {
                let size = bytes.u64().unwrap_or(0);
                let data = bytes.take(size).ok_or(Error::Truncated("a packed record"))?;
                self.packed(data)?;
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
                if let Some((id, count)) = bytes.u64().zip(bytes.u64()) {
                    self.lost = self.lost.saturating_add(count);
                    return self.lost_in_ring(id, bytes);
                }
            }
            record::ID_INDEX => self.rings(bytes),
            record::LOST_SAMPLES if misc & MISC_LOST_BY_FILTER == 0 => {
                self.lost_samples = self.lost_samples.saturating_add(bytes.u64().unwrap_or(0));
            }
            record::COMM | record::MMAP | record::MMAP2 | record::FORK | record::EXIT => {
                // A damaged record names no process.
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
        let decoded = decoders.decode(sample.raw);
        self.in_ring(&sample)?;
        let Some(decoded) = decoded else { return Ok(()) };
        self.fired = true;
        // The idle task runs no guest. The kernel writes 0 for threads that perf's pid namespace does not
        // have; the record itself has the number that the host knows the thread by.
        let (mut pid, mut tid) = (sample.pid, sample.tid);
        if tid == 0 {
            (pid, tid) = (0, decoded.tid);
            self.outside += 1;
            if tid == 0 {
                self.nobodys += 1;
                return Ok(());
            }
        }
        let thread = thread_number(pid, tid);
        let cpu = sample.cpu.unwrap_or(ABSENT);
        let event = TaskEvent { thread, cpu, kind: TaskEventKind::Kvm(decoded) };
        self.events.push(sample.time_ns, Queued::Task(event))
    }

    /// Reads the record that names the buffer of each event: that of a CPU, or of a thread where the CPU is
    /// -1.
    fn rings(&mut self, mut bytes: Bytes<'_>) {
        let count = bytes.u64().unwrap_or(0).min(MAX_IDS as u64);
        for _ in 0..count {
            let words = (bytes.u64(), bytes.u64(), bytes.u64(), bytes.u64());
            let (Some(id), Some(_), Some(cpu), Some(tid)) = words else { return };
            let ring = if cpu as u32 == u32::MAX { Ring::Thread(tid as u32) } else { Ring::Cpu(cpu as u32) };
            if self.ring_of.len() < MAX_IDS {
                self.ring_of.insert(id, ring);
                self.of_threads |= matches!(ring, Ring::Thread(_));
            }
        }
    }

    /// Events of a buffer are missing, before its next event.
    fn lost_in_ring(&mut self, id: u64, trailer: Bytes<'_>) -> Result<(), Error> {
        self.begin_gap()?;
        let written = self.attrs.written(id, trailer);
        let of_cpu = |Written { cpu, .. }| cpu.map(Ring::Cpu);
        let ring = self.ring_of.get(&id).copied().or_else(|| written.and_then(of_cpu));
        self.gap = Some(match written {
            Some(Written { time_ns, .. }) => Gap { ring: ring.unwrap_or(Ring::Unknown), until_ns: time_ns },
            // It is known only that the record has been written by now.
            None => Gap { ring: ring.unwrap_or(Ring::Unknown), until_ns: self.events.newest_ns },
        });
        Ok(())
    }

    /// Notes that a sample is in a buffer. It may be the first after a gap: the kernel takes the time of an
    /// event just before that of the record about the lost events.
    fn in_ring(&mut self, sample: &Sample<'_>) -> Result<(), Error> {
        let mut rings = [sample.cpu.map(Ring::Cpu), Some(Ring::Thread(sample.tid))];
        if let Some(gap) = &mut self.gap
            && rings.contains(&Some(gap.ring))
        {
            gap.until_ns = gap.until_ns.min(sample.time_ns);
        }
        self.begin_gap()?;
        // Where buffers are those of CPUs, buffers of threads are not needed.
        if !self.of_threads {
            rings[1] = None;
        }
        for ring in rings.into_iter().flatten() {
            // A gap of a buffer that is not followed begins earlier than it has to.
            if self.newest_ns.len() < gaps::MOST || self.newest_ns.contains_key(&ring) {
                let newest_ns = self.newest_ns.entry(ring).or_insert(0);
                *newest_ns = sample.time_ns.max(*newest_ns);
            }
        }
        Ok(())
    }

    /// Begins the pending gap after the newest event of its buffer.
    fn begin_gap(&mut self) -> Result<(), Error> {
        let Some(gap) = self.gap.take() else { return Ok(()) };
        let newest_ns = self.newest_ns.get(&gap.ring).copied().unwrap_or(0);
        let from_ns = newest_ns.min(gap.until_ns).max(self.events.handed_out_ns);
        self.events.push(from_ns, Queued::Gap(gap))
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
            let event = TaskEvent { thread, cpu: ABSENT, kind: TaskEventKind::Death };
            self.events.push(time_ns, Queued::Task(event))?;
        }
        Ok(())
    }

    /// Reads the records that come out of packed bytes.
    fn packed(&mut self, data: &[u8]) -> Result<(), Error> {
        self.unpacker.feed(data);
        while let Some(piece) = self.unpacker.next()? {
            self.unpacked(&piece)?;
        }
        Ok(())
    }

    /// Reads the records in unpacked bytes, which may begin and end within one.
    fn unpacked(&mut self, piece: &[u8]) -> Result<(), Error> {
        let mut bytes = std::mem::take(&mut self.unpacked);
        bytes.extend_from_slice(piece);
        let mut rest = self.bytes(&bytes);
        while let Some(record) = packed_record(&mut rest)? {
            // Records are packed once.
            if !matches!(record.kind, record::COMPRESSED | record::COMPRESSED2) {
                self.record(record)?;
            }
        }
        let used = bytes.len() - rest.rest().len();
        bytes.drain(..used);
        self.unpacked = bytes;
        self.finish_rounds();
        Ok(())
    }

    /// Ends the rounds whose events have all been read. Events of later rounds may have been read by now, so
    /// each mark holds the newest event that is surely before it.
    fn finish_rounds(&mut self) {
        let given_out = self.unpacker.given_out();
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.settled_at <= given_out) {
            let dispatcher = &mut self.dispatcher;
            self.events.finish_round(mark.newest_ns, |now_ns, event| dispatcher.dispatch(now_ns, event));
        }
    }

    /// Ends the session: all records were read. `written_unix_ms` is when the file was written, 0 if that is
    /// not known.
    pub fn finish(mut self, written_unix_ms: u64) -> Result<PerfData, Error> {
        let rest = self.unpacker.finish()?;
        self.unpacked(&rest)?;
        if self.attrs.is_empty() {
            return Err(Error::NoKvm("no events at all"));
        }
        if self.decoders.is_none() {
            return Err(Error::NoKvm("no formats of tracepoints"));
        }
        self.begin_gap()?;
        let dispatcher = &mut self.dispatcher;
        self.events.finish(|now_ns, event| dispatcher.dispatch(now_ns, event));
        // An exit that is open before a gap is not in flight.
        for thread in dispatcher.gaps.ends() {
            dispatcher.replay.event(thread, Event::Lost);
        }
        let untold = dispatcher.gaps.untold;
        let (mut interval, mut threads) = self.dispatcher.replay.finish();
        for thread in &mut threads.list {
            if thread.pid == 0 {
                UNKNOWN_VM.clone_into(&mut thread.vm);
            } else if let Some(name) = self.comms.get(thread.pid) {
                name.clone_into(&mut thread.vm);
            }
        }
        interval.end_unix_ms = written_unix_ms;
        // Both count the same: LOST when there was room again, LOST_SAMPLES at the end, from counters.
        interval.losses.add(Loss::LostRecords, self.lost.max(self.lost_samples));
        let mut notes = Vec::new();
        if !self.fired {
            notes.push(match self.features.narrowed() {
                Some(option) => format!(
                    "the recording has KVM's events, but none fired: perf looked at `{option}` only; did a guest \
                     run there, and may perf trace it?"
                ),
                None => "the recording has KVM's events, but none fired: no guest ran".to_owned(),
            });
        }
        let header = self.features.header(interval.start_unix_ms());
        if self.damaged_samples != 0 {
            notes.push(format!("{} samples are damaged or lack their time or thread", self.damaged_samples));
        }
        if self.outside != 0 {
            notes.push(format!(
                "perf ran in a pid namespace that {} of its events are not of: threads are told apart, by the host's \
                 numbers, but not to which VM they belong; record on the host",
                self.outside
            ));
        }
        if self.nobodys != 0 {
            notes.push(format!("{} of these events do not name their thread and are left out", self.nobodys));
        }
        if let Some(unplaced) = self.lost_samples.checked_sub(self.lost).filter(|count| *count != 0) {
            notes.push(format!(
                "perf does not say when {unplaced} of the lost events were lost: an exit whose entry is one of them \
                 lasts until a later entry here"
            ));
        }
        if untold != 0 {
            notes.push(format!(
                "{untold} events are of threads beyond {}: whether events before them were lost is \
                 not told",
                gaps::MOST
            ));
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
