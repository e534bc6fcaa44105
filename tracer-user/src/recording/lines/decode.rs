//! Lines to intervals.

use super::{
    At, Clock, EndLine, InFlight, IntervalEnd, IntervalLine, LastExitLine, Line, LossLine, ReasonLine, Slot,
    ThreadLine, Times, Vcpu, hist,
};
use crate::{
    decode::Isa,
    model::{Account, ClockChange, Interval, LastExit, LastReason, MeasuredParts, OpenExit, Parts},
    recording::told::{End, Samples, Step, Told, add_account},
};

/// Limit of the numbers of threads, and of those of reasons.
const MAX_NUMBERS: usize = 1 << 22;

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
    /// An interval has begun and not ended.
    within: bool,
}

impl Decoder {
    /// For a recording whose header has these measured parts and this many buckets for each power of two, as
    /// its logarithm.
    pub fn new(known: MeasuredParts, sub_bits: u32) -> Self {
        Self { known, sub_bits, threads: Vec::new(), reasons: Vec::new(), within: false }
    }

    /// Takes a line.
    pub fn take(&mut self, text: &[u8], told: &mut Told, interval: &mut Interval) -> Result<Step, String> {
        let line: Line<'_> = serde_json::from_slice(text).map_err(|error| what(&error))?;
        match line {
            Line { slot: Some(slot), .. } => self.slot(slot, interval),
            Line { vcpu: Some(vcpu), .. } => self.vcpu(&vcpu, interval),
            Line { thread: Some(ThreadLine { number, host, vm, pid, tid, vcpu }), .. } => {
                let thread = told.thread(host.as_deref(), pid, tid, vcpu, &vm);
                put(&mut self.threads, number, thread).map(|()| Step::Other)
            }
            Line { reason: Some(ReasonLine { number, isa, code, detail: subkey, .. }), .. } => {
                put(&mut self.reasons, number, (Isa(isa), code, subkey)).map(|()| Step::Other)
            }
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

    fn begin(&mut self, line: IntervalLine<'_>, interval: &mut Interval) -> Result<Step, String> {
        if std::mem::replace(&mut self.within, true) {
            return Err("an interval begins before the last one has ended".into());
        }
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
