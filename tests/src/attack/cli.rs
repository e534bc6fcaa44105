//! `workload attack KIND`: one attack, in rounds.
//!
//! It prints a JSON line when all vCPUs exist. For each line that it then reads it does one round and prints
//! another JSON line. Everything stays as it is until standard input ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::process::{self, ExitCode};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use kvm_ioctls::VcpuFd;
use serde_json::{Value, json};

use super::machine::{self, Machine, Program};
use crate::vmm::sys;

/// vCPUs of one virtual machine: Linux 5.10 allows 288.
const VCPUS_A_VM: u32 = 250;
/// vCPUs that change their threads at the same time.
const CHURNING: u32 = 50;
/// Open files of the attacker.
const DESCRIPTORS: u64 = 8192;
/// Enough for a loop around KVM_RUN.
const STACK_SIZE: usize = 32 << 10;

/// Disturbs a tracer of the whole host.
#[derive(Debug, Parser)]
#[command(name = "workload attack")]
struct Cli {
    #[command(subcommand)]
    attack: Attack,
}

#[derive(Clone, Debug, Subcommand)]
enum Attack {
    /// Return from KVM_RUN with reasons of the attacker's choice
    Scribble {
        /// vCPUs, each with a thread and a virtual machine of its own
        #[arg(long, default_value_t = 1)]
        vcpus: u32,
        /// Returns of each in a round
        #[arg(long)]
        runs: u64,
        /// The first reason; the next ones are larger by one each
        #[arg(long, default_value_t = 0x1000)]
        first: u32,
        /// Bits of that number that count
        #[arg(long, default_value_t = u32::MAX)]
        mask: u32,
    },
    /// Read MSRs that do not exist, each with another number
    Msrs {
        /// How many in the one round
        #[arg(long)]
        count: u32,
    },
    /// Many vCPU threads, each of which calls KVM_RUN once in a round
    Threads {
        /// How many
        #[arg(long)]
        count: u32,
    },
    /// Many processes with a virtual machine and a vCPU, each of which calls KVM_RUN once in a round
    Processes {
        /// How many
        #[arg(long)]
        count: u32,
        /// Rounds that can be asked for
        #[arg(long, default_value_t = 1)]
        rounds: usize,
    },
    /// Some vCPUs, for each call of KVM_RUN a thread that then ends
    Churn {
        /// How many threads in a round
        #[arg(long)]
        count: u32,
    },
    /// A vCPU thread with a bad name, in a process with what follows in its arguments
    Name {
        /// Name of the thread
        #[arg(long)]
        thread: String,
        /// Ignored
        #[arg(last = true)]
        rest: Vec<String>,
    },
}

/// Does what was typed; `arguments` begin with the name of the command.
pub fn main(arguments: &[String]) -> ExitCode {
    match attack(&Cli::parse_from(arguments).attack) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("workload attack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn attack(attack: &Attack) -> Result<()> {
    sys::die_with_parent()?;
    allow_descriptors()?;
    match *attack {
        Attack::Scribble { vcpus, runs, first, mask } => {
            let machine = |_| Machine::new(Program::Scribble { mask, first }, 1);
            threads((0..vcpus).map(machine).collect::<Result<_>>()?, runs, None)
        }
        Attack::Msrs { count } => {
            threads(vec![Machine::new(Program::Msrs { before: 0x1_0000, count }, 1)?], 1, None)
        }
        Attack::Threads { count } => {
            let sizes = (0..count.div_ceil(VCPUS_A_VM)).map(|vm| VCPUS_A_VM.min(count - vm * VCPUS_A_VM));
            let machines = sizes.map(|vcpus| Machine::new(Program::Ports, vcpus));
            threads(machines.collect::<Result<_>>()?, 1, None)
        }
        Attack::Processes { count, rounds } => processes(count, rounds),
        Attack::Churn { count } => churn(count),
        Attack::Name { ref thread, .. } => threads(vec![Machine::new(Program::Ports, 1)?], 20, Some(thread)),
    }
}

/// Every vCPU is a descriptor. What an ordinary user may have suffices for most attacks.
fn allow_descriptors() -> Result<()> {
    let limit = libc::rlimit { rlim_cur: DESCRIPTORS, rlim_max: DESCRIPTORS };
    // SAFETY: the kernel only reads the structure.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    ensure!(result == 0, "setrlimit: {}", io::Error::last_os_error());
    Ok(())
}

/// A thread for each vCPU, which calls KVM_RUN `runs` times a round.
fn threads(machines: Vec<Machine>, runs: u64, name: Option<&str>) -> Result<()> {
    // The vCPUs are as long-lived as the process.
    let machines: &'static mut [Machine] = machines.leak();
    let (done, inbox) = mpsc::channel();
    let mut lines = Vec::new();
    for vcpu in machines.iter_mut().flat_map(|machine| machine.vcpus()) {
        let (line, round) = mpsc::channel();
        let (done, name) = (done.clone(), name.map(str::to_owned));
        let body = move || drop(vcpu_thread(vcpu, runs, name.as_deref(), &round, &done));
        thread::Builder::new().stack_size(STACK_SIZE).spawn(body).context("cannot start a thread")?;
        lines.push(line);
    }
    rounds(|| {
        for line in &lines {
            line.send(()).context("a vCPU's thread is gone")?;
        }
        let vcpus = lines.iter().map(|_| inbox.recv().context("a vCPU's thread is gone")?);
        Ok(json!({ "vcpus": vcpus.collect::<Result<Vec<Value>>>()? }))
    })
}

fn vcpu_thread(
    vcpu: &VcpuFd,
    runs: u64,
    name: Option<&str>,
    round: &Receiver<()>,
    done: &Sender<Result<Value>>,
) -> Result<()> {
    if let Some(name) = name {
        std::fs::write("/proc/thread-self/comm", name)?;
    }
    loop {
        round.recv()?;
        let result = (0..runs).try_for_each(|_| machine::run(vcpu)).and_then(|()| machine::exits(vcpu));
        done.send(result.map(|exits| json!({ "tid": sys::thread_id(), "exits": exits })))?;
    }
}

/// A process for each vCPU. They exist, with their virtual machines, before the first round.
#[expect(clippy::exit, reason = "a child must not go on as its parent does")]
fn processes(count: u32, most: usize) -> Result<()> {
    let pipes = (0..=most).map(|_| pipe()).collect::<Result<Vec<_>>>()?;
    let ((answers, answering), starts) = (&pipes[most], &pipes[..most]);
    for _ in 0..count {
        // SAFETY: this process has one thread, so that its child may do anything.
        match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()).context("cannot fork"),
            0 => process::exit(child(starts, answering).is_err().into()),
            _ => {}
        }
    }
    let wait = || {
        let mut bytes = vec![0; count as usize];
        let mut answers: &File = answers;
        answers.read_exact(&mut bytes).context("the processes are gone")?;
        ensure!(bytes.iter().all(|byte| *byte == b'+'), "a process failed");
        Ok(())
    };
    wait()?;
    let mut starts = starts.iter();
    rounds(|| {
        let Some((_, start)) = starts.next() else { bail!("no more rounds") };
        let mut start: &File = start;
        start.write_all(&vec![b'+'; count as usize])?;
        wait()?;
        Ok(json!({}))
    })
}

