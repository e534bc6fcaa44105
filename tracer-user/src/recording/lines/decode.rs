//! Lines to intervals.

use std::{borrow::Cow, sync::Arc};

use super::{
    At, Clock, CounterLine, EndLine, InFlight, IntervalEnd, IntervalLine, LastExitLine, Line, LossLine,
    Readings, ReasonLine, Slot, ThreadLine, Times, Vcpu, hist,
};
use crate::{
    decode::{
        Isa,
        counters::{self, BUCKETS, Unit},
    },
    identity::{Identity, Kind, Source},
    model::{
        Account, ClockChange, Counter, CounterId, Interval, LastExit, LastReason, MeasuredParts, OpenExit,
        Origin, Parts, Thread,
    },
    recording::told::{End, Samples, Step, Told, add_account},
};

/// Limit of the numbers of threads, and of those of reasons.
const MAX_NUMBERS: usize = 1 << 22;

/// Limit of the memory for counters, and of that for the readings of an interval, in bytes.
const MAX_COUNTER_BYTES: usize = 1 << 27;
/// Limit of the names of a counter and its VM in bytes. VMs' are cut at 256 characters when they are
/// recorded.
const MAX_COUNTER_NAMES: usize = 1 << 12;

/// Isa, code and subkey.
type Reason = (Isa, u32, u64);

/// Takes the lines of a recording one by one.
#[derive(Debug)]
pub(in crate::recording) struct Decoder {
    /// Measured parts of the intervals that do not list their own.
    known: MeasuredParts,
    sub_bits: u32,
    /// By number: index of the thread.
    threads: Vec<usize>,
    /// By number.
    reasons: Vec<Reason>,
    /// By number.
    counters: Vec<Arc<CounterId>>,
    /// Bytes of their names, and of the readings of this interval.
    counter_bytes: (usize, usize),
    /// An interval has begun and not ended.
    within: bool,
}

impl Decoder {
    /// For a recording whose header has these measured parts and this many buckets for each power of two, as
    /// its logarithm.
    pub fn new(known: MeasuredParts, sub_bits: u32) -> Self {
        Self {
            known,
            sub_bits,
            threads: Vec::new(),
            reasons: Vec::new(),
            counters: Vec::new(),
            counter_bytes: (0, 0),
            within: false,
        }
    }

    /// Takes a line.
    pub fn take(&mut self, text: &[u8], told: &mut Told, interval: &mut Interval) -> Result<Step, String> {
        let line: Line<'_> = serde_json::from_slice(text).map_err(|error| what(&error))?;
        match line {
            Line { slot: Some(slot), .. } => self.slot(slot, interval),
            Line { vcpu: Some(vcpu), .. } => self.vcpu(&vcpu, interval),
            Line { thread: Some(line), .. } => {
                let ThreadLine { number, host, vm, pid, tid, vcpu, start_unix_ms, vm_number, facts } = line;
                let vm_number = u32::try_from(vm_number).map_err(|_| "a VM's number is too large")?;
                let origin = Origin { start_unix_ms, number: vm_number };
                let (vm, host) = (vm.into_owned(), host.map(Cow::into_owned));
                let mut identity = Identity::default();
                for (key, (value, source)) in &facts {
                    // Kinds and sources of later versions are left out.
                    if let Some((kind, source)) = Kind::of_key(key).zip(Source::of_id(source)) {
                        identity.offer(kind, source, value);
                    }
                }
                let known = identity.into();
                let thread = told.thread(Thread { pid, tid, vcpu, origin, vm, known, host });
                put(&mut self.threads, number, thread).map(|()| Step::Other)
            }
            Line { reason: Some(ReasonLine { number, isa, code, detail: subkey, .. }), .. } => {
                put(&mut self.reasons, number, (Isa(isa), code, subkey)).map(|()| Step::Other)
            }
            Line { readings: Some(readings), .. } => self.readings(readings, interval),
            Line { counter: Some(counter), .. } => self.counter(&counter),
            Line { interval: Some(line), .. } => self.begin(line, interval),
            Line { interval_end: Some(line), .. } => self.finish(&line, interval),
            Line { loss: Some(LossLine { cause, count }), .. } => {
                self.inside()?;
                told.lost(&cause, count, interval);
                Ok(Step::More)
            }
            Line { in_flight: Some(InFlight { at, age_ns }), .. } => {
                let (thread, (isa, code, _)) = self.at(at)?;
                interval.open.push(OpenExit { thread, isa, code, age_ns });
                Ok(Step::More)
            }
            Line { last_exit: Some(LastExitLine { at, user_exit, count }), .. } => {
                let (thread, (isa, code, _)) = self.at(at)?;
                let reason = LastReason::new(isa, code, user_exit);
                interval.last_exits.push(LastExit { thread, reason, count });
                Ok(Step::More)
            }
            Line { end: Some(EndLine { intervals, why }), .. } => {
                told.end = Some(End { intervals, why: why.into_owned() });
                Ok(Step::Other)
            }
            // Of another recording, which was appended to a torn one.
            Line { kind: Some(kind), .. } if kind == "header" => Err("a second header".into()),
            Line { .. } => {
                told.skipped += 1;
                Ok(Step::Other)
            }
        }
    }

    fn slot(&self, slot: Slot<'_>, interval: &mut Interval) -> Result<Step, String> {
        let Slot { at, count, ns: Times(sum_ns, min_ns, max_ns), parts, hist } = slot;
        let (thread, (isa, code, subkey)) = self.at(at)?;
        let parts = parts_of(&parts)?;
        let samples = Samples { thread, isa, code, subkey, count, sum_ns, min_ns, max_ns, parts };
        samples.add(interval, hist.is_empty(), |buckets| hist::decode(&hist, count, self.sub_bits, buckets))
    }

