//! One virtual machine as a process of its own, looking as under QEMU: threads "CPU n/KVM", a name in its
//! arguments.
//!
//! It is driven over its standard input by lines ([`GO`], [`STOP`]) and says on its standard output, in one
//! JSON line each, that it is ready and that its guests are done. It ends when its standard input does.

use std::io::{BufRead, Write};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::kick::{Kicks, Lock};
use super::plan::Plan;
use super::run::{Behaviour, Outcome};
use super::sys;
use super::vm::{self, Vcpu};

/// The line that lets the guests run.
pub const GO: &str = "go";
/// The line that makes the guests end after their current round.
pub const STOP: &str = "stop";

/// Enough for the loop of a vCPU, also with 512 of them.
const STACK_SIZE: usize = 256 << 10;

/// What a virtual machine is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// What each vCPU does.
    pub plan: Plan,
    /// How many vCPUs there are.
    pub vcpus: u32,
    /// How long a `khlt` sleeps, in nanoseconds.
    pub khlt_ns: u32,
    /// What the VMM does on port exits.
    pub behaviour: Behaviour,
    /// How its vCPUs are kicked; they wait for their lock then.
    pub kicks: Option<Kicks>,
    /// The CPU for each vCPU, used in turns; empty: any.
    pub pin: Vec<usize>,
    /// Run all vCPUs one after the other in one thread.
    pub single_thread: bool,
    /// End each vCPU thread in its last exit.
    pub die_in_exit: bool,
}

/// Events that the main thread receives.
enum Event {
    /// A vCPU's thread exists.
    Started { vcpu: u32, tid: i32 },
    /// A vCPU is done. It comes along if its thread ends now.
    Ended(Result<Box<Outcome>>, Option<Vcpu>),
    /// A line on standard input.
    Line(String),
    /// The end of standard input.
    Closed,
}

/// What the vCPU threads may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Wait,
    Run,
    End,
}

/// Where the vCPU threads wait.
#[derive(Debug)]
struct Gate {
    phase: Mutex<Phase>,
    changed: Condvar,
}

impl Gate {
    fn wait_for(&self, phase: Phase) {
        let guard = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(guard, |current| *current < phase));
    }

    fn open(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.changed.notify_all();
    }
}

/// Runs a virtual machine, driven by the lines of `input`.
///
/// # Errors
/// If it cannot be made, if a guest does what it should not, or if the input ends too early.
pub fn serve(config: &Config, input: impl BufRead + Send + 'static) -> Result<()> {
    sys::let_sigusr1_interrupt()?;
    let (_vm, vcpus, stop) = vm::create(&config.plan, config.vcpus, config.khlt_ns)?;
    let (events, inbox) = mpsc::channel();
    let kicker = config.kicks.map(|kicks| (kicks, Arc::new(Lock::new(config.vcpus))));
    let mut config = config.clone();
    config.behaviour.lock = kicker.as_ref().map(|(_, lock)| Arc::clone(lock));
    let config = &config;
    let gate = Arc::new(Gate { phase: Mutex::new(Phase::Wait), changed: Condvar::new() });
    let threads = spawn_threads(config, vcpus, &gate, &events)?;
    let failed = events.clone();
    spawn(thread::Builder::new().name("input".to_owned()), move || {
        for line in input.lines().map_while(Result::ok) {
            if events.send(Event::Line(line)).is_err() {
                return;
            }
        }
        // Nobody listens any more: the process is about to end.
        let _ = events.send(Event::Closed);
    })?;

    let (mut started, mut ended, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        match inbox.recv().context("all threads are gone")? {
            Event::Started { vcpu, tid } => {
                started.push((vcpu, tid));
                if started.len() == config.vcpus as usize {
                    started.sort_unstable();
                    say(&ready(config, &started))?;
                }
            }
            Event::Ended(outcome, vcpu) => {
                kept.extend(vcpu);
                ended.push(outcome?);
                if ended.len() == config.vcpus as usize {
                    ended.sort_by_key(|outcome| outcome.id());
                    say(&json!({
                        "name": config.name,
                        "pid": std::process::id(),
                        "vcpus": ended.iter().map(|outcome| outcome.json()).collect::<Vec<_>>(),
                    }))?;
                }
            }
            Event::Line(line) if line == GO => {
                gate.open(Phase::Run);
                if let Some((kicks, lock)) = &kicker {
                    let (kicks, lock, stop) = (*kicks, Arc::clone(lock), stop.clone());
                    let tids = started.iter().map(|&(_, tid)| tid).collect::<Vec<_>>();
                    let failed = failed.clone();
                    spawn(thread::Builder::new().name("kicker".to_owned()), move || {
                        if let Err(error) = lock.kick(kicks, &tids, &stop) {
                            // Nobody listens any more: the process is about to end.
                            let _ = failed.send(Event::Ended(Err(error), None));
                        }
                    })?;
                }
            }
            Event::Line(line) if line == STOP => stop.stop(),
            Event::Line(line) => bail!("unknown request {line:?}"),
            Event::Closed => break,
        }
    }
    if ended.len() < config.vcpus as usize {
        bail!("standard input ended before the guests were done");
    }
    gate.open(Phase::End);
    for thread in threads {
        if thread.join().is_err() {
            bail!("a vCPU thread panicked");
        }
    }
    Ok(())
}

