//! The maps to intervals. A reading stops no writer, makes no system call for a slot or vCPU whose thread
//! lives, unless it has to wait for one that stands still in the middle of an update, and
//! allocates for new ones only, and for slots whose samples leave the span of buckets that they have used.

use std::{mem, thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, Stack},
};
use tracer_ebpf::{
    abi::{Slot, SlotKey, Vcpu, state, table},
    histogram::{BUCKETS, bounds_of},
    loss,
    part::Part,
    subkey, symbols,
};

use crate::{
    decode::decode,
    kernel::{
        baseline::Counts,
        host,
        mapped::{Mapped, Memory, Plain, PlainKey, Taken},
        vms,
    },
    model::{self, Account, Cell, Interval, Loss, Losses, OpenExit, Parts, Threads, VcpuAccount, losses},
    snapshot::{
        self,
        accounting::{self, Times},
    },
};

/// What is remembered of a slot between readings.
#[derive(Debug, Default)]
struct Known {
    done: u64,
    sum_ns: u64,
    parts: [u64; Part::COUNT],
    memory: Memory,
    counts: Counts,
}

/// What is remembered of a vCPU entry between readings.
#[derive(Clone, Debug, Default)]
struct Owner {
    generation: u32,
    thread: usize,
    lost: [u64; loss::PerVcpu::COUNT],
    times: Times,
    /// It was dead before the slots were read, so that they have all been handed back.
    gone: bool,
    /// Its times could not be had at the last reading.
    skipped: bool,
}

/// So many unused slots in a row are the end of the used ones: more than there are CPUs that could be about
/// to publish one.
const UNUSED: usize = 1024;

/// So many times a slot is asked for again that was being written to at every try, a millisecond apart: its
/// writer has lost its CPU, to a hypervisor or to firmware.
const PATIENCE: u32 = 50;

/// Runs of programs that the kernel skipped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Missed {
    /// Of those on exits, entries and ends of threads.
    pub exits: u64,
    /// Of those that tell the parts.
    pub parts: u64,
}

/// Takes intervals out of the maps.
pub struct Reader {
    vcpus: Mapped<Vcpu>,
    slots: Mapped<Slot>,
    /// Programs that are loaded later refer to the maps by these descriptors.
    _maps: [MapData; 2],
    free_vcpus: Stack<MapData, u32>,
    free_slots: Stack<MapData, u32>,
    slot_of: HashMap<MapData, PlainKey, u32>,
    lost: PerCpuArray<MapData, u64>,
    full: Array<MapData, u32>,
    /// How often the programs are still to be told that a table has free entries.
    reopen: [u8; table::COUNT as usize],
    measured: model::MeasuredParts,
    /// By slot, as far as slots have been used.
    known: Vec<Known>,
    owners: Vec<Owner>,
    threads: Threads,
    /// Told by the last interval to have ended: their places are free from the next reading on.
    retiring: Vec<usize>,
    global_before: Losses,
    copy: Box<Slot>,
    /// Slots that were being written to at every try of this reading.
    busy: Vec<usize>,
    number: u64,
    last_ns: u64,
}

/// The counters that belong to no vCPU.
const GLOBAL: [(loss::Global, Loss); loss::Global::COUNT] = [
    (loss::Global::VcpuTableFull, Loss::VcpuTableFull),
    (loss::Global::EarlyEntries, Loss::EarlyEntries),
    (loss::Global::ReadFailed, Loss::ReadFailed),
    (loss::Global::FilterFull, Loss::FilterFull),
];

