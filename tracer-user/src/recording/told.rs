//! What the lines of a recording have told so far, and what they must fulfil, whatever their schema.

use std::collections::HashMap;

use tracer_ebpf::part::Part;

use crate::{
    decode::Isa,
    model::{Account, Cell, Interval, Known, Loss, Parts, Thread, Threads, VcpuAccount, VmId, kinds},
};

/// Bytes of memory that a thread takes besides its names.
const THREAD_BYTES: usize = 128;
/// Bytes of memory that a fact takes besides its value.
const FACT_BYTES: usize = 64;
/// Limit of the memory for threads, their names and what is known about their VMs, in bytes. Some 350,000 VMs
/// of a thread each fit, as many as a host with short-lived VMs has in days.
const MAX_THREAD_BYTES: usize = 1 << 28;
/// Limit of distinct exit reasons: four times as many as the kernel side can hold.
const MAX_CELLS: usize = 1 << 22;
/// Limit of the memory of an interval's filled buckets.
const MAX_BUCKET_BYTES: usize = 1 << 28;

/// What a line is to its interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to an interval.
    More,
    /// The end of an interval.
    Interval,
    /// It belongs to no interval.
    Other,
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct End {
    /// Intervals that were written.
    pub intervals: u64,
    /// Why recording ended.
    pub why: String,
}

/// What a recording has told beside its intervals.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub threads: Threads,
    index_of: HashMap<Thread, usize>,
    thread_bytes: usize,
    /// What the first line of a VM's thread has told about the VM.
    known: HashMap<VmId, Known>,
    /// The host of lines that name none.
    pub host: Option<String>,
    pub end: Option<End>,
    /// Lines and losses of unknown kinds.
    pub skipped: u64,
}

impl Told {
    /// The index of a thread, a new one if need be.
    pub fn thread(&mut self, thread: Thread) -> usize {
        let host = thread.host.or_else(|| self.host.clone());
        let mut thread = Thread { host, ..thread };
        let vm = thread.vm_id();
        match self.known.get(&vm) {
            Some(known) => thread.known = known.clone(),
            None => {
                let facts = thread.known.facts().map(|(_, fact)| FACT_BYTES + fact.value.len());
                let names = thread.vm.len() + thread.host.as_ref().map_or(0, String::len);
                self.thread_bytes += THREAD_BYTES + names + facts.sum::<usize>();
                self.known.insert(vm, thread.known.clone());
            }
        }
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

    /// Adds a loss.
    pub fn lost(&mut self, name: &str, count: u64, interval: &mut Interval) {
        match Loss::from_name(name) {
            Some(cause) => interval.losses.add(cause, count),
            None => self.skipped += 1,
        }
    }

    /// Memory stays bounded, however long the input.
    pub fn within_bounds(&self, interval: &Interval) -> Result<(), String> {
        let limits = [
            (self.thread_bytes, MAX_THREAD_BYTES, "bytes of threads and names"),
            (interval.cells.len(), MAX_CELLS, "slots in an interval"),
            (interval.open.len(), MAX_CELLS, "open exits in an interval"),
            (interval.last_exits.len(), MAX_CELLS, "last exits in an interval"),
            (interval.vcpus.len(), MAX_CELLS, "vCPUs in an interval"),
            (interval.buckets.bytes(), MAX_BUCKET_BYTES, "bytes of filled buckets in an interval"),
        ];
        match limits.into_iter().find(|(found, limit, _)| found > limit) {
            Some((_, limit, what)) => Err(format!("the recording has more than {limit} {what}")),
            None => Ok(()),
        }
    }
}

/// The samples of a slot, without its buckets.
pub(super) struct Samples {
    pub thread: usize,
    pub isa: Isa,
    pub code: u32,
    pub subkey: u64,
    pub count: u64,
    pub sum_ns: u64,
    pub min_ns: u64,
    pub max_ns: u64,
    pub parts: Parts,
}

impl Samples {
    /// Adds them to an interval. `buckets` appends those of the slot's histogram.
    pub fn add(
        self,
        interval: &mut Interval,
        no_hist: bool,
        buckets: impl FnOnce(&mut Vec<(u16, u32)>) -> Result<(), String>,
    ) -> Result<Step, String> {
        let Self { thread, isa, code, subkey, count, sum_ns, min_ns, max_ns, mut parts } = self;
        // In 128 bits: no count is refused because a product overflows.
        let times = |ns: u64| u128::from(count) * u128::from(ns);
        let within = (times(min_ns)..=times(max_ns)).contains(&u128::from(sum_ns));
        if count == 0 || min_ns > max_ns || sum_ns < max_ns || !within {
            return Err("count, sum, min and max do not go together".into());
        }
        let thin = no_hist && tracer_ebpf::subkey::is_thin(subkey);
        let buckets = interval.buckets.collect(|found| if thin { Ok(()) } else { buckets(found) })?;
        if kinds::is_exit(subkey) && parts == Parts::default() {
            parts.add(Part::Kernel, sum_ns);
        }
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
        Ok(Step::More)
    }
}

/// Adds where a vCPU's time went to an interval.
pub(super) fn add_account(thread: usize, account: Account, interval: &mut Interval) -> Result<Step, String> {
    let told_ns = account.guest_ns.checked_add(account.parts.total_ns());
    if told_ns.is_none_or(|told_ns| told_ns > account.elapsed_ns) {
        return Err("a vCPU's time is more than has passed".into());
    }
    interval.vcpus.push(VcpuAccount { thread, account });
    Ok(Step::More)
}
