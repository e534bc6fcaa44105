//! The maps to intervals. A reading stops no writer and makes one system call per global counter, none per
//! slot; in steady state it allocates nothing.

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray, Stack},
};
use tracer_ebpf::{
    abi::{Extremes, Slot, Vcpu, state},
    histogram::{BUCKETS, bounds_of},
    lost, names,
};

use crate::{
    decode::Isa,
    kernel::{
        host,
        mapped::{Mapped, NO_EXTREMES, Plain, Taken},
        vms,
    },
    model::{Cell, Interval, Loss, Losses, OpenExit, Parts, Roster, Thread, losses},
};

/// What is remembered of a slot between readings.
#[derive(Debug)]
struct Known {
    done: u64,
    sum_ns: u64,
    late: Extremes,
    buckets: [u32; BUCKETS],
}

/// What is remembered of a vCPU entry between readings.
#[derive(Clone, Debug, Default)]
struct Owner {
    generation: u32,
    thread: usize,
    lost: [u64; lost::PerVcpu::COUNT],
}

/// Takes intervals out of the maps.
pub struct Reader {
    vcpus: Mapped<Vcpu>,
    slots: Mapped<Slot>,
    /// Programs that are loaded later refer to the maps by these descriptors.
    _maps: [MapData; 2],
    free_vcpus: Stack<MapData, u32>,
    free_slots: Stack<MapData, u32>,
    lost: PerCpuArray<MapData, u64>,
    known: Vec<Option<Box<Known>>>,
    owners: Vec<Owner>,
    roster: Roster,
    global_before: Losses,
    copy: Box<Slot>,
    number: u64,
    last_ns: u64,
}

/// The counters that belong to no vCPU.
const GLOBAL: [(lost::Global, Loss); lost::Global::COUNT] = [
    (lost::Global::VcpuTableFull, Loss::VcpuTableFull),
    (lost::Global::EarlyEntries, Loss::EarlyEntries),
    (lost::Global::ReadFailed, Loss::ReadFailed),
];

