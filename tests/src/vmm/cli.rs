//! The command line of `workload`: virtual machines that make an exactly known number of VM exits.
//!
//! ```text
//! workload --vcpus 2 cpuid=1000 io=200
//! ```
//! runs them and prints, as one JSON line, what a correct tracer must have counted. See [`crate::vmm`] for
//! the exits of each step.

use std::env;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use super::fleet::{self, NAME_VARIABLE, Schedule};
use super::kick::Kicks;
use super::plan::{Plan, Step};
use super::process::{self, Config};
use super::run::Behaviour;
use super::sys;
use crate::attack;

/// Runs virtual machines that make an exactly known number of VM exits, and prints that number as JSON.
#[derive(Debug, Parser)]
#[command(
    name = "workload",
    after_help = "\
Steps, done in order by every vCPU, N times each:
  cpuid=N  msr=N  wrmsr=N   handled in the kernel
  io=N  mmio=N  hlt=N       handled by the VMM
  khlt=N                    halt in the kernel until a timer fires
  vmrun=N                   run a guest in the guest (AMD)
  cr=N                      read and write CR4, handled in the kernel
  spin=USEC                 compute, without exits
The last exit of every vCPU is one more port exit, without an entry after it."
)]
struct Cli {
    /// Number of virtual machines, each a process of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    vms: u32,
    /// Number of virtual machines in each of these processes
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with = "kick",
          value_parser = clap::value_parser!(u32).range(1..))]
    machines: u32,
    /// Number of vCPUs of each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    vcpus: u32,
    /// What the names begin with; a number follows
    #[arg(long, default_value = "lab")]
    name: String,
    /// Be processes with this command line, of another VMM than QEMU; one word each time, the program first
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    argv: Vec<String>,
    /// Call the threads of vCPUs so; {} is the number of the vCPU
    #[arg(long, value_name = "NAME", default_value = "CPU {}/KVM")]
    thread_name: String,
    /// Give the first virtual machine's process this number, which must be free (root)
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(2..))]
    pid: Option<u32>,
    /// Say here, as a JSON line, that all processes and threads exist (`-`: on standard output)
    #[arg(long, value_name = "FILE")]
    ready: Option<PathBuf>,
    /// Enter no guest before this file exists
    #[arg(long, value_name = "FILE")]
    go: Vec<PathBuf>,
    /// End the guests after their current round when this file exists
    #[arg(long, value_name = "FILE")]
    stop: Option<PathBuf>,
    /// After printing the result, stay alive until this file exists
    #[arg(long, value_name = "FILE")]
    hold: Option<PathBuf>,
    /// After printing the result, stay alive this long
    #[arg(long, value_name = "MS", default_value_t = 0)]
    linger_ms: u64,
    /// Repeat all steps so often
    #[arg(long, default_value_t = 1, conflicts_with = "forever")]
    rounds: u64,
    /// Repeat all steps until --stop, or until killed
    #[arg(long)]
    forever: bool,
    /// Pin the vCPU threads to these CPUs in turns
    #[arg(long, value_name = "CPU,..", value_delimiter = ',')]
    pin: Vec<usize>,
    /// Run the vCPUs of a virtual machine one after the other in one thread
    #[arg(long)]
    single_thread: bool,
    /// End each vCPU thread in its last exit, the process living on
    #[arg(long)]
    die_in_exit: bool,
    /// End the guests in a triple fault, which is then their last exit
    #[arg(long, conflicts_with = "stop")]
    triple_fault: bool,
    /// Let another, new thread make every second call of KVM_RUN
    #[arg(long)]
    hand_over: bool,
    /// Move to another CPU on every port exit (among those of --pin, or all)
    #[arg(long)]
    migrate: bool,
    /// Call KVM_RUN in a loop that never enters a guest, until killed
    #[arg(long)]
    never_enter: bool,
    /// Sleep in the VMM on every port exit
    #[arg(long, value_name = "US", default_value_t = 0)]
    io_sleep_us: u64,
    /// Compute in the VMM on every port exit
    #[arg(long, value_name = "US", default_value_t = 0)]
    io_spin_us: u64,
    /// Read MSRs by KVM_GET_MSRS on every port exit, before that
    #[arg(long)]
    io_read_msrs: bool,
    /// Sleep and compute only on every K-th port exit
    #[arg(long, value_name = "K", default_value_t = 1)]
    io_slow_every: u64,
    /// On the N-th port exit say so by a file PREFIX.N.in, and wait for PREFIX.N.out (one vCPU)
    #[arg(long, value_name = "PREFIX")]
    io_gate: Option<PathBuf>,
    /// Kick the first vCPU out of KVM_RUN so often while the others run, then end (with --forever)
    #[arg(long, value_name = "N", requires = "forever", conflicts_with = "single_thread")]
    kick: Option<u64>,
    /// Kick all vCPUs
    #[arg(long, requires = "kick")]
    kick_all: bool,
    /// How long a kicked vCPU waits for the VMM's lock
    #[arg(long, value_name = "US", default_value_t = 1000, requires = "kick")]
    kick_us: u64,
    /// How long a khlt sleeps
    #[arg(long, value_name = "US", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..4_000_000))]
    khlt_us: u32,
    /// The steps
    #[arg(value_name = "STEP", required = true)]
    steps: Vec<Step>,
}

