//! Turns the maps into intervals. A reading stops no writer. It makes no system call for a slot or vCPU of a
//! live thread, unless it waits for a writer that stopped in the middle of an update. It allocates only for
//! new slots and vCPUs, and for slots whose samples leave the range of buckets used so far.

mod meet;

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, Stack},
};
use tracer_ebpf::{
    abi::{self, Held, NOBODY, Slot, SlotKey, Tally, Vcpu, state, table},
    loss::{self, PerVcpu},
    pairing,
    part::Part,
    subkey, symbols,
};

use crate::{
    decode::decode,
    kernel::{
        crowding::{self, Crowding},
        host,
        mapped::{Mapped, Plain, PlainKey, Tallied},
        namespaces,
        origins::Origins,
        siblings::Siblings,
        tallies::{Tallies, fill},
        vms,
    },
    model::{
        self, Account, Interval, Loss, Losses, OpenExit, Thread, Threads, VcpuAccount,
        crowded::{Share, Table},
        losses,
    },
    snapshot::{
        self,
        accounting::{self, Times},
    },
};

/// What is remembered of a vCPU entry between readings.
#[derive(Clone, Debug, Default)]
struct Owner {
    generation: u32,
    /// The VM's process.
    pid: u32,
    thread: usize,
    lost: [u64; PerVcpu::COUNT],
    times: Times,
    /// It was dead before the slots were read, so all its slots have been handed back.
    gone: bool,
    /// The last reading got no consistent copy of its times.
    skipped: bool,
}

/// This many unused slots in a row end the scan: more than there are CPUs that could be about to publish one.
const UNUSED: usize = 1024;

/// So many places before a place is read it is fetched into the cache.
const AHEAD: usize = 2;

/// Retries for a slot whose writer was at work at every try, a millisecond apart: the writer has lost its
/// CPU, to a hypervisor or to firmware.
const PATIENCE: u32 = 50;

/// Runs of programs that the kernel skipped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Missed {
    /// Skipped runs of programs on exits, entries and ends of threads.
    pub exits: u64,
    /// Skipped runs of programs that tell the parts.
    pub parts: u64,
    /// Skipped runs of programs that the kernel should never skip.
    pub doubtful: u64,
}

/// Takes intervals out of the maps.
pub struct Reader {
    vcpus: Mapped<Vcpu>,
    slots: Tallies<Slot>,
    thin: Tallies<Tally>,
    held: Mapped<Held>,
    siblings: Siblings,
    crowding: Crowding,
    /// Programs that are loaded later refer to the maps by these descriptors.
    _maps: [MapData; 4],
    free_vcpus: Stack<MapData, u32>,
    slot_of: HashMap<MapData, PlainKey, u32>,
    lost: PerCpuArray<MapData, u64>,
    full: Array<MapData, u32>,
    /// How often the programs are still to be told that a table has free entries.
    reopen: [u8; table::COUNT as usize],
    measured: model::MeasuredParts,
    owners: Vec<Owner>,
    threads: Threads,
    /// Threads that the last interval reported as ended: their places are free from the next reading on.
    retiring: Vec<usize>,
    global_before: Losses,
    number: u64,
    last_ns: u64,
    /// Whether the kernel's pids are those of /proc.
    pids_fit: bool,
    origins: Origins,
}