impl Reader {
    /// Takes the maps of a loaded object and hands out all free entries. Nothing may be attached yet.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
            ebpf.take_map(name).with_context(|| format!("the BPF object has no map {name}"))
        }
        let (vcpus, vcpu_map) =
            map_array(take(ebpf, symbols::VCPUS)?).context("cannot map the vCPU table")?;
        let (slots, slot_map) =
            map_array(take(ebpf, symbols::SLOTS)?).context("cannot map the slot table")?;
        let mut free_vcpus = Stack::try_from(take(ebpf, symbols::FREE_VCPUS)?)?;
        let mut free_slots = Stack::try_from(take(ebpf, symbols::FREE_SLOTS)?)?;
        fill(&mut free_vcpus, vcpus.len())?;
        fill(&mut free_slots, slots.len())?;
        let copy = Box::new(slots.copy(0));
        Ok(Self {
            known: Vec::new(),
            owners: vec![Owner::default(); vcpus.len()],
            vcpus,
            slots,
            _maps: [vcpu_map, slot_map],
            free_vcpus,
            free_slots,
            slot_of: HashMap::try_from(take(ebpf, symbols::SLOT_OF)?)?,
            lost: PerCpuArray::try_from(take(ebpf, symbols::LOST)?)?,
            full: Array::try_from(take(ebpf, symbols::FULL)?)?,
            reopen: [0; table::COUNT as usize],
            measured: model::MeasuredParts::default(),
            threads: Threads::default(),
            retiring: Vec::new(),
            global_before: Losses::default(),
            copy,
            busy: Vec::new(),
            number: 0,
            last_ns: host::monotonic_ns(),
        })
    }

    /// The threads seen so far.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// The parts that the attached programs tell apart.
    pub fn measured(&self) -> model::MeasuredParts {
        self.measured
    }

    /// The measurement starts now: the first interval begins here. `measured` are the parts that the attached
    /// programs tell apart.
    pub fn start(&mut self, measured: model::MeasuredParts) {
        self.last_ns = host::monotonic_ns();
        self.measured = measured;
    }

    /// Fills `interval` with what has happened since the last reading. `missed` is the kernel's count so far.
    /// What cannot be had now is left for the next reading; at the `last` one it is counted as lost.
    ///
    /// # Errors
    /// If a map cannot be read, or if a counter went back, which would be a bug.
    pub fn read(&mut self, interval: &mut Interval, missed: Missed, last: bool) -> Result<()> {
        interval.reset();
        self.number += 1;
        interval.number = self.number;
        interval.start_ns = self.last_ns;
        interval.end_ns = host::monotonic_ns();
        interval.end_unix_ms = host::unix_ms();
        interval.known = self.measured;
        self.last_ns = interval.end_ns;
        self.retiring.drain(..).for_each(|thread| self.threads.retire(thread));
        self.greet();
        let mut unused = 0;
        for index in 0..self.slots.len() {
            match self.slots.done(index) {
                Some(done) => self.read_slot(index, done, interval, last)?,
                // Slots are handed out from the lowest on, and returned ones first: what follows many that
                // were never used was never used. One alone may be about to be.
                None if index >= self.known.len() => {
                    unused += 1;
                    if unused > UNUSED {
                        break;
                    }
                }
                None => {}
            }
        }
        self.read_busy(interval, last)?;
        for index in 0..self.vcpus.len() {
            if self.owners[index].generation != 0 {
                self.read_vcpu(index, interval, last)?;
            }
        }
        self.reopen()?;
        self.read_global(interval, missed)
    }

    /// Waits for the slots that were being written to.
    fn read_busy(&mut self, interval: &mut Interval, last: bool) -> Result<()> {
        for _ in 0..PATIENCE {
            if self.busy.is_empty() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
            for index in mem::take(&mut self.busy) {
                if let Some(done) = self.slots.done(index) {
                    self.read_slot(index, done, interval, last)?;
                }
            }
        }
        for index in self.busy.drain(..).filter(|_| last) {
            let unread = self.slots.begun(index).saturating_sub(self.known[index].done);
            interval.losses.add(Loss::Unread, unread);
        }
        Ok(())
    }

    /// Where entries have been handed back, the programs shall ask for one again. They are told at the next
    /// reading once more: a program that had just found the table empty may say so after the first time.
    fn reopen(&mut self) -> Result<()> {
        for (table, times) in (0..).zip(&mut self.reopen).filter(|(_, times)| **times > 0) {
            self.full.set(table, 0, 0).context("cannot say that a table has free entries")?;
            *times -= 1;
        }
        Ok(())
    }

    /// Looks at new vCPUs, so that a VM which ends before the next reading has its name taken down.
    pub fn greet(&mut self) {
        let mut unused = 0;
        for index in 0..self.vcpus.len() {
            let (state, generation) = self.vcpus.state(index);
            if state != state::FREE {
                self.meet(index);
            } else if generation == 0 {
                // As with slots.
                unused += 1;
                if unused > UNUSED {
                    break;
                }
            }
            self.owners[index].gone = state == state::DEAD;
        }
    }

    /// The thread of a vCPU entry, a new one if the entry has a new owner.
    fn meet(&mut self, index: usize) -> usize {
        let (_, generation) = self.vcpus.state(index);
        if self.owners[index].generation != generation {
            let vcpu = self.vcpus.copy(index);
            let thread = snapshot::thread(&vcpu, self.name_of(&vcpu));
            self.owners[index] = Owner {
                generation,
                thread: self.threads.add(thread),
                lost: Default::default(),
                times: Times { until_ns: vcpu.first_ns, ..Times::default() },
                gone: false,
                skipped: false,
            };
        }
        self.owners[index].thread
    }

    /// The VM's name: a vCPU's that is alive, since a pid may be another VM's by now; what the process says,
    /// or the thread, should the first one of the process have ended; that of a vCPU which has ended with
    /// it; at last the name of the thread, which the kernel noted.
    fn name_of(&self, vcpu: &Vcpu) -> String {
        // One that has ended was met at this same look, or it would be gone.
        let sibling = |has_ended: bool| {
            let known = self.owners.iter().enumerate().filter(|(_, owner)| owner.generation != 0);
            let mut siblings = known.map(|(index, owner)| (index, &self.threads.list[owner.thread]));
            let (_, thread) = siblings.find(|(index, thread)| {
                thread.pid == vcpu.pid && (has_ended || self.vcpus.state(*index).0 == state::LIVE)
            })?;
            Some(thread.vm.clone())
        };
        let thread = || {
            let comm = vcpu.comm.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(comm).into_owned()
        };
        let told = || vms::name_of(vcpu.pid).or_else(|| vms::name_of(vcpu.tid));
        sibling(false).or_else(told).or_else(|| sibling(true)).unwrap_or_else(thread)
    }

    fn read_slot(&mut self, index: usize, done: u64, interval: &mut Interval, last: bool) -> Result<()> {
        let owner = self.slots.owner(index);
        let thread = self.meet(owner);
        if index >= self.known.len() {
            self.known.resize_with(index + 1, Known::default);
        }
        let known = &mut self.known[index];
        // Read before the samples are taken: a thread that is dead now writes no more.
        let dead = self.vcpus.state(owner).0 == state::DEAD;
        let done = if dead { self.slots.done(index).unwrap_or(done) } else { done };
        // At the end also for a first sample that is being added.
        if done != known.done || (last && self.slots.begun(index) != done) {
            let start = interval.buckets.len();
            let (taken, count) = loop {
                let Some(taken) = self.slots.take(index, &mut self.copy, &mut known.memory) else {
                    self.busy.push(index);
                    return Ok(());
                };
                let count =
                    self.copy.done.checked_sub(known.done).context("bug: a slot's count went back")?;
                let gained = known.counts.gains(&self.copy.buckets, &taken.buckets, &mut interval.buckets);
                if gained == count {
                    break (taken, count);
                }
                ensure!(
                    taken.buckets != (0..BUCKETS),
                    "bug: slot {index} gained {count} samples, its buckets {gained}"
                );
                interval.buckets.truncate(start);
                known.memory.put_back(taken);
            };
            let copy = &*self.copy;
            let sum_ns = copy.sum_ns.checked_sub(known.sum_ns).context("bug: a slot's sum went back")?;
            known.counts.keep(&copy.buckets, &taken.buckets);
            let parts = parts_since(copy, known, sum_ns)?;
            (known.done, known.sum_ns, known.parts) = (copy.done, copy.sum_ns, copy.parts);
            let (isa, code, subkey) = (copy.isa, copy.code, copy.subkey);
            let buckets = start..interval.buckets.len();
            let (min_ns, max_ns) = extremes(&taken, &interval.buckets[start..], count, sum_ns);
            interval.cells.push(Cell {
                thread,
                isa,
                code,
                subkey,
                count,
                sum_ns,
                min_ns,
                max_ns,
                parts,
                buckets,
            });
        }
        if dead {
            *known = Known::default();
            let Slot { isa, code, subkey, .. } = self.slots.copy(index);
            // The slot of the guest intervals is noted in the vCPU's entry.
            if subkey != 0 && subkey::kind_of(subkey) != subkey::kind::GUEST {
                let key = SlotKey { vcpu: owner as u32, isa, code, pad: 0, subkey };
                self.slot_of.remove(&PlainKey(key)).context("cannot forget the slot of a detail")?;
            }
            self.slots.clear(index);
            self.free_slots.push(index as u32, 0).context("cannot hand back a slot")?;
            self.reopen[table::SLOTS as usize] = 2;
        }
        Ok(())
    }

    fn read_vcpu(&mut self, index: usize, interval: &mut Interval, last: bool) -> Result<()> {
        let (vcpu_state, generation) = self.vcpus.state(index);
        if vcpu_state == state::FREE || self.owners[index].generation != generation {
            return Ok(());
        }
        let (vcpu, copied_ns, consistent) = accounting::copy(|| self.vcpus.copy(index), host::monotonic_ns);
        let owner = &mut self.owners[index];
        let thread = owner.thread;
        for (cause, loss) in losses::PER_VCPU {
            let (now, before) = (vcpu.lost[cause as usize], &mut owner.lost[cause as usize]);
            interval.losses.add(loss, now.checked_sub(*before).context("bug: a loss counter went back")?);
            *before = now;
        }
        let (isa, code) = (vcpu.open_isa, vcpu.open_code);
        // Of a dead thread nothing is later than its end.
        let until_ns = if vcpu_state == state::DEAD { vcpu.breakdown.since_ns } else { copied_ns };
        // A thread that was in the way of every try is left for the next reading, which covers both; once, or
        // time that does not add up would never be seen.
        if consistent || vcpu_state == state::DEAD || owner.skipped || last {
            let sched = self.measured.has(Part::Runqueue);
            let idle = decode(isa, code).idle;
            let times = accounting::add_up(&vcpu, idle, sched, until_ns.max(owner.times.until_ns));
            let account = Account { measured: self.measured, ..times.since(&owner.times) };
            owner.times = times;
            if account.elapsed_ns != 0 {
                interval.vcpus.push(VcpuAccount { thread, account });
            }
        }
        owner.skipped = !consistent;
        if owner.gone {
            let last_exit = snapshot::last_exit(&vcpu, thread);
            interval.losses.add(Loss::DiedInExit, u64::from(last_exit.is_some()));
            interval.last_exits.extend(last_exit);
            self.owners[index].generation = 0;
            interval.ended.push(thread);
            self.retiring.push(thread);
            self.vcpus.recycle(index);
            self.free_vcpus.push(index as u32, 0).context("cannot hand back a vCPU entry")?;
            self.reopen[table::VCPUS as usize] = 2;
        } else if vcpu_state == state::LIVE && (1..=interval.end_ns).contains(&vcpu.open_ns) {
            // An exit that began after the interval's end, while it was read, belongs to the next.
            interval.open.push(OpenExit { thread, isa, code, age_ns: interval.end_ns - vcpu.open_ns });
        }
        Ok(())
    }

    fn read_global(&mut self, interval: &mut Interval, missed: Missed) -> Result<()> {
        let mut now = Losses::default();
        for (cause, loss) in GLOBAL {
            let per_cpu = self.lost.get(&(cause as u32), 0).context("cannot read the loss counters")?;
            now.add(loss, per_cpu.iter().sum());
        }
        now.add(Loss::MissedRuns, missed.exits);
        now.add(Loss::MissedParts, missed.parts);
        interval.losses.merge(&now.since(&self.global_before));
        self.global_before = now;
        Ok(())
    }
}