/// Does what was typed.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let result = match (env::var(NAME_VARIABLE), arguments.as_slice()) {
        (Ok(name), _) => run_vm(&name),
        (_, [_, word, ..]) if word == "attack" => return attack::cli::main(&arguments[1..]),
        _ => run_all(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("workload: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all virtual machines.
fn run_all(arguments: &[String]) -> Result<()> {
    let cli = Cli::parse_from(arguments);
    // What is wrong with the plan is better said once, here, than by every process.
    cli.config("", 0)?;
    let schedule = Schedule {
        vms: cli.vms,
        vcpus: cli.vcpus,
        name: cli.name,
        argv: cli.argv,
        pid: cli.pid,
        ready: cli.ready,
        go: cli.go,
        stop: cli.stop,
        linger: Duration::from_millis(cli.linger_ms),
        hold: cli.hold,
    };
    fleet::run(&schedule, arguments)
}

/// Is the process of one virtual machine.
fn run_vm(name: &str) -> Result<()> {
    fleet::join()?;
    let mut input = io::BufReader::new(io::stdin());
    let mut line = String::new();
    input.read_line(&mut line)?;
    let (index, arguments) =
        fleet::parse_first_line(&line).context("started by hand? the first line of input")?;
    let cli = Cli::parse_from(arguments);
    if let Some(program) = cli.argv.first() {
        sys::set_name(program.rsplit('/').next().unwrap_or(program))?;
    }
    let config = cli.config(name, index)?;
    process::serve(&config, input).with_context(|| format!("VM {name}"))
}

impl Cli {
    /// The configuration of the virtual machine with this name and number.
    fn config(&self, name: &str, index: u32) -> Result<Config> {
        ensure!(self.io_gate.is_none() || self.vms * self.vcpus == 1, "--io-gate is for one vCPU");
        let rounds = if self.forever { u64::MAX } else { self.rounds };
        let mut pin = self.pin.clone();
        let mut migrate = Vec::new();
        if self.migrate {
            migrate = if pin.is_empty() { sys::allowed_cpus()? } else { pin.clone() };
            ensure!(migrate.len() > 1, "--migrate needs two CPUs");
        }
        if !pin.is_empty() {
            pin.rotate_left(index as usize * self.vcpus as usize % self.pin.len());
        }
        Ok(Config {
            name: name.to_owned(),
            plan: Plan::new(self.steps.clone(), rounds)?.with_triple_fault(self.triple_fault),
            machines: self.machines,
            vcpus: self.vcpus,
            thread_name: self.thread_name.clone(),
            khlt_ns: self.khlt_us * 1000,
            behaviour: Behaviour {
                sleep: Duration::from_micros(self.io_sleep_us),
                spin: Duration::from_micros(self.io_spin_us),
                slow_every: self.io_slow_every,
                read_msrs: self.io_read_msrs,
                gate: self.io_gate.clone(),
                hand_over: self.hand_over,
                never_enter: self.never_enter,
                migrate,
                lock: None,
            },
            kicks: self.kick.map(|times| Kicks {
                times,
                hold: Duration::from_micros(self.kick_us),
                all: self.kick_all,
            }),
            pin,
            single_thread: self.single_thread,
            die_in_exit: self.die_in_exit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str], index: u32) -> Result<Config> {
        Cli::try_parse_from([&["workload"], arguments].concat())?.config("lab-0", index)
    }

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn pinning_goes_on_where_the_last_machine_stopped() {
        let arguments = ["--pin", "0,1,2", "--vcpus", "2", "io=1"];
        assert_eq!(config(&arguments, 0).unwrap().pin, [0, 1, 2]);
        assert_eq!(config(&arguments, 1).unwrap().pin, [2, 0, 1]);
        assert!(config(&["io=1"], 7).unwrap().pin.is_empty());
    }

    #[test]
    fn migration_uses_the_pinned_cpus_and_needs_two() {
        assert_eq!(config(&["--migrate", "--pin", "4,6", "io=1"], 0).unwrap().behaviour.migrate, [4, 6]);
        assert!(config(&["--migrate", "--pin", "4", "io=1"], 0).is_err());
    }

    #[test]
    fn a_gate_is_for_one_vcpu() {
        assert!(config(&["--io-gate", "gate", "io=1"], 0).is_ok());
        assert!(config(&["--io-gate", "gate", "--vcpus", "2", "io=1"], 0).is_err());
    }

    #[test]
    fn kicks_are_for_guests_without_an_end() {
        let kicks = config(&["--kick", "3", "--kick-us", "5", "--forever", "io=1"], 0).unwrap().kicks;
        assert_eq!(kicks, Some(Kicks { times: 3, hold: Duration::from_micros(5), all: false }));
        assert!(config(&["--kick", "3", "io=1"], 0).is_err());
        assert!(config(&["--kick-all", "--forever", "io=1"], 0).is_err());
        assert_eq!(config(&["--forever", "io=1"], 0).unwrap().kicks, None);
    }

    #[test]
    fn rounds_and_for_ever() {
        assert_eq!(config(&["--rounds", "3", "io=1"], 0).unwrap().plan.rounds(), 3);
        assert_eq!(config(&["--forever", "io=1"], 0).unwrap().plan.rounds(), u64::MAX);
        assert!(config(&["--forever", "--rounds", "3", "io=1"], 0).is_err());
        assert!(config(&["--rounds", "0", "io=1"], 0).is_err());
    }
}