/// The counters that belong to no vCPU.
const GLOBAL: [(loss::Global, Loss); loss::Global::COUNT] = [
    (loss::Global::VcpuTableFull, Loss::VcpuTableFull),
    (loss::Global::EarlyEntries, Loss::EarlyEntries),
    (loss::Global::ReadFailed, Loss::ReadFailed),
    (loss::Global::FilterFull, Loss::FilterFull),
    (loss::Global::VcpuQuota, Loss::VcpuQuota),
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
        let (thin, thin_map) =
            map_array(take(ebpf, symbols::TALLIES)?).context("cannot map the table of thin records")?;
        let (held, held_map) =
            map_array(take(ebpf, symbols::HELD)?).context("cannot map the table of quotas")?;
        let mut free_vcpus = Stack::try_from(take(ebpf, symbols::FREE_VCPUS)?)?;
        fill(&mut free_vcpus, vcpus.len())?;
        Ok(Self {
            owners: vec![Owner::default(); vcpus.len()],
            vcpus,
            slots: Tallies::new(slots, Stack::try_from(take(ebpf, symbols::FREE_SLOTS)?)?)?,
            thin: Tallies::new(thin, Stack::try_from(take(ebpf, symbols::FREE_TALLIES)?)?)?,
            held,
            siblings: Siblings::default(),
            crowding: Crowding::default(),
            _maps: [vcpu_map, slot_map, thin_map, held_map],
            free_vcpus,
            slot_of: HashMap::try_from(take(ebpf, symbols::SLOT_OF)?)?,
            lost: PerCpuArray::try_from(take(ebpf, symbols::LOST)?)?,
            full: Array::try_from(take(ebpf, symbols::FULL)?)?,
            reopen: [0; table::COUNT as usize],
            measured: model::MeasuredParts::default(),
            threads: Threads::default(),
            retiring: Vec::new(),
            global_before: Losses::default(),
            number: 0,
            last_ns: host::monotonic_ns(),
            pids_fit: !namespaces::is_pid_namespace(),
            origins: Origins::default(),
        })
    }

    /// The threads seen so far.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// The same, for what others find out about them.
    pub fn threads_mut(&mut self) -> &mut Threads {
        &mut self.threads
    }

    /// How many vCPUs share their hint with another, and how many there are: those take the slower way.
    pub fn sharing_hints(&self) -> (usize, usize) {
        let known = self.owners.iter().enumerate().filter(|(_, owner)| owner.generation != 0);
        let mut hints: Vec<_> =
            known.map(|(index, _)| abi::vcpu_hint(self.vcpus.copy(index).identity)).collect();
        hints.sort_unstable();
        let shared = hints.chunk_by(|one, other| one == other).filter(|alike| alike.len() > 1);
        (shared.map(<[_]>::len).sum(), hints.len())
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

    /// Fills `interval` with the samples since the last reading. `missed` is the kernel's count so far.
    /// Samples that cannot be read now are left for the next reading; at the `last` one they count as lost.
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
        ensure!(self.vcpus.state(NOBODY as usize).0 == state::FREE, "bug: nobody's entry is in use");
        self.greet();
        self.read_table(Self::slots, interval, last)?;
        self.read_table(Self::thin, interval, last)?;
        self.read_busy(interval, last)?;
        self.siblings.look(&self.vcpus, self.owners.iter().map(|owner| owner.pid));
        for index in 0..self.vcpus.len() {
            if self.owners[index].generation != 0 {
                self.read_vcpu(index, interval, last)?;
            }
        }
        self.reopen()?;
        self.read_global(interval, missed)?;
        self.origins.tidy(vms::exists);
        if interval.losses.get(Loss::VcpuTableFull) + interval.losses.get(Loss::VcpuQuota) != 0 {
            for (pid, lost) in self.crowding.refused(&self.held) {
                let vm = self.asked(pid).map_or_else(|| format!("pid {pid}"), |told| told.name);
                self.crowding.lost(Table::Vcpus, &Share::new(&vm, pid, lost));
            }
        }
        let (vcpus, owners, threads, slots) = (&self.vcpus, &self.owners, &self.threads, &self.slots);
        let named = |owner: &Owner| {
            let Thread { vm, pid, .. } = &threads.list[owner.thread];
            (vm.as_str(), *pid)
        };
        let crowded = self.crowding.take(|table| match table {
            Table::Vcpus => {
                let taken = owners.iter().filter(|owner| owner.generation != 0);
                (vcpus.len() as u64 - 1, crowding::shares(taken.map(named)))
            }
            Table::Slots => {
                let taken = (0..slots.used()).filter_map(|index| slots.owner(index));
                (slots.places() as u64, crowding::shares(taken.map(|owner| named(&owners[owner]))))
            }
        });
        self.threads.crowded = crowded;
        Ok(())
    }

    fn slots(&mut self) -> (&mut Tallies<Slot>, u32) {
        (&mut self.slots, table::SLOTS)
    }

    fn thin(&mut self) -> (&mut Tallies<Tally>, u32) {
        (&mut self.thin, table::TALLIES)
    }

    fn read_table<T: Tallied>(
        &mut self,
        of: fn(&mut Self) -> (&mut Tallies<T>, u32),
        interval: &mut Interval,
        last: bool,
    ) -> Result<()> {
        let mut unused = 0;
        for index in of(self).0.numbers() {
            of(self).0.expect(index + AHEAD);
            match of(self).0.owner(index) {
                Some(owner) => self.read_tally(of, index, owner, interval, last)?,
                // Places are handed out from the lowest on, and returned ones first: behind a long run of
                // unused places none was used. A single unused one may be about to be published.
                None if index >= of(self).0.used() => {
                    unused += 1;
                    if unused > UNUSED {
                        break;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Waits for the slots that were being written to.
    fn read_busy(&mut self, interval: &mut Interval, last: bool) -> Result<()> {
        for _ in 0..PATIENCE {
            let (slots, thin) = (self.slots.take_busy(), self.thin.take_busy());
            if slots.is_empty() && thin.is_empty() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
            for index in slots {
                self.read_again(Self::slots, index, interval, last)?;
            }
            for index in thin {
                self.read_again(Self::thin, index, interval, last)?;
            }
        }
        if last {
            self.slots.give_up_busy(interval);
            self.thin.give_up_busy(interval);
        } else {
            // The next reading visits all of them anyway.
            self.slots.take_busy();
            self.thin.take_busy();
        }
        Ok(())
    }

    fn read_again<T: Tallied>(
        &mut self,
        of: fn(&mut Self) -> (&mut Tallies<T>, u32),
        index: usize,
        interval: &mut Interval,
        last: bool,
    ) -> Result<()> {
        match of(self).0.owner(index) {
            Some(owner) => self.read_tally(of, index, owner, interval, last),
            None => Ok(()),
        }
    }

    /// Tells the programs that a table has free entries again, at two readings: a program that just found the
    /// table empty may mark it as full after the first.
    fn reopen(&mut self) -> Result<()> {
        for (table, times) in (0..).zip(&mut self.reopen).filter(|(_, times)| **times > 0) {
            self.full.set(table, 0, 0).context("cannot say that a table has free entries")?;
            *times -= 1;
        }
        Ok(())
    }

    /// Looks at new vCPUs, so that the name of a VM that ends before the next reading is known.
    pub fn greet(&mut self) {
        let mut unused = 0;
        for index in 0..self.vcpus.len() {
            let (state, generation) = self.vcpus.state(index);
            if state != state::FREE {
                self.meet(index);
            } else if generation == 0 {
                // One alone may be about to be published, as with slots.
                unused += 1;
                if unused > UNUSED {
                    break;
                }
            }
            self.owners[index].gone = state == state::DEAD;
        }
        let (vcpus, owners) = (&mut self.vcpus, &self.owners);
        self.siblings.link(vcpus, owners.iter().map(|owner| owner.pid));
    }

    /// Reads a slot or thin record, and takes it back if its thread has ended.
    fn read_tally<T: Tallied>(
        &mut self,
        of: fn(&mut Self) -> (&mut Tallies<T>, u32),
        index: usize,
        owner: usize,
        interval: &mut Interval,
        last: bool,
    ) -> Result<()> {
        let thread = self.meet(owner);
        // Read before the samples are taken: a thread that is dead now writes no more.
        let dead = self.vcpus.state(owner).0 == state::DEAD;
        let (tallies, table) = of(self);
        if !tallies.read(index, thread, last, interval)? || !dead {
            return Ok(());
        }
        let Tally { isa, code, subkey, .. } = tallies.free(index)?;
        // The slot of the guest intervals is noted in the vCPU's entry.
        if subkey != 0 && subkey::kind_of(subkey) != subkey::kind::GUEST {
            let key = SlotKey { vcpu: owner as u32, isa, code, pad: 0, subkey };
            self.slot_of.remove(&PlainKey(key)).context("cannot forget the slot of a cause")?;
        }
        self.held.give_back(self.owners[owner].pid, table);
        self.reopen[table as usize] = 2;
        Ok(())
    }

    fn read_vcpu(&mut self, index: usize, interval: &mut Interval, last: bool) -> Result<()> {
        let (now, generation) = self.vcpus.state(index);
        if now == state::FREE || self.owners[index].generation != generation {
            return Ok(());
        }
        let (vcpu, copied_ns, consistent) = accounting::copy(|| self.vcpus.copy(index), host::monotonic_ns);
        let vcpu_state = vcpu.state;
        let owner = &mut self.owners[index];
        let thread = owner.thread;
        for (cause, loss) in losses::PER_VCPU {
            let (now, before) = (vcpu.lost[cause as usize], &mut owner.lost[cause as usize]);
            interval.losses.add(loss, now.checked_sub(*before).context("bug: a loss counter went back")?);
            let lost = now - *before;
            *before = now;
            let table = match cause {
                PerVcpu::SlotTableFull | PerVcpu::SlotQuota if lost != 0 => Table::Slots,
                _ => continue,
            };
            let Thread { vm, pid, .. } = &self.threads.list[thread];
            self.crowding.lost(table, &Share::new(vm, *pid, lost));
        }
        let (isa, code) = (vcpu.open_isa, vcpu.open_code);
        // A dead thread has no time after its end.
        let until_ns = match vcpu_state {
            state::DEAD => vcpu.breakdown.since_ns,
            // The thread has run another vCPU since.
            state::PARKED => pairing::stamp_ns(&vcpu),
            _ => copied_ns,
        };
        // A thread that changed its entry at every try is left for the next reading, which covers both
        // intervals. It is left only once: otherwise time that does not add up would never show.
        if consistent || vcpu_state == state::DEAD || owner.skipped || last {
            let sched = self.measured.has(Part::Runqueue);
            let idle = decode(isa, code).idle;
            let paused_ns = self.siblings.paused_since_ns(vcpu.pid, until_ns);
            let until_ns = until_ns.max(owner.times.until_ns);
            let times = accounting::add_up(&vcpu, idle, sched, paused_ns, until_ns);
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
            self.owners[index].pid = 0;
            self.held.give_back(vcpu.pid, table::VCPUS);
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
        now.add(Loss::DoubtfulRuns, missed.doubtful);
        interval.losses.merge(&now.since(&self.global_before));
        self.global_before = now;
        Ok(())
    }
}

/// Maps an array into memory. aya has no call for it, but gives the descriptor.
fn map_array<T: Plain>(map: Map) -> Result<(Mapped<T>, MapData)> {
    let Map::Array(data) = map else { bail!("it is no array") };
    let len = data.info()?.max_entries();
    Ok((Mapped::new(data.fd(), len)?, data))
}