impl Reader {
    /// Takes the maps of a loaded object and hands out all free entries. Nothing may be attached yet.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
            ebpf.take_map(name).with_context(|| format!("the BPF object has no map {name}"))
        }
        let (vcpus, vcpu_map) = map_array(take(ebpf, names::VCPUS)?).context("cannot map the vCPU table")?;
        let (slots, slot_map) = map_array(take(ebpf, names::SLOTS)?).context("cannot map the slot table")?;
        let mut free_vcpus = Stack::try_from(take(ebpf, names::FREE_VCPUS)?)?;
        let mut free_slots = Stack::try_from(take(ebpf, names::FREE_SLOTS)?)?;
        fill(&mut free_vcpus, vcpus.len())?;
        fill(&mut free_slots, slots.len())?;
        let copy = Box::new(slots.copy(0));
        Ok(Self {
            known: (0..slots.len()).map(|_| None).collect(),
            owners: vec![Owner::default(); vcpus.len()],
            vcpus,
            slots,
            _maps: [vcpu_map, slot_map],
            free_vcpus,
            free_slots,
            lost: PerCpuArray::try_from(take(ebpf, names::LOST)?)?,
            roster: Roster::default(),
            global_before: Losses::default(),
            copy,
            number: 0,
            last_ns: host::monotonic_ns(),
        })
    }

    /// The threads seen so far.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The measurement starts now: the first interval begins here.
    pub fn start(&mut self) {
        self.last_ns = host::monotonic_ns();
    }

    /// Fills `interval` with what has happened since the last reading. `missed` is the kernel's count of
    /// skipped program runs so far.
    ///
    /// # Errors
    /// If a map cannot be read, or if a counter went back, which would be a bug.
    pub fn read(&mut self, interval: &mut Interval, missed: u64) -> Result<()> {
        interval.reset();
        self.number += 1;
        interval.number = self.number;
        interval.start_ns = self.last_ns;
        interval.end_ns = host::monotonic_ns();
        interval.end_unix_ms = host::unix_ms();
        self.last_ns = interval.end_ns;
        self.greet();
        for index in 0..self.slots.len() {
            if let Some(done) = self.slots.done(index) {
                self.read_slot(index, done, interval)?;
            }
        }
        for index in 0..self.vcpus.len() {
            self.read_vcpu(index, interval)?;
        }
        self.read_global(interval, missed)
    }

    /// Looks at new vCPUs, so that a VM which ends before the next reading has its name taken down.
    pub fn greet(&mut self) {
        for index in 0..self.vcpus.len() {
            if self.vcpus.state(index).0 != state::FREE {
                self.meet(index);
            }
        }
    }

    /// The thread of a vCPU entry, a new one if the entry has a new owner.
    fn meet(&mut self, index: usize) -> usize {
        let (_, generation) = self.vcpus.state(index);
        if self.owners[index].generation != generation {
            let vcpu = self.vcpus.copy(index);
            let thread = Thread {
                pid: vcpu.pid,
                tid: vcpu.tid,
                vcpu: (vcpu.vcpu_id != tracer_ebpf::abi::ABSENT).then_some(vcpu.vcpu_id),
                vm: self.name_of(&vcpu),
            };
            self.roster.threads.push(thread);
            self.owners[index] =
                Owner { generation, thread: self.roster.threads.len() - 1, lost: Default::default() };
        }
        self.owners[index].thread
    }

    fn name_of(&self, vcpu: &Vcpu) -> String {
        // A pid may be another VM's by now: only a sibling that is alive vouches for the name.
        let alive =
            |owner: &&Owner| owner.generation != 0 && self.roster.threads[owner.thread].pid == vcpu.pid;
        let mut siblings = self.owners.iter().enumerate().filter(|(_, owner)| alive(owner));
        if let Some((_, owner)) = siblings.find(|(index, _)| self.vcpus.state(*index).0 == state::LIVE) {
            return self.roster.threads[owner.thread].vm.clone();
        }
        if vms::exists(vcpu.pid) {
            return vms::name_of(vcpu.pid);
        }
        // Gone before it was looked at; the kernel noted the name of the thread.
        let comm = vcpu.comm.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(comm).into_owned()
    }

    fn read_slot(&mut self, index: usize, done: u64, interval: &mut Interval) -> Result<()> {
        let known = self.known[index].get_or_insert_with(|| {
            Box::new(Known { done: 0, sum_ns: 0, late: NO_EXTREMES, buckets: [0; BUCKETS] })
        });
        let owner = self.slots.owner(index);
        // Read before the samples are taken: a thread that is dead now writes no more.
        let dead = self.vcpus.state(owner).0 == state::DEAD;
        let done = if dead { self.slots.done(index).unwrap_or(done) } else { done };
        if done != known.done {
            let Some(taken) = self.slots.take(index, &mut self.copy, &mut known.late) else {
                // The writer was too busy; the next reading takes all.
                return Ok(());
            };
            let (copy, start) = (&*self.copy, interval.buckets.len());
            let count = copy.done.checked_sub(known.done).context("bug: a slot's count went back")?;
            let sum_ns = copy.sum_ns.checked_sub(known.sum_ns).context("bug: a slot's sum went back")?;
            let mut in_buckets = 0;
            for (bucket, (new, old)) in copy.buckets.iter().zip(&mut known.buckets).enumerate() {
                if *new != *old {
                    let samples = u64::from(new.wrapping_sub(*old));
                    interval.buckets.push((bucket as u16, samples));
                    in_buckets += samples;
                    *old = *new;
                }
            }
            ensure!(
                in_buckets == count,
                "bug: slot {index} gained {count} samples, its buckets {in_buckets}"
            );
            (known.done, known.sum_ns) = (copy.done, copy.sum_ns);
            let (isa, code) = (Isa(copy.isa), copy.code);
            let buckets = start..interval.buckets.len();
            let thread = self.meet(owner);
            let (min_ns, max_ns) = extremes(&taken, &interval.buckets[start..], count, sum_ns);
            let (detail, parts) = (0, Parts::default());
            interval.cells.push(Cell {
                thread,
                isa,
                code,
                detail,
                count,
                sum_ns,
                min_ns,
                max_ns,
                parts,
                buckets,
            });
        }
        if dead {
            self.known[index] = None;
            self.slots.clear(index);
            self.free_slots.push(index as u32, 0).context("cannot hand back a slot")?;
        }
        Ok(())
    }

    fn read_vcpu(&mut self, index: usize, interval: &mut Interval) -> Result<()> {
        let (vcpu_state, _) = self.vcpus.state(index);
        if vcpu_state == state::FREE {
            return Ok(());
        }
        let thread = self.meet(index);
        let vcpu = self.vcpus.copy(index);
        let owner = &mut self.owners[index];
        for (cause, loss) in losses::PER_VCPU {
            let (now, before) = (vcpu.lost[cause as usize], &mut owner.lost[cause as usize]);
            interval.losses.add(loss, now.checked_sub(*before).context("bug: a loss counter went back")?);
            *before = now;
        }
        if vcpu_state == state::DEAD {
            // Its slots went back in this reading or, if it died during it, go in the next.
            if !self.slots_left(index) {
                interval.losses.add(Loss::DiedInExit, u64::from(vcpu.open_ns != 0));
                self.vcpus.recycle(index);
                self.free_vcpus.push(index as u32, 0).context("cannot hand back a vCPU entry")?;
            }
        } else if (1..=interval.end_ns).contains(&vcpu.open_ns) {
            // An exit that began after the interval's end, while it was read, belongs to the next.
            let age_ns = interval.end_ns - vcpu.open_ns;
            interval.open.push(OpenExit { thread, isa: Isa(vcpu.open_isa), code: vcpu.open_code, age_ns });
        }
        Ok(())
    }

    fn slots_left(&self, owner: usize) -> bool {
        (0..self.slots.len()).any(|slot| self.slots.done(slot).is_some() && self.slots.owner(slot) == owner)
    }

    fn read_global(&mut self, interval: &mut Interval, missed: u64) -> Result<()> {
        let mut now = Losses::default();
        for (cause, loss) in GLOBAL {
            let per_cpu = self.lost.get(&(cause as u32), 0).context("cannot read the loss counters")?;
            now.add(loss, per_cpu.iter().sum());
        }
        now.add(Loss::MissedRuns, missed);
        interval.losses.merge(&now.since(&self.global_before));
        self.global_before = now;
        Ok(())
    }
}

/// The extremes of new samples. A sample that went to an epoch already taken (see [`Mapped::take`]) may be
/// missing from `taken`; its bucket is not, so the extremes are widened to the bounds of the outermost buckets.
fn extremes(taken: &Taken, buckets: &[(u16, u64)], count: u64, sum_ns: u64) -> (u64, u64) {
    if count == 1 {
        return (sum_ns, sum_ns);
    }
    let bounds = |bucket: Option<&(u16, u64)>| bucket.map(|(bucket, _)| bounds_of(usize::from(*bucket)));
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