    fn vcpu(&self, vcpu: &Vcpu, interval: &mut Interval) -> Result<Step, String> {
        self.inside()?;
        let Vcpu { thread, elapsed_ns, guest_ns, ref parts } = *vcpu;
        let thread = known(&self.threads, thread, "thread")?;
        let account = Account { elapsed_ns, guest_ns, parts: parts_of(parts)?, measured: interval.known };
        add_account(thread, account, interval)
    }

    fn counter(&mut self, line: &CounterLine<'_>) -> Result<Step, String> {
        let CounterLine { number, ref vm, pid, vm_fd, vcpu, ref name, ref kind, ref unit, bucket_size } =
            *line;
        if vm.len() + name.len() > MAX_COUNTER_NAMES {
            return Err(format!("the names of a counter have more than {MAX_COUNTER_NAMES} bytes"));
        }
        let (vm, name) = (vm.to_string(), name.to_string());
        let (kind, unit) = (counters::Kind::from_id(kind), Unit::from_id(unit));
        let id = CounterId { vm, pid, vm_fd, vcpu, name, kind, unit, bucket_size };
        let old = self.counters.get(number as usize).map_or(0, |id| id.bytes());
        self.counter_bytes.0 = (self.counter_bytes.0 + id.bytes()).saturating_sub(old);
        bounded(self.counter_bytes.0, "counters and names")?;
        put(&mut self.counters, number, Arc::new(id)).map(|()| Step::Other)
    }

    fn readings(&mut self, line: Readings, interval: &mut Interval) -> Result<Step, String> {
        self.inside()?;
        let Readings { over_ns, values, hist } = line;
        let values = values.into_iter().map(|(number, value, delta)| (number, value, delta, Vec::new()));
        let hist = hist.into_iter().map(|(number, buckets)| (number, None, None, buckets));
        for (number, value, delta, buckets) in values.chain(hist) {
            let id = self.counters.get(number as usize).cloned();
            let id = id.ok_or_else(|| format!("no line before has counter {number}"))?;
            if value.is_some_and(|value| !(i64::MIN.into()..=u64::MAX.into()).contains(&value)) {
                return Err("a counter's value has more than 64 bits".into());
            }
            if buckets.len() > BUCKETS {
                return Err(format!("a counter has more than {BUCKETS} buckets"));
            }
            let counter = Counter { id, value, delta, over_ns, buckets };
            self.counter_bytes.1 += counter.bytes();
            interval.counters.push(counter);
        }
        bounded(self.counter_bytes.1, "counters in an interval")?;
        Ok(Step::More)
    }

    fn begin(&mut self, line: IntervalLine<'_>, interval: &mut Interval) -> Result<Step, String> {
        if std::mem::replace(&mut self.within, true) {
            return Err("an interval begins before the last one has ended".into());
        }
        self.counter_bytes.1 = 0;
        let IntervalLine { number, start_ns, host, parts } = line;
        (interval.number, interval.start_ns) = (number, start_ns);
        if let Some(host) = host {
            interval.host = Some(host.into_owned());
        }
        interval.known = parts.map_or(self.known, |parts| MeasuredParts::from_ids(&parts));
        Ok(Step::More)
    }

    fn finish(&mut self, line: &IntervalEnd, interval: &mut Interval) -> Result<Step, String> {
        self.inside()?;
        self.within = false;
        let IntervalEnd { end_ns, end_unix_ms, clock } = *line;
        (interval.end_ns, interval.end_unix_ms) = (end_ns, end_unix_ms);
        let change = |Clock { suspended_ms, stepped_ms }| ClockChange { suspended_ms, stepped_ms };
        interval.clock = clock.map(change);
        Ok(Step::Interval)
    }

    fn inside(&self) -> Result<(), String> {
        if self.within { Ok(()) } else { Err("it belongs to an interval, and none has begun".into()) }
    }

    /// What the numbers of a line within an interval stand for.
    fn at(&self, At(thread, reason): At) -> Result<(usize, Reason), String> {
        self.inside()?;
        Ok((known(&self.threads, thread, "thread")?, known(&self.reasons, reason, "reason")?))
    }
}

/// What is wrong with a line. Which line it is, the reader says.
fn what(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at byte ")
}

/// Memory for counters stays bounded, however long the input.
fn bounded(bytes: usize, what: &str) -> Result<(), String> {
    if bytes > MAX_COUNTER_BYTES {
        return Err(format!("the recording has more than {MAX_COUNTER_BYTES} bytes of {what}"));
    }
    Ok(())
}

/// Gives a number a meaning, or another one. A new number is the next one.
fn put<T>(list: &mut Vec<T>, number: u32, value: T) -> Result<(), String> {
    let (next, at) = (list.len(), number as usize);
    match list.get_mut(at) {
        Some(place) => *place = value,
        None if at == next && next < MAX_NUMBERS => list.push(value),
        None if at == next => return Err(format!("the recording has more than {MAX_NUMBERS} numbers")),
        None => return Err(format!("it gives number {number}, and {next} is the next")),
    }
    Ok(())
}

fn known<T: Copy>(list: &[T], number: u32, what: &str) -> Result<T, String> {
    list.get(number as usize).copied().ok_or_else(|| format!("no line before has {what} {number}"))
}

/// The time of each part in their order. Parts beyond those that are known are skipped.
fn parts_of(list: &[u64]) -> Result<Parts, String> {
    let total_ns = list.iter().try_fold(0u64, |total_ns, ns| total_ns.checked_add(*ns));
    total_ns.ok_or("parts overflow")?;
    let mut parts = Parts::default();
    parts.0.iter_mut().zip(list).for_each(|(part, ns)| *part = *ns);
    Ok(parts)
}