/// Starts the threads of the vCPUs.
fn spawn_threads(
    config: &Config,
    vcpus: Vec<Vcpu>,
    gate: &Arc<Gate>,
    events: &Sender<Event>,
) -> Result<Vec<thread::JoinHandle<()>>> {
    let mut groups: Vec<Vec<Vcpu>> = Vec::new();
    for vcpu in vcpus {
        match groups.last_mut() {
            Some(group) if config.single_thread => group.push(vcpu),
            _ => groups.push(vec![vcpu]),
        }
    }
    let start = |(n, group): (usize, Vec<Vcpu>)| {
        let cpu = (!config.pin.is_empty()).then(|| config.pin[n % config.pin.len()]);
        let (config, gate, events) = (config.clone(), Arc::clone(gate), events.clone());
        let builder = thread::Builder::new().name(thread_name(n as u32)).stack_size(STACK_SIZE);
        spawn(builder, move || {
            // Sending fails only if the main thread has given up, and then the process ends.
            let send = |event| drop(events.send(event));
            if let Some(Err(error)) = cpu.map(sys::move_to_cpu) {
                return send(Event::Ended(Err(error), None));
            }
            for vcpu in &group {
                send(Event::Started { vcpu: vcpu.id, tid: sys::thread_id() });
            }
            gate.wait_for(Phase::Run);
            let mut parked = Vec::new();
            for mut vcpu in group {
                let outcome = vcpu.run(&config.plan, &config.behaviour).map(Box::new);
                if config.die_in_exit {
                    send(Event::Ended(outcome, Some(vcpu)));
                } else {
                    send(Event::Ended(outcome, None));
                    parked.push(vcpu);
                }
            }
            if !config.die_in_exit {
                gate.wait_for(Phase::End);
            }
        })
    };
    groups.into_iter().enumerate().map(start).collect()
}

fn spawn(builder: thread::Builder, body: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
    builder.spawn(body).context("cannot start a thread")
}

/// The name of a vCPU thread.
fn thread_name(n: u32) -> String {
    format!("CPU {n}/KVM")
}

/// The line that says that all threads exist and wait.
fn ready(config: &Config, started: &[(u32, i32)]) -> Value {
    let vcpus = started.iter().map(|&(id, tid)| {
        let name = thread_name(if config.single_thread { 0 } else { id });
        json!({"id": id, "tid": tid, "thread": name})
    });
    json!({"name": config.name, "pid": std::process::id(), "vcpus": vcpus.collect::<Vec<_>>()})
}

/// Says this on standard output, as one line.
fn say(value: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}
