//! Intervals to lines.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    hash::Hash,
    io,
    sync::Arc,
};

use tracer_ebpf::part::Part;

use super::{
    At, Clock, CounterLine, EndLine, InFlight, IntervalEnd, IntervalLine, LastExitLine, Line, LossLine,
    Readings, ReasonLine, Slot, ThreadLine, Times, Vcpu, hist,
};
use crate::{
    decode::{Isa, decode, subkey},
    identity::{Fact, Kind},
    model::{
        ClockChange, Counter, CounterId, Interval, LastExit, LastReason, MeasuredParts, NamedInterval,
        Origin, Parts, Thread, VcpuAccount, VmId,
    },
};

/// More numbers than an interval uses are kept up to this many, for threads and reasons that come back.
const SPARE: usize = 1024;

/// A line of readings ends after so many numbers, so that no reader finds it too long.
const MOST_READINGS: usize = 1024;

/// Isa, code and subkey.
type Reason = (Isa, u32, u64);

/// Numbers that were given out.
#[derive(Debug)]
struct Numbers<K>(HashMap<K, u32>);

impl<K: Eq + Hash + Clone> Numbers<K> {
    /// The number of a key, and whether the recording has not told it yet.
    fn of(&mut self, key: &K) -> (u32, bool) {
        if let Some(number) = self.0.get(key) {
            return (*number, false);
        }
        let number = self.0.len() as u32;
        self.0.insert(key.clone(), number);
        (number, true)
    }

    /// Begins anew if far more are held than an interval may use: threads come and go for ever, and guests
    /// choose the values of causes. Numbers that are told again replace the older ones.
    fn limit(&mut self, used: usize) {
        if self.0.len() > 2 * used + SPARE {
            self.0 = HashMap::new();
        }
    }
}

/// Makes the lines of intervals. Remembers the numbers that the lines before gave out.
#[derive(Debug)]
pub(in crate::recording) struct Encoder {
    /// Measured parts of the intervals that do not list their own.
    known: MeasuredParts,
    threads: Numbers<Thread>,
    reasons: Numbers<Reason>,
    /// VMs whose facts are told.
    vms: HashSet<VmId>,
    counters: Numbers<Arc<CounterId>>,
    /// By index in the interval's list of threads: the number, where it was asked for.
    asked: Vec<Option<u32>>,
    /// The indices that were.
    used: Vec<usize>,
    hist: String,
}

impl Encoder {
    /// For a recording whose header has these measured parts.
    pub fn new(known: MeasuredParts) -> Self {
        Self {
            known,
            threads: Numbers(HashMap::new()),
            reasons: Numbers(HashMap::new()),
            vms: HashSet::new(),
            counters: Numbers(HashMap::new()),
            asked: Vec::new(),
            used: Vec::new(),
            hist: String::new(),
        }
    }

    /// Forgets all numbers: their lines may not be in the recording.
    pub fn forget(&mut self) {
        self.threads.0.clear();
        self.reasons.0.clear();
        self.vms.clear();
        self.counters.0.clear();
    }

    /// Appends the lines of an interval.
    pub fn interval(&mut self, of: NamedInterval<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        let NamedInterval { interval, .. } = of;
        self.begin(interval);
        let parts = (interval.known != self.known).then(|| interval.known.ids().map(str::to_owned).collect());
        let Interval { number, start_ns, end_ns, end_unix_ms, .. } = *interval;
        let host = interval.host.as_deref().map(Into::into);
        let begin = IntervalLine { number, start_ns, host, parts };
        line(out, &Line { interval: Some(begin), ..Line::default() })?;
        for cell in &interval.cells {
            let at = self.at(of, cell.thread, (cell.isa, cell.code, cell.subkey), out)?;
            let mut hist = std::mem::take(&mut self.hist);
            hist.clear();
            hist::encode(interval.buckets_of(cell).iter(), &mut hist);
            let only_kernel = cell.parts.get(Part::Kernel) == cell.parts.total_ns();
            let slot = Slot {
                at,
                count: cell.count,
                ns: Times(cell.sum_ns, cell.min_ns, cell.max_ns),
                parts: if only_kernel { Vec::new() } else { listed(&cell.parts) },
                hist: hist.as_str().into(),
            };
            line(out, &Line { slot: Some(slot), ..Line::default() })?;
            self.hist = hist;
        }
        for VcpuAccount { thread, account } in &interval.vcpus {
            let thread = self.thread(of, *thread, out)?;
            let (elapsed_ns, guest_ns, parts) =
                (account.elapsed_ns, account.guest_ns, listed(&account.parts));
            let vcpu = Vcpu { thread, elapsed_ns, guest_ns, parts };
            line(out, &Line { vcpu: Some(vcpu), ..Line::default() })?;
        }
        for (info, count) in interval.losses.nonzero() {
            line(out, &Line { loss: Some(LossLine { cause: info.name.into(), count }), ..Line::default() })?;
        }
        for open in &interval.open {
            let at = self.at(of, open.thread, (open.isa, open.code, 0), out)?;
            let in_flight = InFlight { at, age_ns: open.age_ns };
            line(out, &Line { in_flight: Some(in_flight), ..Line::default() })?;
        }
        for &LastExit { thread, reason, count } in &interval.last_exits {
            let LastReason { isa, code, user_exit } = reason;
            let at = self.at(of, thread, (isa, code, 0), out)?;
            line(out, &Line { last_exit: Some(LastExitLine { at, user_exit, count }), ..Line::default() })?;
        }
        self.counters(interval, out)?;
        let clock = interval.clock;
        let clock = clock.map(|ClockChange { suspended_ms, stepped_ms }| Clock { suspended_ms, stepped_ms });
        let end = IntervalEnd { end_ns, end_unix_ms, clock };
        line(out, &Line { interval_end: Some(end), ..Line::default() })
    }

