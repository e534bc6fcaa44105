//! `sie-workload`: an s390x virtual machine that makes exactly the exits of a script.
//!
//! ```text
//! sie-workload --vcpus 2 diag44=1000 sigp3=20 stidp=100
//! ```
//! runs it and prints, as one JSON line, what a correct tracer must have counted. See [`exitlat_tests::sie`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use exitlat_tests::sie::step::{Step, expected};
use exitlat_tests::sie::vm::{Behaviour, Outcome, Vm};
use serde_json::{Map, Value, json};

/// Runs an s390x virtual machine that makes exactly the exits asked for, and prints their number as JSON.
#[derive(Debug, Parser)]
#[command(name = "sie-workload")]
struct Cli {
    /// Number of vCPUs; all have the same script
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    vcpus: u32,
    /// Run the vCPUs one after the other
    #[arg(long)]
    in_turns: bool,
    /// Time in the guest before each exit
    #[arg(long, value_name = "US", default_value_t = 0)]
    guest_us: u64,
    /// Compute in the VMM at each exit it gets
    #[arg(long, value_name = "US", default_value_t = 0)]
    vmm_us: u64,
    /// How long a `wait` after a `timer` lasts
    #[arg(long, value_name = "US", default_value_t = 1000)]
    wait_us: u64,
    /// Repeat all steps so often
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Say here, as a JSON line, that the virtual machine exists
    #[arg(long, value_name = "FILE")]
    ready: Option<PathBuf>,
    /// Enter no guest before this file exists
    #[arg(long, value_name = "FILE")]
    go: Option<PathBuf>,
    /// When all vCPUs are done make FILE.done, and keep their threads until FILE exists
    #[arg(long, value_name = "FILE", conflicts_with = "in_turns")]
    hold: Option<PathBuf>,
    /// The steps, done in order by every vCPU: KIND=COUNT
    #[arg(value_name = "STEP", required = true)]
    steps: Vec<Step>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sie-workload: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    ensure!(cfg!(target_arch = "s390x"), "SIE is s390x's; on x86-64 there is `workload`");
    let steps = cli.steps.repeat(cli.rounds);
    let behaviour = Behaviour {
        guest: Duration::from_micros(cli.guest_us),
        spin: Duration::from_micros(cli.vmm_us),
        wait: Duration::from_micros(cli.wait_us),
    };
    let mut vm = Vm::new(&vec![steps.clone(); cli.vcpus as usize], behaviour)?;
    if let Some(ready) = &cli.ready {
        let text = json!({ "pid": std::process::id() }).to_string();
        // A rename is atomic: readers never see half of the file.
        let partial = ready.with_extension("partial");
        std::fs::write(&partial, text)
            .and_then(|()| std::fs::rename(&partial, ready))
            .context("cannot say so")?;
    }
    if let Some(go) = &cli.go {
        wait_for(go);
    }
    let since = Instant::now();
    let outcomes = if cli.in_turns { in_turns(&mut vm)? } else { at_once(&mut vm, cli.hold.as_deref())? };
    println!("{}", report(&vm, &steps, &outcomes, since.elapsed())?);
    Ok(())
}

fn wait_for(file: &Path) {
    while !file.exists() {
        thread::sleep(Duration::from_millis(1));
    }
}

fn at_once(vm: &mut Vm, hold: Option<&Path>) -> Result<Vec<Outcome>> {
    let vcpus = vm.vcpus();
    let together = Barrier::new(vcpus.len());
    thread::scope(|scope| {
        let run = |vcpu| {
            let together = &together;
            scope.spawn(move || {
                together.wait();
                let outcome = exitlat_tests::sie::vm::Vcpu::run(vcpu);
                if let Some(hold) = hold {
                    if together.wait().is_leader() {
                        std::fs::write(hold.with_added_extension("done"), "").context("cannot say so")?;
                    }
                    wait_for(hold);
                }
                outcome
            })
        };
        let threads: Vec<_> = vcpus.iter_mut().map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("the thread of a vCPU panicked")).collect()
    })
}

fn in_turns(vm: &mut Vm) -> Result<Vec<Outcome>> {
    let run = |vcpu: &mut exitlat_tests::sie::vm::Vcpu| {
        thread::scope(|scope| scope.spawn(|| vcpu.run()).join().expect("the thread of a vCPU panicked"))
    };
    vm.vcpus().iter_mut().map(run).collect()
}

/// What a correct tracer must have counted, and what KVM did.
fn report(vm: &Vm, steps: &[Step], outcomes: &[Outcome], wall: Duration) -> Result<Value> {
    let (reasons, causes, counted) = expected(steps);
    let vcpu = |(id, outcome): (usize, &Outcome)| {
        json!({
            "id": id, "tid": outcome.tid, "s390": reasons, "causes": causes, "counted": counted,
            "unpaired_exits": 1, "returns": outcome.returns, "spun_ns": outcome.spun.as_nanos() as u64,
            "wall_ns": outcome.wall.as_nanos() as u64,
            "waited_ns": outcome.waited.as_nanos() as u64, "kvm_stats": outcome.stats,
        })
    };
    let vcpus: Vec<Value> = outcomes.iter().enumerate().map(vcpu).collect();
    let debugfs = counted.keys().map(|name| Ok(((*name).to_owned(), json!(vm.debugfs(name)?))));
    let debugfs = debugfs.collect::<Result<Map<String, Value>>>()?;
    Ok(json!({
        "wall_ns": wall.as_nanos() as u64,
        "vms": [{ "name": "workload", "pid": std::process::id(), "debugfs": debugfs, "vcpus": vcpus }],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
