//! A host whose VMs live for one interval each, as a source of snapshots.

use anyhow::Result;
use tracer_ebpf::histogram::bucket_of;
use tracer_user::{
    decode::Isa,
    model::{Account, Cell, Interval, Parts, Thread, Threads, VcpuAccount},
    run::Source,
};

use crate::allocator::held;

/// VMs that come and go in a measurement.
pub const VMS: u64 = 100_000;
/// VMs that run at the same time.
pub const VMS_AT_ONCE: u64 = 100;
/// From this VM on nothing may grow.
const SETTLED: u64 = 10_000;

/// Exits of VMX that every VM has one of: its number chooses which.
const REASONS: u64 = 4;

/// The host.
#[derive(Default)]
pub struct Fleet {
    threads: Threads,
    snapshots: u64,
    born: u64,
    /// Places of the VMs that ended in the last snapshot.
    ended: Vec<usize>,
    settled: isize,
    end: isize,
}

impl Fleet {
    /// Bytes held at the end, less those when the measurement had settled.
    pub fn growth(&self) -> isize {
        assert_eq!(self.born, VMS, "every VM has come");
        self.end - self.settled
    }

    /// A new VM; its place among the threads.
    fn add(&mut self) -> usize {
        self.born += 1;
        let number = self.born as u32;
        self.threads.add(Thread {
            pid: number,
            tid: number,
            vcpu: Some(0),
            vm: format!("guest-{number}"),
            host: None,
        })
    }
}

impl Source for Fleet {
    fn discover(&mut self) -> Result<()> {
        Ok(())
    }

    fn snapshot(&mut self, interval: &mut Interval) -> Result<()> {
        match self.born {
            SETTLED => self.settled = held(),
            VMS => self.end = held(),
            _ => {}
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
        if self.born == VMS {
            return Ok(());
        }
        for _ in 0..VMS_AT_ONCE {
            let place = self.add();
            interval.ended.push(place);
            self.ended.push(place);
            let ns = 1000 + self.born % 5000;
            let begin = interval.buckets.len();
            interval.buckets.push((bucket_of(ns) as u16, 1));
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
                buckets: begin..begin + 1,
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
