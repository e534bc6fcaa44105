//! `cargo xtask bench`: what watching costs, counted in instructions, the same every time.
//!
//! The lab's guest runs under an emulator for which one instruction is one nanosecond of guest time. The time the
//! workload takes is then a count of executed instructions, whatever else this machine does; the difference to the
//! same workload unwatched, divided by its exits, is the cost of one exit and entry.

mod modes;
mod refresh;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::build::{FLOOR, Profile, SWITCHES, build};
use crate::cli::BenchArgs;
use crate::cmd::lab::add_programs;
use crate::lab::kernels::{Arch, Cpu, Kernel, Matrix};
use crate::lab::{Spec, boot, libs};
use crate::paths;
use crate::process::{Output, probe};
use crate::setup::{self, Purpose};
use modes::{EXITS_BT, HIST_BT, MODES, Mode};

/// Instructions per exit and entry, by mode and load; none where the mode could not run.
pub type Costs = BTreeMap<String, BTreeMap<String, f64>>;
/// The same by kernel.
pub type ByKernel = BTreeMap<String, Costs>;

/// Measured beside the matrix's default kernel: the first of the matrix that has typed loads. Without the other tools,
/// whose cost is much the same.
const NEWER: &str = "6.12";

/// Runs it.
pub fn run(args: &BenchArgs) -> Result<u8> {
    setup::run_for(Purpose::Bench)?;
    let matrix = Matrix::load()?;
    let first = matrix.kernel(Arch::X86_64, args.kernel.as_deref())?;
    let before = args.compare.as_deref().map(table::read).transpose()?;
    let (mut here, missing): (Vec<_>, Vec<_>) =
        MODES.iter().partition(|mode| mode.needs.is_none_or(|tool| program(tool).is_ok()));
    if let Some(only) = &args.only {
        here.retain(|mode| mode.name == MODES[0].name || mode.name.contains(only.as_str()));
    }
    let mut sections = Vec::new();
    let mut all = ByKernel::new();
    let costs = measure(first, &here)?;
    sections.push(table::section(&costs, &missing, first));
    all.insert(first.name.clone(), costs);
    if args.kernel.is_none() {
        let newer = matrix.kernel(Arch::X86_64, Some(NEWER))?;
        here.retain(|mode| mode.needs.is_none());
        let costs = measure(newer, &here)?;
        sections.push(table::section(&costs, &[], newer));
        all.insert(newer.name.clone(), costs);
    }
    if args.only.is_none() {
        sections.push(table::budgets(&all));
        sections.push(refresh::run()?);
    }
    let text = table::page(&sections, &versions());
    println!("{text}");
    table::write(&all, &text, args.only.is_none() && args.kernel.is_none())?;
    Ok(u8::from(before.is_some_and(|before| table::slower(&before, &all))))
}

/// Runs all modes on one kernel.
fn measure(kernel: &Kernel, modes: &[&Mode]) -> Result<Costs> {
    let mut spec = Spec::new(kernel, Cpu::Amd);
    spec.icount = true;
    spec.silence = 900;
    add_programs(&mut spec, Output::Terminal)?;
    for (program, to) in [(FLOOR, "/bin/floor"), (SWITCHES, "/bin/switches")] {
        spec.files.push((build(program, &Profile::lab(Arch::X86_64), Output::Terminal)?, to.to_owned()));
    }
    for tool in ["perf", "bpftrace"] {
        if modes.iter().any(|mode| mode.needs == Some(tool)) {
            spec.take(program(tool)?);
        }
    }
    let scratch = paths::Scratch::new(&paths::target().join("bench"), "scripts")?;
    for (name, text) in [("hist.bt", HIST_BT), ("exits.bt", EXITS_BT)] {
        let path = scratch.path().join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        spec.files.push((path, format!("/lab/{name}")));
    }
    spec.command = Some(modes::script(modes));
    eprintln!("bench: {} ways of watching, on Linux {}; this takes some minutes", modes.len(), kernel.name);
    let mut output = Progress::default();
    let status = boot(&spec, &mut output)?;
    let output = String::from_utf8_lossy(&output.0).into_owned();
    if status != 0 {
        bail!("the bench in the guest ended with status {status}: {output}");
    }
    costs(&output).with_context(|| format!("cannot make sense of the guest's output: {output}"))
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
        _ => {
            let path = probe("sh", &["-c", &format!("command -v {tool}")]).unwrap_or_default();
            let path = Path::new(path.trim()).to_owned();
            if path.as_os_str().is_empty() { bail!("{tool} is not installed") } else { Ok(path) }
        }
    }
}

fn versions() -> Vec<String> {
    [("perf", "--version"), ("bpftrace", "--version"), ("qemu-system-x86_64", "--version")]
        .into_iter()
        .filter_map(|(program, argument)| Some(probe(program, &[argument])?.lines().next()?.to_owned()))
        .collect()
}

/// Instructions per pair: the workload's time by mode and load, over the number of its exits.
fn costs(output: &str) -> Result<Costs> {
    let mut costs = Costs::new();
    for line in output.lines().filter_map(|line| line.strip_prefix("BENCH|")) {
        let mut parts = line.splitn(3, '|');
        let (name, load, json) = (parts.next(), parts.next(), parts.next());
        let (name, load) = name.zip(load).context("a line without mode or load")?;
        let result: Value = serde_json::from_str(json.unwrap_or_default())
            .with_context(|| format!("the workload failed under {name}: {line}"))?;
        let vcpu = &result["vms"][0]["vcpus"][0];
        let wall_ns = vcpu["wall_ns"].as_f64().context("no wall_ns")?;
        let exits: u64 =
            vcpu["svm"].as_object().context("no counts")?.values().filter_map(Value::as_u64).sum();
        costs.entry(name.to_owned()).or_default().insert(load.to_owned(), wall_ns / exits as f64);
    }
    let untraced = costs.remove(MODES[0].name).context("the unwatched run is missing")?;
    for by_load in costs.values_mut() {
        for (load, cost) in by_load.iter_mut() {
            *cost -= untraced.get(load).copied().unwrap_or(f64::NAN);
        }
    }
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
                "BENCH|{mode}|cpuid|{{\"vms\":[{{\"vcpus\":[{{\"wall_ns\":{ns},\"svm\":{{\"cpuid\":90,\"npf\":10}}}}]}}]}}\n"
            )
        };
        let costs = costs(&(line("untraced", 280_000) + &line("x", 340_000))).unwrap();
        assert_eq!(costs["x"]["cpuid"], 600.0);
        assert_eq!(costs["untraced"]["cpuid"], 2800.0);
        assert!(super::costs("nothing").is_err());
    }
}