/// Says `+` when it is ready and after each round, `-` on failure; ends with its parent.
fn child(starts: &[(File, File)], mut answering: &File) -> Result<()> {
    sys::die_with_parent()?;
    if let Err(error) = child_rounds(starts, answering) {
        eprintln!("workload attack: {error:#}");
        answering.write_all(b"-")?;
    }
    Ok(())
}

fn child_rounds(starts: &[(File, File)], mut answering: &File) -> Result<()> {
    let mut machine = Machine::new(Program::Ports, 1)?;
    answering.write_all(b"+")?;
    for (start, _) in starts {
        let mut start: &File = start;
        start.read_exact(&mut [0])?;
        machine::run(&machine.vcpus()[0])?;
        answering.write_all(b"+")?;
    }
    loop {
        thread::park();
    }
}

fn pipe() -> Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors, which are new and nobody else's.
    let (result, ends) = unsafe {
        let result = libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC);
        (result, ends)
    };
    ensure!(result == 0, "pipe: {}", io::Error::last_os_error());
    // SAFETY: pipe2 succeeded, so both descriptors are new and nobody else's.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}

/// Each thread enters the guest twice, makes a CPUID exit and ends in a port exit. A vCPU that changes its
/// thread waits for a grace period of RCU (`kvm_vcpu_ioctl`), hence several at once.
fn churn(count: u32) -> Result<()> {
    ensure!(count.is_multiple_of(CHURNING), "as many threads as {CHURNING} vCPUs have in turns");
    let mut machine = Machine::new(Program::Ports, CHURNING)?;
    let vcpus: &[VcpuFd] = machine.vcpus();
    rounds(|| {
        for _ in 0..count / CHURNING {
            thread::scope(|scope| {
                let run = |vcpu| {
                    let builder = thread::Builder::new().stack_size(STACK_SIZE);
                    builder.spawn_scoped(scope, move || machine::run(vcpu))
                };
                let threads = vcpus.iter().map(run).collect::<io::Result<Vec<_>>>()?;
                threads
                    .into_iter()
                    .try_for_each(|thread| thread.join().expect("the thread of a vCPU panicked"))
            })?;
        }
        let exits: Option<u64> =
            vcpus.iter().map(machine::exits).collect::<Result<Vec<_>>>()?.into_iter().sum();
        Ok(json!({ "exits": exits }))
    })
}

/// Says that all is ready, then does a round for each line.
fn rounds(mut round: impl FnMut() -> Result<Value>) -> Result<()> {
    say(&json!({ "ready": true, "pid": process::id() }))?;
    for line in io::stdin().lines() {
        line?;
        say(&round()?)?;
    }
    Ok(())
}

fn say(value: &Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