/// The parts that the new samples of a slot consist of.
fn parts_since(copy: &Slot, known: &Known, sum_ns: u64) -> Result<Parts> {
    let mut gained = [0; Part::COUNT];
    for (gained, (new, old)) in gained.iter_mut().zip(copy.parts.iter().zip(known.parts)) {
        *gained = new.checked_sub(old).context("bug: a part went back")?;
    }
    Ok(snapshot::parts(copy.subkey, gained, sum_ns))
}

/// The extremes of new samples. A sample that went to an epoch already taken (see [`Mapped::take`]) may be
/// missing from `taken`; its bucket is not, so the extremes are widened to the bounds of the outermost
/// buckets.
fn extremes(taken: &Taken, buckets: &[(u16, u32)], count: u64, sum_ns: u64) -> (u64, u64) {
    if count == 1 {
        return (sum_ns, sum_ns);
    }
    let bounds = |bucket: Option<&(u16, u32)>| bucket.map(|(bucket, _)| bounds_of(usize::from(*bucket)));
    let (Some((_, low_end)), Some((high_start, _))) = (bounds(buckets.first()), bounds(buckets.last()))
    else {
        return (taken.min_ns, taken.max_ns);
    };
    (taken.min_ns.min(low_end - 1), taken.max_ns.max(high_start))
}

/// Maps an array into memory. aya has no call for it, but gives the descriptor.
fn map_array<T: Plain>(map: Map) -> Result<(Mapped<T>, MapData)> {
    let Map::Array(data) = map else { bail!("it is no array") };
    let len = data.info()?.max_entries();
    Ok((Mapped::new(data.fd(), len)?, data))
}

/// Pushes all numbers below `len`, so that 0 is handed out first.
fn fill(stack: &mut Stack<MapData, u32>, len: usize) -> Result<()> {
    for index in (0..len as u32).rev() {
        stack.push(index, 0).context("cannot fill the list of free entries")?;
    }
    Ok(())
}
