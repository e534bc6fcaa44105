//! `cargo xtask bench`: the cost of tracing, in instructions, the same at every run.
//!
//! The lab's guest runs under an emulator for which one instruction is one nanosecond of guest time. So the
//! time of the workload is a count of executed instructions, and nothing else on this machine changes it. The
//! difference to the untraced workload, divided by its exits, is the cost of one exit and entry.

mod budgets;
mod modes;
mod notifiers;
mod refresh;
mod reports;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use which::which;

use crate::build::{NULL_PROGRAMS, Profile, SWITCHES, build};
use crate::guest::{add_programs, boot};
use crate::matrix::Matrix;
use crate::paths;
use crate::process::{Output, probe};
use crate::setup::{self, Purpose};
use lab::target::{AMD, Arch, Emulator, INTEL, Machine, Vendor};
use lab::{Kernel, Spec, bochs, libs};
use modes::{ENDED, EXITS_BT, HIST_BT, LOADS, MODES, Mode};

/// Instructions per exit and entry, by mode and load; none where the mode could not run.
pub type Costs = BTreeMap<String, BTreeMap<String, f64>>;
/// Costs by machine.
pub type ByMachine = BTreeMap<String, Costs>;

/// A kernel and the machine it runs on.
pub struct Platform<'a> {
    kernel: &'a Kernel,
    machine: &'static Machine,
}

impl Platform<'_> {
    /// Its name in the tables.
    pub fn name(&self) -> String {
        match self.machine.vendor {
            Vendor::Intel => format!("Linux {}, Intel", self.kernel.name),
            Vendor::Amd | Vendor::Ibm => format!("Linux {}", self.kernel.name),
        }
    }

    /// The workload's name for the reasons of its exits.
    fn isa(&self) -> &'static str {
        if self.machine.vendor == Vendor::Intel { "vmx" } else { "svm" }
    }

    /// How long an instruction takes on the platform, in ns of guest time.
    fn instruction_ns(&self) -> f64 {
        match self.machine.emulator {
            Emulator::Bochs => 1e9 / bochs::INSTRUCTIONS_PER_SECOND as f64,
            Emulator::Qemu => 1.0,
        }
    }
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A kernel of tests/kernels.toml.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// On the machine with an Intel processor; without a kernel, only there.
    #[arg(long)]
    pub intel: bool,
    /// Only the ways of tracing whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Only the reading side, on this machine.
    #[arg(long, conflicts_with_all = ["kernel", "intel", "only", "compare"])]
    pub reading: bool,
    /// Only KVM's preemption notifiers as a way to follow the scheduler, beside exitlat's own.
    #[arg(long, conflicts_with_all = ["only", "compare", "reading"])]
    pub notifiers: bool,
    /// Compare with the numbers of an earlier run; status 1 if exitlat got slower.
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
}

/// No way of tracing an exit and its entry takes fewer instructions.
const LEAST: f64 = 50.0;

