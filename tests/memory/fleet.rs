//! A host whose VMs, or whose vCPU threads, live for one interval each, as a source of snapshots.

use anyhow::Result;
use tracer_ebpf::histogram::bucket_of;
use tracer_user::{
    decode::Isa,
    model::{Account, Cell, Interval, Parts, Thread, Threads, VcpuAccount},
    run::Source,
};

use crate::allocator::held;

/// VMs or threads that come and go.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// How many VMs or threads there are in a measurement.
    pub total: u64,
    /// How many are alive at the same time.
    pub at_once: u64,
    /// From this one on nothing may grow.
    settled: u64,
    thread: fn(u32) -> Thread,
}

/// VMs of one thread each.
pub const VMS: Churn = Churn {
    total: 100_000,
    at_once: 100,
    settled: 10_000,
    thread: |number| named(number, number, 0, format!("guest-{number}")),
};

/// Threads of one VM, which runs on: its first thread stays.
pub const THREADS: Churn = Churn {
    total: 100_000,
    at_once: 1000,
    settled: 10_000,
    thread: |number| named(7, number, number % 16, "web".to_owned()),
};

fn named(pid: u32, tid: u32, vcpu: u32, vm: String) -> Thread {
    Thread { pid, tid, vcpu: Some(vcpu), vm, ..Thread::default() }
}

/// Exits of VMX that every VM has one of: its number chooses which.
const REASONS: u64 = 4;

/// The host.
pub struct Fleet {
    churn: Churn,
    threads: Threads,
    snapshots: u64,
    born: u64,
    /// Places of the threads that ended in the last snapshot.
    ended: Vec<usize>,
    settled: isize,
    end: isize,
}

impl Fleet {
    /// A host without VMs yet, but for one that stays.
    pub fn new(churn: Churn) -> Self {
        let mut threads = Threads::default();
        threads.add((churn.thread)(0));
        Self { churn, threads, snapshots: 0, born: 0, ended: Vec::new(), settled: 0, end: 0 }
    }

    /// Bytes held at the end, less those when the measurement had settled.
    pub fn growth(&self) -> isize {
        assert_eq!(self.born, self.churn.total, "all have come");
        self.end - self.settled
    }

    /// A new thread; its place among the threads.
    fn add(&mut self) -> usize {
        self.born += 1;
        self.threads.add((self.churn.thread)(self.born as u32))
    }
}

impl Source for Fleet {
    fn discover(&mut self) -> Result<()> {
        Ok(())
    }

    fn snapshot(&mut self, interval: &mut Interval) -> Result<()> {
        if self.born == self.churn.settled {
            self.settled = held();
        } else if self.born == self.churn.total {
            self.end = held();
        }
        interval.reset();
        self.snapshots += 1;
        interval.number = self.snapshots;
        interval.start_ns = interval.end_ns;
        interval.end_ns = self.snapshots * 1_000_000;
        interval.end_unix_ms = 1_700_000_000_000 + self.snapshots;
        // The snapshot before said that they end.
        for place in self.ended.drain(..) {
            self.threads.retire(place);
        }
        if self.born == self.churn.total {
            return Ok(());
        }
        for _ in 0..self.churn.at_once {
            let place = self.add();
            interval.ended.push(place);
            self.ended.push(place);
            let ns = 1000 + self.born % 5000;
            let buckets = interval.buckets.add_pairs(&[(bucket_of(ns) as u16, 1)]);
            let parts = Parts::default();
            interval.cells.push(Cell {
                thread: place,
                isa: Isa::VMX,
                code: (self.born % REASONS) as u32,
                subkey: 0,
                count: 1,
                sum_ns: ns,
                min_ns: ns,
                max_ns: ns,
                parts,
                buckets,
            });
            interval.vcpus.push(VcpuAccount {
                thread: place,
                account: Account {
                    elapsed_ns: 1_000_000,
                    guest_ns: 1_000_000 - ns,
                    parts,
                    ..Account::default()
                },
            });
        }
        Ok(())
    }

    fn last_snapshot(&mut self, interval: &mut Interval) -> Result<()> {
        self.snapshot(interval)
    }

    fn threads(&self) -> &Threads {
        &self.threads
    }
}
