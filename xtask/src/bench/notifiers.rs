//! KVM's preemption notifiers as a way to follow the scheduler, beside exitlat's own.
//!
//! KVM is told when a vCPU thread loses its CPU or gets one (`kvm_sched_out`, `kvm_sched_in`,
//! virt/kvm/kvm_main.c), and the scheduler keeps how long each thread waited (`sched_info.run_delay`) and ran
//! (`se.sum_exec_runtime`). Threads that run no guest would pay nothing. A bpftrace script measures that way
//! and exitlat its own at the same time, for guests with known answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::program;
use crate::guest::{add_programs, boot};
use crate::paths;
use crate::process::Output;
use lab::Spec;
use lab::target::Machine;
use lab::{Kernel, target::Emulator};

/// Sums by part, in ns. In the VMM no notifier is told of a switch: what its stay took beyond run queue and
/// CPU is taken for sleep. The CPU time so far is what the scheduler added up last, and what ran since; its
/// clock is held against ours whenever a notifier runs.
const SCRIPT: &str = "\
kprobe:kvm_sched_out {
  @out[tid] = nsecs; @out_delay[tid] = ((struct task_struct *)curtask)->sched_info.run_delay;
}
kprobe:kvm_sched_in /@out[tid]/ {
  $task = (struct task_struct *)curtask;
  $waited = $task->sched_info.run_delay - @out_delay[tid];
  @waited = sum($waited);
  @blocked = sum(nsecs - @out[tid] - $waited);
  @clock[tid] = nsecs - $task->se.exec_start;
  @out[tid] = 0;
}
tracepoint:kvm:kvm_userspace_exit {
  $task = (struct task_struct *)curtask;
  @left[tid] = nsecs;
  @left_delay[tid] = $task->sched_info.run_delay;
  @left_ran[tid] = $task->se.sum_exec_runtime + nsecs - @clock[tid] - $task->se.exec_start;
}
tracepoint:kvm:kvm_entry /@left[tid]/ {
  $task = (struct task_struct *)curtask;
  $waited = $task->sched_info.run_delay - @left_delay[tid];
  $ran = $task->se.sum_exec_runtime + nsecs - @clock[tid] - $task->se.exec_start - @left_ran[tid];
  @waited = sum($waited);
  @user = sum($ran);
  @user_blocked = sum(nsecs - @left[tid] - $waited - $ran);
  @left[tid] = 0;
}
END { clear(@out); clear(@out_delay); clear(@clock); clear(@left); clear(@left_delay); clear(@left_ran); }
";

/// A guest, and what competes with it for the only CPU.
struct Load {
    name: &'static str,
    workload: &'static str,
    beside: &'static str,
}

const BUSY: &str = "sh -c 'while :; do :; done' & BESIDE=$!";

const LOADS: [Load; 6] = [
    Load { name: "the VMM sleeps", workload: "--io-sleep-us 5000 io=200", beside: "BESIDE=" },
    Load { name: "the VMM computes", workload: "--io-spin-us 5000 io=200", beside: "BESIDE=" },
    Load { name: "the guest halts", workload: "--khlt-us 500000 khlt=4", beside: "BESIDE=" },
    Load { name: "the VMM computes, a CPU is shared", workload: "--io-spin-us 5000 io=200", beside: BUSY },
    Load { name: "the VMM sleeps, a CPU is shared", workload: "--io-sleep-us 5000 io=200", beside: BUSY },
    Load { name: "the guest computes, a CPU is shared", workload: "cpuid=400000", beside: BUSY },
];

/// Parts, with the script's name and those of our table that they consist of.
const PARTS: [(&str, &str, &[&str]); 4] = [
    ("run queue", "waited", &["runqueue_ns"]),
    ("asleep in KVM", "blocked", &["halt_ns", "blocked_ns"]),
    ("VMM", "user", &["user_ns"]),
    ("asleep in the VMM", "user_blocked", &["user_blocked_ns", "stopped_ns"]),
];

const ABOUT: &str = "\
## KVM's preemption notifiers, as a way to follow the scheduler

KVM is told when a vCPU thread loses its CPU or gets one (`kvm_sched_out`, `kvm_sched_in`), so threads that run no
guest would pay nothing. A bpftrace script measured the parts that way, with `sched_info.run_delay` and
`se.sum_exec_runtime` of the scheduler, while exitlat measured its own. A switch in the VMM calls no notifier.
`stopped` is no part of that way at all: whether all vCPUs slept at a time is not known.

";