/// Runs the bench; status 1 if exitlat got slower, or misses a limit.
pub fn run(args: &BenchArgs) -> Result<u8> {
    setup::run_for(Purpose::Bench)?;
    if args.reading {
        let (text, missed) = reading()?;
        print!("{text}");
        return Ok(u8::from(missed));
    }
    let matrix = Matrix::load()?;
    let first = matrix.kernel(Arch::X86_64, args.kernel.as_deref())?;
    if args.notifiers {
        print!("{}", notifiers::run(first, if args.intel { INTEL } else { AMD })?);
        return Ok(0);
    }
    let before = args.compare.as_deref().map(table::read).transpose()?;
    let (mut here, missing): (Vec<_>, Vec<_>) =
        MODES.iter().partition(|mode| mode.needs.is_none_or(|tool| program(tool).is_ok()));
    if let Some(only) = &args.only {
        here.retain(|mode| mode.name == MODES[0].name || mode.name.contains(only.as_str()));
    }
    // Other tools cost much the same on every kernel, so they run on the first one only.
    let machine = if args.intel { INTEL } else { AMD };
    let mut platforms = vec![Platform { kernel: first, machine }];
    let everywhere = args.kernel.is_none() && !args.intel;
    if everywhere {
        platforms.push(Platform { kernel: first, machine: INTEL });
        let others = matrix.usual(Arch::X86_64).filter(|kernel| kernel.name != first.name);
        platforms.extend(others.map(|kernel| Platform { kernel, machine: AMD }));
    }
    let (mut sections, mut all) = (Vec::new(), ByMachine::new());
    for (n, platform) in platforms.iter().enumerate() {
        if n == 1 {
            here.retain(|mode| mode.needs.is_none());
        }
        let costs = measure(platform, &here)?;
        let missing = if n == 0 { missing.as_slice() } else { &[] };
        sections.push(table::section(&costs, missing, &here, platform));
        all.insert(platform.name(), costs);
    }
    let mut complete = args.only.is_none() && everywhere;
    if everywhere && missing.is_empty() && args.only.is_none() {
        sections.push(notifiers::run(first, AMD)?);
    }
    let (budgets, mut missed) = budgets::table(&all);
    sections.push(budgets);
    if args.only.is_none() {
        match reading() {
            Ok((text, reading_missed)) => {
                sections.push(text);
                missed |= reading_missed;
            }
            Err(error) => {
                complete = false;
                sections.push(format!("The reading side was not measured: {error:#}\n"));
            }
        }
    }
    let text = table::page(&sections, &versions());
    println!("{text}");
    table::write(&all, &text, complete)?;
    let ours: Vec<_> = here.iter().map(|mode| mode.name).filter(|name| name.starts_with("exitlat")).collect();
    let slower = before.map(|before| table::slower(&before, &all, &ours)).transpose()?.unwrap_or(false);
    if missed {
        eprintln!("bench: a limit was missed; see (missed) above");
    }
    Ok(u8::from(slower || missed))
}

/// The reading side on this machine, and whether a limit was missed.
fn reading() -> Result<(String, bool)> {
    let (snapshots, missed) = refresh::run()?;
    let (reports, too_slow) = reports::run()?;
    Ok((format!("{snapshots}\n{reports}"), missed || too_slow))
}

/// Runs all modes on one platform.
fn measure(platform: &Platform<'_>, modes: &[&Mode]) -> Result<Costs> {
    let mut spec = Spec::new(platform.kernel, platform.machine);
    spec.icount = platform.machine.emulator == Emulator::Qemu;
    add_programs(&mut spec, Output::Terminal)?;
    for (program, to) in [(NULL_PROGRAMS, "/bin/null-programs"), (SWITCHES, "/bin/context-switches")] {
        spec.files.push((build(program, &Profile::lab(Arch::X86_64), Output::Terminal)?, to.to_owned()));
    }
    for tool in ["perf", "bpftrace"] {
        if modes.iter().any(|mode| mode.needs == Some(tool)) {
            spec.take(program(tool)?);
        }
    }
    let scratch = lab::scratch(&paths::target().join("bench"), "scripts")?;
    for (name, text) in [("hist.bt", HIST_BT), ("exits.bt", EXITS_BT)] {
        let path = scratch.path().join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        spec.files.push((path, format!("/lab/{name}")));
    }
    spec.command = Some(modes::script(modes));
    eprintln!("bench: {} ways of tracing, on {}; this takes some minutes", modes.len(), platform.name());
    let mut output = Progress::default();
    let status = boot(&spec, &mut output)?;
    let output = String::from_utf8_lossy(&output.0).into_owned();
    if status != 0 {
        bail!("the bench in the guest ended with status {status}: {output}");
    }
    costs(&output, platform.isa(), platform.instruction_ns())
        .with_context(|| format!("cannot make sense of the guest's output: {output}"))
}

/// Keeps the guest's output, and says on standard error what has been measured.
#[derive(Default)]
struct Progress(Vec<u8>);

