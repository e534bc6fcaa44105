//! One virtual machine as a process of its own, looking as under QEMU: threads "CPU n/KVM", a name in its
//! arguments. It can look like another VMM's, too, and have several virtual machines.
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
    /// How many virtual machines there are.
    pub machines: u32,
    /// How many vCPUs each has.
    pub vcpus: u32,
    /// What the threads of vCPUs are called; `{}` is the number of the vCPU.
    pub thread_name: String,
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
    Started(Started),
    /// A vCPU is done. It comes along if its thread ends now.
    Ended(Result<Box<Outcome>>, Option<Vcpu>),
    /// A line on standard input.
    Line(String),
    /// The end of standard input.
    Closed,
}

/// A vCPU and its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Started {
    machine: u32,
    vcpu: u32,
    tid: i32,
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
    let create = || vm::create(&config.plan, config.vcpus, config.khlt_ns);
    let (first, mut vcpus, mut stop) = create()?;
    let mut vms = vec![first];
    for machine in 1..config.machines {
        let (vm, mut of_it, stop_it) = create()?;
        vms.push(vm);
        of_it.iter_mut().for_each(|vcpu| vcpu.machine = machine);
        vcpus.append(&mut of_it);
        stop.join(stop_it);
    }
    let count = vcpus.len();
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
            Event::Started(vcpu) => {
                started.push(vcpu);
                if started.len() == count {
                    started.sort_unstable();
                    say(&ready(config, &started))?;
                }
            }
            Event::Ended(outcome, vcpu) => {
                kept.extend(vcpu);
                ended.push(outcome?);
                if ended.len() == count {
                    ended.sort_by_key(|outcome| outcome.number());
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
                    let tids = started.iter().map(|vcpu| vcpu.tid).collect::<Vec<_>>();
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
    if ended.len() < count {
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
        let builder = thread::Builder::new().name(thread_name(&config, group[0].id)).stack_size(STACK_SIZE);
        spawn(builder, move || {
            // Sending fails only if the main thread has given up, and then the process ends.
            let send = |event| drop(events.send(event));
            if let Some(Err(error)) = cpu.map(sys::move_to_cpu) {
                return send(Event::Ended(Err(error), None));
            }
            for vcpu in &group {
                let (machine, tid) = (vcpu.machine, sys::thread_id());
                send(Event::Started(Started { machine, vcpu: vcpu.id, tid }));
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
fn thread_name(config: &Config, vcpu: u32) -> String {
    config.thread_name.replace("{}", &vcpu.to_string())
}

/// The line that says that all threads exist and wait.
fn ready(config: &Config, started: &[Started]) -> Value {
    let vcpus = started.iter().map(|&Started { machine, vcpu, tid }| {
        let name = thread_name(config, if config.single_thread { 0 } else { vcpu });
        json!({"machine": machine, "id": vcpu, "tid": tid, "thread": name})
    });
    json!({"name": config.name, "pid": std::process::id(), "vcpus": vcpus.collect::<Vec<_>>()})
}

/// Says this on standard output, as one line.
fn say(value: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}
