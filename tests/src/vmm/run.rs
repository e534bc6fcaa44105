//! The loop of a vCPU thread: enter the guest, handle its exit, enter again.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::{VcpuExit, VcpuFd};
use serde_json::{Value, json};

use super::code::{DONE_PORT, IO_PORT};
use super::kick::Lock;
use super::plan::{Exits, Kind, Plan, by_code_json};
use super::sys;
use super::vm::Vcpu;

/// How often a vCPU that may not start yet looks again.
const START_POLL: Duration = Duration::from_micros(50);

/// What the VMM does on exits to the `io` port before it enters the guest again.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Sleep this long.
    pub sleep: Duration,
    /// Compute this long.
    pub spin: Duration,
    /// Sleep and compute only on every so many-th exit; 0 and 1: on every exit.
    pub slow_every: u64,
    /// Read MSRs of the vCPU before sleeping and computing, as a monitor does.
    pub read_msrs: bool,
    /// Stop on every port exit, the N-th, until a file of this name with `.N.out` exists; say so by one with
    /// `.N.in`.
    pub gate: Option<PathBuf>,
    /// Every second call of KVM_RUN is made by a thread of its own. The vCPU's thread lives on meanwhile.
    pub hand_over: bool,
    /// Move to the next of these CPUs; empty: stay.
    pub migrate: Vec<usize>,
    /// Wait for this whenever a signal has ended KVM_RUN.
    pub lock: Option<Arc<Lock>>,
    /// Call KVM_RUN again and again in a way that it returns before it enters the guest; for ever.
    pub never_enter: bool,
}

/// What the VMM saw of a vCPU that has finished.
#[derive(Clone, Debug)]
pub struct Outcome {
    machine: u32,
    id: u32,
    tid: i32,
    seen: Seen,
    expected: Exits,
    rounds: u64,
    started: u64,
    finished: u64,
    kvm_stats: Value,
}

/// The counts of the loop.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    io: u64,
    mmio: u64,
    hlt: u64,
    interrupted: u64,
    lock_wait_ns: u64,
    slow: u64,
    sleep_ns: u64,
    spin_ns: u64,
    migrations: u64,
}

impl Seen {
    fn exits(&self) -> u64 {
        self.io + self.mmio + self.hlt
    }
}

/// The ways in which a guest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GuestEnd {
    /// A write to the "done" port.
    Done,
    /// An exception while an exception was handled, twice: the processor gives up.
    TripleFault,
}

impl Vcpu {
    /// Waits until it may start, then runs the guest until it is done. The last exit has no entry.
    ///
    /// # Errors
    /// If KVM fails or the guest does what is not in its plan.
    pub fn run(&mut self, plan: &Plan, behaviour: &Behaviour) -> Result<Outcome> {
        while !self.may_start() {
            thread::sleep(START_POLL);
        }
        if !plan.uses(Kind::Io) {
            behaviour.runs();
        }
        let mut seen = Seen::default();
        let started = sys::now_ns();
        let end = self.run_guest(behaviour, &mut seen).with_context(|| format!("vCPU {}", self.id))?;
        let finished = sys::now_ns();

        let (rounds, handlers_writes) = match end {
            GuestEnd::Done => {
                let registers = self.fd.get_regs().context("cannot read registers")?;
                (registers.r14, registers.r13 + registers.r12)
            }
            // A triple fault makes KVM reset the registers. A guest that ends so has no timer.
            GuestEnd::TripleFault => {
                ensure!(plan.triple_fault(), "vCPU {}: a triple fault that was not planned", self.id);
                (plan.rounds(), 0)
            }
        };
        let expected = plan.exits(rounds, handlers_writes);
        ensure!(
            (seen.io, seen.mmio, seen.hlt) == (expected.io, expected.mmio, expected.hlt),
            "vCPU {}: {rounds} rounds should make {expected:?}, but the VMM saw {seen:?}",
            self.id
        );
        let kvm_stats = self.stats.read()?;
        Ok(Outcome {
            machine: self.machine,
            id: self.id,
            tid: sys::thread_id(),
            seen,
            expected,
            rounds,
            started,
            finished,
            kvm_stats,
        })
    }