    /// Appends the last line.
    pub fn end(&self, intervals: u64, why: &str, out: &mut Vec<u8>) -> io::Result<()> {
        line(out, &Line { end: Some(EndLine { intervals, why: why.into() }), ..Line::default() })
    }

    fn begin(&mut self, interval: &Interval) {
        let Interval { cells, vcpus, open, last_exits, .. } = interval;
        let lines = cells.len() + open.len() + last_exits.len();
        self.threads.limit(self.used.len() + vcpus.len());
        self.reasons.limit(lines);
        self.counters.limit(interval.counters.len());
        // Told again, facts change nothing.
        if self.vms.len() > 2 * self.used.len() + SPARE {
            self.vms = HashSet::new();
        }
        for index in self.used.drain(..) {
            self.asked[index] = None;
        }
    }

    /// Appends the readings of counters, those of a VM in one line.
    fn counters(&mut self, interval: &Interval, out: &mut Vec<u8>) -> io::Result<()> {
        let together = |a: &Counter, b: &Counter| {
            let of = |it: &Counter| (it.over_ns, it.id.pid, it.id.vm_fd, it.id.vcpu);
            of(a) == of(b)
        };
        for counters in interval.counters.chunk_by(together) {
            let (mut readings, mut numbers) = (Readings::default(), 0);
            for counter in counters {
                let number = self.counter(&counter.id, out)?;
                numbers += 1 + counter.buckets.len();
                if counter.buckets.is_empty() {
                    readings.values.push((number, counter.value, counter.delta));
                } else {
                    readings.hist.push((number, counter.buckets.clone()));
                }
                if numbers > MOST_READINGS {
                    readings_line(counter.over_ns, &mut readings, out)?;
                    numbers = 0;
                }
            }
            if numbers != 0 {
                readings_line(counters[0].over_ns, &mut readings, out)?;
            }
        }
        Ok(())
    }

    fn counter(&mut self, id: &Arc<CounterId>, out: &mut Vec<u8>) -> io::Result<u32> {
        let (number, new) = self.counters.of(id);
        if new {
            let CounterId { vm, pid, vm_fd, vcpu, name, kind, unit, bucket_size } = &**id;
            let (vm, name) = (vm.as_str().into(), name.as_str().into());
            let (kind, unit) = (kind.id().into(), unit.id().into());
            let (pid, vm_fd, vcpu, bucket_size) = (*pid, *vm_fd, *vcpu, *bucket_size);
            let counter = CounterLine { number, vm, pid, vm_fd, vcpu, name, kind, unit, bucket_size };
            line(out, &Line { counter: Some(counter), ..Line::default() })?;
        }
        Ok(number)
    }

    /// The numbers of a thread and a reason, which new lines give out if need be.
    fn at(
        &mut self,
        of: NamedInterval<'_>,
        thread: usize,
        reason: Reason,
        out: &mut Vec<u8>,
    ) -> io::Result<At> {
        let thread = self.thread(of, thread, out)?;
        let (number, new) = self.reasons.of(&reason);
        if new {
            let (isa, code, subkey) = reason;
            let name = decode(isa, code).to_string().into();
            let cause = subkey::label(isa, subkey);
            let reason = ReasonLine { number, isa: isa.0, code, name, detail: subkey, cause };
            line(out, &Line { reason: Some(reason), ..Line::default() })?;
        }
        Ok(At(thread, number))
    }

    fn thread(&mut self, of: NamedInterval<'_>, index: usize, out: &mut Vec<u8>) -> io::Result<u32> {
        if let Some(Some(number)) = self.asked.get(index) {
            return Ok(*number);
        }
        let thread = of.thread(index);
        let (number, new) = self.threads.of(thread);
        if new {
            let Thread { pid, tid, vcpu, origin, vm, known, host } = thread;
            let facts = match self.vms.insert(thread.vm_id()) {
                true => known.facts().map(|(kind, fact)| told(kind, fact)).collect(),
                false => BTreeMap::new(),
            };
            let Origin { start_unix_ms, number: vm_number } = *origin;
            let thread = ThreadLine {
                number,
                host: host.as_deref().map(Into::into),
                vm: vm.as_str().into(),
                pid: *pid,
                tid: *tid,
                vcpu: *vcpu,
                start_unix_ms,
                vm_number: vm_number.into(),
                facts,
            };
            line(out, &Line { thread: Some(thread), ..Line::default() })?;
        }
        if self.asked.len() <= index {
            self.asked.resize(index + 1, None);
        }
        self.asked[index] = Some(number);
        self.used.push(index);
        Ok(number)
    }
}

/// A fact as it stands in a line.
fn told(kind: Kind, fact: &Fact) -> (Cow<'_, str>, (Cow<'_, str>, Cow<'_, str>)) {
    (kind.info().key.into(), (fact.value.as_str().into(), fact.source.info().id.into()))
}

/// Appends the readings, and empties them.
fn readings_line(over_ns: u64, readings: &mut Readings, out: &mut Vec<u8>) -> io::Result<()> {
    let readings = Readings { over_ns, ..std::mem::take(readings) };
    line(out, &Line { readings: Some(readings), ..Line::default() })
}

fn line(out: &mut Vec<u8>, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.push(b'\n');
    Ok(())
}

/// The time of each part in their order, without the zeros at the end.
fn listed(parts: &Parts) -> Vec<u64> {
    let len = parts.0.iter().rposition(|ns| *ns != 0).map_or(0, |last| last + 1);
    parts.0[..len].to_vec()
}
