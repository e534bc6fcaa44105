//! Variants of the lab's perf.data (`tests/fixtures/perf-6.1-svm.data.zst`, unpacked), as users bring them.
//! Records and attributes are changed in place, so everything else is as perf wrote it. The layouts are those
//! of the kernel's `perf.data-file-format.txt` and `perf_event.h`.

use std::ops::Range;

/// The kernel's record of lost events (`PERF_RECORD_LOST`).
const LOST: u32 = 2;
/// A record that readers ignore (`PERF_RECORD_THROTTLE`).
const THROTTLE: u32 = 5;
/// A record of a sample.
const SAMPLE: u32 = 9;
/// A type of record that nobody has defined.
const UNKNOWN: u32 = 17;

/// `type` of events: the kernel's hardware counters.
const HARDWARE: u32 = 0;
/// `PERF_SAMPLE_RAW`.
const RAW: u64 = 1 << 10;

/// The thread of the fixture's first vCPU, and how many of its events come before those that are lost: the
/// last of them is an exit.
const FIRST_VCPU: u64 = 114;
const LOST_AFTER: usize = 10;
/// How many events are lost.
pub const LOST_EVENTS: u64 = 60;

/// Where the fields of a sample are, from the start of its record: IDENTIFIER, IP, TID, TIME, CPU, PERIOD,
/// RAW.
mod sample {
    pub const ID: usize = 8;
    pub const PID: usize = 24;
    pub const TID: usize = 28;
    pub const TRACEPOINT: usize = 60;
    pub const EXIT_REASON: usize = 60 + 8;
}

/// The number of `kvm_exit`.
const KVM_EXIT: u64 = 1473;

/// A recording whose records can be changed.
#[derive(Clone, Debug)]
pub struct Patched {
    data: Vec<u8>,
}

impl Patched {
    /// The fixture, unpacked.
    pub fn new(fixture: Vec<u8>) -> Self {
        Self { data: fixture }
    }

    /// No event fired: what were samples are records of an unknown type.
    pub fn empty(self) -> Vec<u8> {
        self.each_sample(|record| put(record, 0, 4, u64::from(UNKNOWN)))
    }

    /// perf ran in a pid namespace that the VM was not in: the kernel writes 0 for its process and threads.
    pub fn pid_namespace(self) -> Vec<u8> {
        self.each_sample(|record| {
            put(record, sample::PID, 4, 0);
            put(record, sample::TID, 4, 0);
        })
    }

    /// The guest is a SEV-ES guest: it halts by VMGEXIT (0x403) and not by HLT (0x78).
    pub fn sev_es(self) -> Vec<u8> {
        self.each_sample(|record| {
            if is_exit(record) && get(record, sample::EXIT_REASON, 4) == 0x78 {
                put(record, sample::EXIT_REASON, 4, 0x403);
            }
        })
    }

    /// The last exit of the first vCPU is a SHUTDOWN (0x7f): its guest ended in a triple fault.
    pub fn triple_fault(mut self) -> Vec<u8> {
        let of_first = |range: &&Range<usize>| {
            let record = &self.data[(*range).clone()];
            is_exit(record) && get(record, sample::TID, 4) == FIRST_VCPU
        };
        let last = self.samples().iter().rfind(of_first).cloned().expect("it exits");
        put(&mut self.data[last], sample::EXIT_REASON, 4, 0x7f);
        self.data
    }

    /// perf also counted cycles, without the records that only tracepoints have. The samples of all events
    /// but exits and entries become samples of cycles.
    pub fn other_event(mut self) -> Vec<u8> {
        let attr = self.attrs().last().expect("there are events").start;
        put(&mut self.data, attr, 4, u64::from(HARDWARE));
        put(&mut self.data, attr + 8, 8, 0);
        let sample_type = get(&self.data, attr + 24, 8);
        put(&mut self.data, attr + 24, 8, sample_type & !RAW);
        // IDs go up by event and CPU: 21 and 22 are those of the last one.
        self.each_sample(|record| {
            if (15..=20).contains(&get(record, sample::ID, 8)) {
                put(record, sample::ID, 8, 21);
            }
        })
    }

    /// [`LOST_EVENTS`] events of the first vCPU in a row are lost, and the kernel says so in place of the
    /// last of them. They begin with an entry, and an entry follows them.
    pub fn lost(mut self) -> Vec<u8> {
        let of_first = |range: &Range<usize>| get(&self.data[range.clone()], sample::TID, 4) == FIRST_VCPU;
        let events = self.samples().into_iter().filter(of_first);
        let gone: Vec<_> = events.skip(LOST_AFTER).take(LOST_EVENTS as usize).collect();
        for range in &gone {
            put(&mut self.data[range.clone()], 0, 4, u64::from(THROTTLE));
        }
        // The event and the number of those that are lost; then as `sample_id_all` has it thread, time and
        // CPU, which stand where a sample has them.
        let record = &mut self.data[gone.last().expect("there are some").clone()];
        put(record, 0, 4, u64::from(LOST));
        put(record, 16, 8, LOST_EVENTS);
        self.data
    }

    fn each_sample(mut self, change: impl Fn(&mut [u8])) -> Vec<u8> {
        for range in self.samples() {
            change(&mut self.data[range]);
        }
        self.data
    }

    /// The records of samples, in the order of the file.
    fn samples(&self) -> Vec<Range<usize>> {
        let mut at = get(&self.data, 40, 8) as usize;
        let end = at + get(&self.data, 48, 8) as usize;
        let mut found = Vec::new();
        while at < end {
            let next = at + get(&self.data, at + 6, 2) as usize;
            if get(&self.data, at, 4) == u64::from(SAMPLE) {
                found.push(at..next);
            }
            at = next;
        }
        found
    }

    /// The attributes of the events.
    fn attrs(&self) -> Vec<Range<usize>> {
        let size = get(&self.data, 16, 8) as usize;
        let start = get(&self.data, 24, 8) as usize;
        let end = start + get(&self.data, 32, 8) as usize;
        (start..end).step_by(size).map(|at| at..at + size).collect()
    }
}

fn is_exit(record: &[u8]) -> bool {
    get(record, sample::TRACEPOINT, 2) == KVM_EXIT
}

fn get(data: &[u8], at: usize, size: usize) -> u64 {
    data[at..at + size].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn put(data: &mut [u8], at: usize, size: usize, value: u64) {
    data[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}