    fn run_guest(&mut self, behaviour: &Behaviour, seen: &mut Seen) -> Result<GuestEnd> {
        let mmio_address = self.mmio_address();
        // Read by KVM_RUN before it enters the guest: it returns with EINTR.
        self.fd.set_kvm_immediate_exit(u8::from(behaviour.never_enter));
        let mut calls = 0u64;
        loop {
            calls += 1;
            let exit = if behaviour.hand_over && calls.is_multiple_of(2) {
                let other = thread::scope(|scope| scope.spawn(|| self.fd.run()).join());
                other.map_err(|_| anyhow!("the thread that ran the vCPU panicked"))?
            } else {
                self.fd.run()
            };
            match exit {
                Ok(VcpuExit::IoOut(IO_PORT, _)) => {
                    seen.io += 1;
                    if seen.io == 1 {
                        behaviour.runs();
                    }
                    if behaviour.read_msrs {
                        read_msrs(&self.fd)?;
                    }
                    behaviour.act(seen)?;
                }
                Ok(VcpuExit::IoOut(DONE_PORT, _)) => {
                    seen.io += 1;
                    return Ok(GuestEnd::Done);
                }
                Ok(VcpuExit::Shutdown) => return Ok(GuestEnd::TripleFault),
                Ok(VcpuExit::MmioRead(address, _)) if address == mmio_address => seen.mmio += 1,
                Ok(VcpuExit::Hlt) => seen.hlt += 1,
                Ok(VcpuExit::Intr) => behaviour.interrupted(self.id, seen),
                Err(error) if error.errno() == libc::EINTR => behaviour.interrupted(self.id, seen),
                Ok(exit) => bail!("unexpected exit: {exit:x?}"),
                Err(error) => return Err(error).context("KVM_RUN"),
            }
        }
    }
}

/// Reads MSRs by an ioctl of the vCPU, as a monitor's `info registers` does.
fn read_msrs(vcpu: &VcpuFd) -> Result<()> {
    const EFER: u32 = 0xc000_0080;
    const STAR: u32 = 0xc000_0081;
    let entries = [EFER, STAR].map(|index| kvm_msr_entry { index, ..Default::default() });
    let mut msrs = Msrs::from_entries(&entries).context("a list of two MSRs")?;
    let read = vcpu.get_msrs(&mut msrs).context("cannot read MSRs")?;
    ensure!(read == entries.len(), "KVM read {read} of {} MSRs", entries.len());
    Ok(())
}

impl Behaviour {
    /// Tells that a vCPU runs its guest: from its first port exit on, if it has any. A tracer knows it
    /// then.
    fn runs(&self) {
        if let Some(lock) = &self.lock {
            lock.start();
        }
    }

    /// Does what is to be done when a signal has ended KVM_RUN.
    fn interrupted(&self, vcpu: u32, seen: &mut Seen) {
        seen.interrupted += 1;
        seen.lock_wait_ns += self.lock.as_ref().map_or(0, |lock| lock.wait(vcpu));
    }

    /// Does what is to be done on the port exit just counted.
    fn act(&self, seen: &mut Seen) -> Result<()> {
        if let Some(gate) = &self.gate {
            let file = |side: &str| PathBuf::from(format!("{}.{}.{side}", gate.display(), seen.io));
            fs::write(file("in"), "").with_context(|| format!("cannot write {}", file("in").display()))?;
            sys::wait_for_file(&file("out"));
        }
        if seen.io.is_multiple_of(self.slow_every.max(1)) && !(self.sleep + self.spin).is_zero() {
            seen.slow += 1;
            if !self.sleep.is_zero() {
                let start = sys::now_ns();
                thread::sleep(self.sleep);
                seen.sleep_ns += sys::now_ns() - start;
            }
            if !self.spin.is_zero() {
                let start = sys::now_ns();
                while u128::from(sys::now_ns() - start) < self.spin.as_nanos() {}
                seen.spin_ns += sys::now_ns() - start;
            }
        }
        if !self.migrate.is_empty() {
            sys::move_to_cpu(self.migrate[(seen.io % self.migrate.len() as u64) as usize])?;
            seen.migrations += 1;
        }
        Ok(())
    }
}

impl Outcome {
    /// The numbers of its virtual machine in the process and of the vCPU.
    pub fn number(&self) -> (u32, u32) {
        (self.machine, self.id)
    }

    /// The oracle for this vCPU.
    pub fn json(&self) -> Value {
        let Self { machine, id, tid, seen, expected, rounds, started, finished, kvm_stats } = self;
        json!({
            "machine": machine,
            "id": id,
            "tid": tid,
            "rounds": rounds,
            "expected": expected.json(),
            "svm": by_code_json(&expected.svm()),
            "vmx": by_code_json(&expected.vmx()),
            "unpaired_exits": 1,
            "userspace_exits": seen.exits(),
            "interrupted": seen.interrupted,
            "lock_wait_ns_total": seen.lock_wait_ns,
            "io_slow": seen.slow,
            "io_sleep_ns_total": seen.sleep_ns,
            "io_spin_ns_total": seen.spin_ns,
            "migrations": seen.migrations,
            "started": started,
            "finished": finished,
            "wall_ns": finished - started,
            "kvm_stats": kvm_stats,
        })
    }
}
