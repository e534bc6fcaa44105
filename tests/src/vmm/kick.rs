//! vCPUs that leave KVM_RUN because of a signal, and then wait for a lock of their VMM.
//!
//! QEMU kicks a vCPU whenever another of its threads needs it: for a short time, to change what the vCPU must
//! not see half changed, or all of them for a long time, when the VM is paused.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::sys;
use super::vm::StopHandle;

/// How long a kick may take before it is repeated: the vCPU may just have been on its way into KVM_RUN.
const REPEAT: Duration = Duration::from_millis(10);

/// What is done to the vCPUs of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kicks {
    /// How often the vCPUs are kicked.
    pub times: u64,
    /// How long the lock is held from the moment on when every kicked vCPU has left KVM_RUN.
    pub hold: Duration,
    /// All vCPUs are kicked, not only the first.
    pub all: bool,
}

/// The lock, and what the vCPUs did about it.
#[derive(Debug)]
pub struct Lock {
    /// Whether it is held. Waiters sleep at once: a mutex spins before, and each turn of that may take as
    /// long as the other CPU's turn where one thread emulates both.
    held: Mutex<bool>,
    free: Condvar,
    /// How many vCPUs run their guests. One that waits for the lock before would keep the next from its
    /// start.
    running: AtomicUsize,
    /// By vCPU: how often it came from KVM_RUN to the lock, and how often it has got it.
    came: Vec<AtomicU64>,
    got: Vec<AtomicU64>,
}

impl Lock {
    /// For so many vCPUs.
    pub fn new(vcpus: u32) -> Self {
        let counters = || (0..vcpus).map(|_| AtomicU64::new(0)).collect();
        let held = Mutex::new(false);
        let running = AtomicUsize::new(0);
        Self { held, free: Condvar::new(), running, came: counters(), got: counters() }
    }

    /// What a vCPU does when it runs its guest, or is about to.
    pub fn start(&self) {
        self.running.fetch_add(1, Ordering::Release);
    }

    /// What a vCPU does when a signal has made it leave KVM_RUN; returns how long it waited, in nanoseconds.
    pub fn wait(&self, vcpu: u32) -> u64 {
        let start = sys::now_ns();
        self.came[vcpu as usize].fetch_add(1, Ordering::Release);
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.free.wait_while(held, |held| *held).unwrap_or_else(PoisonError::into_inner));
        let waited = sys::now_ns() - start;
        self.got[vcpu as usize].fetch_add(1, Ordering::Release);
        waited
    }

    fn hold(&self, held: bool) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// Kicks the vCPUs with these threads, in order of their numbers, as told, once all run. Then ends their
    /// guests.
    ///
    /// # Errors
    /// If a signal cannot be sent.
    pub fn kick(&self, kicks: Kicks, tids: &[i32], stop: &StopHandle) -> Result<()> {
        while self.running.load(Ordering::Acquire) < tids.len() {
            thread::sleep(REPEAT);
        }
        let tids = if kicks.all { tids } else { &tids[..1] };
        for number in 1..=kicks.times {
            self.hold(true);
            loop {
                let late = |vcpu: &usize| self.came[*vcpu].load(Ordering::Acquire) < number;
                let late: Vec<usize> = (0..tids.len()).filter(late).collect();
                if late.is_empty() {
                    break;
                }
                late.iter().try_for_each(|&vcpu| sys::interrupt(tids[vcpu]))?;
                thread::sleep(REPEAT);
            }
            thread::sleep(kicks.hold);
            self.hold(false);
            self.free.notify_all();
            while (0..tids.len()).any(|vcpu| self.got[vcpu].load(Ordering::Acquire) < number) {
                thread::sleep(REPEAT);
            }
        }
        stop.stop();
        Ok(())
    }
}