const VERDICT: &str = "
Sleeps and long waits agree within 0.1 %. Short ones do not: the scheduler takes its time once for each of its
turns. So a wait of some microseconds after a wake-up is often 0, and the VMM gets some microseconds of its sleep.
So exitlat follows the scheduler's own events, by typed tracepoints where the kernel has them.
";

/// Runs all loads and returns the table.
///
/// # Errors
/// If the guest fails, or says something else.
pub fn run(kernel: &Kernel, machine: &'static Machine) -> Result<String> {
    let mut spec = Spec::new(kernel, machine);
    spec.icount = machine.emulator == Emulator::Qemu;
    add_programs(&mut spec, Output::Terminal)?;
    spec.take(program("bpftrace")?);
    let scratch = lab::scratch(&paths::target().join("bench"), "notifiers")?;
    let path = scratch.path().join("notifiers.bt");
    fs::write(&path, SCRIPT).with_context(|| format!("cannot write {}", path.display()))?;
    spec.files.push((path, "/lab/notifiers.bt".to_owned()));
    let mut script = String::from("workload cpuid=100 >/dev/null\n");
    for Load { name, workload, beside } in &LOADS {
        let _ = write!(
            script,
            "bpftrace /lab/notifiers.bt >/tmp/notifiers 2>&1 & B=$!\n\
             exitlat record --causes none -o /tmp/r.exitlat --force >/dev/null 2>&1 & E=$!\n\
             sleep 40\n{beside}\nworkload {workload} >/dev/null\n\
             [ -z \"$BESIDE\" ] || kill $BESIDE\nkill -INT $B; wait $B; kill $E; wait $E\n\
             echo \"PARTS|{name}|$(tr '\\n' ' ' </tmp/notifiers)|$(exitlat report --format json /tmp/r.exitlat)\"\n"
        );
    }
    spec.command = Some(script);
    eprintln!("bench: KVM's notifiers, {} guests; this takes some minutes", LOADS.len());
    let mut output = Vec::new();
    let status = boot(&spec, &mut output)?;
    let output = String::from_utf8_lossy(&output).into_owned();
    if status != 0 {
        bail!("the guest ended with status {status}: {output}");
    }
    table(&output).with_context(|| format!("cannot make sense of the guest's output: {output}"))
}

fn table(output: &str) -> Result<String> {
    let mut out =
        format!("{ABOUT}| | part | exitlat, ms | notifiers, ms | difference |\n|---|---|---:|---:|---:|\n");
    let mut rows = 0;
    for line in output.lines().filter_map(|line| line.strip_prefix("PARTS|")) {
        let mut fields = line.splitn(3, '|');
        let (name, sums, json) = (fields.next(), fields.next(), fields.next());
        let (name, sums) = name.zip(sums).context("a line without sums")?;
        let theirs = sums_of(sums);
        let json: Value = serde_json::from_str(json.unwrap_or_default()).context("no table")?;
        let ours = |parts: &[&str]| -> u64 {
            let rows = json["rows"].as_array().into_iter().flatten();
            rows.flat_map(|row| parts.iter().filter_map(|part| row[*part].as_u64())).sum()
        };
        for (part, theirs_name, names) in PARTS {
            let (ours, theirs) =
                (ours(names) as f64 / 1e6, theirs.get(theirs_name).copied().unwrap_or(0) as f64 / 1e6);
            let _ =
                writeln!(out, "| {name} | {part} | {ours:.2} | {theirs:.2} | {} |", difference(ours, theirs));
            rows += 1;
        }
    }
    ensure!(rows == LOADS.len() * PARTS.len(), "{rows} rows");
    Ok(out + VERDICT)
}

fn difference(ours: f64, theirs: f64) -> String {
    if ours == 0.0 { "-".to_owned() } else { format!("{:+.2} %", 100.0 * (theirs - ours) / ours) }
}

/// `@name: number` as bpftrace prints it.
fn sums_of(text: &str) -> BTreeMap<&str, i64> {
    let words: Vec<_> = text.split_whitespace().collect();
    let sums = words.windows(2).filter_map(|pair| {
        let name = pair[0].strip_prefix('@')?.strip_suffix(':')?;
        Some((name, pair[1].parse().ok()?))
    });
    sums.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_from_what_bpftrace_prints() {
        let sums = sums_of("Attaching 5 probes... @user: 120 @waited: -3 @x[12]: 7");
        assert_eq!(sums, [("user", 120), ("waited", -3), ("x[12]", 7)].into());
    }
}