impl Write for Progress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line_start = self.0.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.0.extend_from_slice(bytes);
        let complete =
            self.0[line_start..].split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        for line in complete.map(String::from_utf8_lossy) {
            if let Some(result) = line.strip_prefix("BENCH|") {
                eprintln!("bench: {}", result.split('|').take(2).collect::<Vec<_>>().join(", "));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn program(tool: &str) -> Result<PathBuf> {
    match tool {
        "perf" => libs::perf(),
        _ => which(tool).with_context(|| format!("{tool} is not installed")),
    }
}

fn versions() -> Vec<String> {
    [("perf", "--version"), ("bpftrace", "--version"), ("qemu-system-x86_64", "--version")]
        .into_iter()
        .filter_map(|(program, argument)| Some(probe(program, &[argument])?.lines().next()?.to_owned()))
        .collect()
}

/// Instructions per pair: the workload's time by mode and load, over the number of its exits.
fn costs(output: &str, isa: &str, instruction_ns: f64) -> Result<Costs> {
    let mut costs = Costs::new();
    for line in output.lines().filter_map(|line| line.strip_prefix("BENCH|")) {
        let mut parts = line.splitn(3, '|');
        let (name, load, json) = (parts.next(), parts.next(), parts.next());
        let (name, load) = name.zip(load).context("a line without mode or load")?;
        if load == ENDED {
            costs.remove(name);
            continue;
        }
        let result: Value = serde_json::from_str(json.unwrap_or_default())
            .with_context(|| format!("the workload failed under {name}: {line}"))?;
        let vcpu = &result["vms"][0]["vcpus"][0];
        let wall_ns = vcpu["wall_ns"].as_f64().context("no wall_ns")?;
        let exits: u64 = vcpu[isa].as_object().context("no counts")?.values().filter_map(Value::as_u64).sum();
        costs
            .entry(name.to_owned())
            .or_default()
            .insert(load.to_owned(), wall_ns / instruction_ns / exits as f64);
    }
    let untraced = costs.remove(MODES[0].name).context("the untraced run is missing")?;
    for by_load in costs.values_mut() {
        for (load, cost) in by_load.iter_mut() {
            *cost -= untraced.get(load).copied().unwrap_or(f64::NAN);
        }
    }
    // A cost of nothing is that of a tool that had not begun.
    costs.retain(|name, by_load| {
        !name.starts_with("exitlat") || by_load.get(LOADS[0].0).is_none_or(|cost| *cost > LEAST)
    });
    costs.insert(MODES[0].name.to_owned(), untraced);
    Ok(costs)
}

/// Names of the modes, in the order of the table.
fn names() -> impl Iterator<Item = &'static str> {
    MODES.iter().map(|mode: &Mode| mode.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_differences_per_exit() {
        let line = |mode: &str, ns: u64| {
            format!(
                "BENCH|{mode}|cpuid|{{\"vms\":[{{\"vcpus\":[{{\"wall_ns\":{ns},\
                 \"svm\":{{\"cpuid\":90,\"npf\":10}}}}]}}]}}\n"
            )
        };
        let lines = line("untraced", 280_000) + &line("x", 340_000) + &line("y", 1) + "BENCH|y|ended|\n";
        let by_mode = costs(&lines, "svm", 1.0).unwrap();
        assert_eq!(by_mode["x"]["cpuid"], 600.0);
        assert_eq!(by_mode["untraced"]["cpuid"], 2800.0);
        assert!(!by_mode.contains_key("y"));
        assert_eq!(costs(&lines, "svm", 10.0).unwrap()["x"]["cpuid"], 60.0);
        assert!(costs("nothing", "svm", 1.0).is_err());
        let late = line("untraced", 280_000) + &line("exitlat late", 281_000) + &line("exitlat", 340_000);
        let late = costs(&late, "svm", 1.0).unwrap();
        assert!(!late.contains_key("exitlat late") && late.contains_key("exitlat"));
    }
}
