//! The bench's results: on the screen, in `docs/overhead.md`, and as numbers to compare with later.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::budgets::OURS;
use super::modes::{LOADS, MODES, Mode};
use super::{ByMachine, Costs, Platform, names};
use crate::paths;

/// By how many instructions a cost may rise before it counts as slower, by load. The emulators repeat them to
/// one or two; how threads come to share a CPU adds some to a context switch.
const MAY_RISE: [(&str, f64); 3] = [("cpuid", 5.0), ("mixed", 5.0), ("switch", 15.0)];

/// What was tried and is not used, with what it brought when it was measured.
const LOST: &str = "\
## Ideas that lost

| idea | measured | why it is not used |
|---|---|---|
| KVM's preemption notifiers in place of the scheduler's events | the table above | short waits are off by up to 100 %, \
`stopped` is not known |
| raw tracepoints on Linux 5.10, where `kvm_exit` has the reason as an argument | floor 205 of 797 instructions \
(above) | the module has no BTF: nothing proves where a `struct kvm_vcpu` has the vCPU's number |
| one loop for all vCPUs' stays that tells each from five fields, without branches | 28,700 verified instructions, as \
with branches | the compiler makes branches of it; each vCPU keeps its stay ready now (4,700) |
| the ring of a thread's entries by index, not by pointer | 20,700 verified instructions, not 8,000 | the verifier \
tells all indices apart |
| no descriptor left for aya's loader, so that it does not parse the kernel's types | 16 ms less at the start | it \
relies on how the loader fails |
";

/// The page with the results.
pub fn page(sections: &[String], versions: &[String]) -> String {
    format!(
        "# Overhead\n\nPrinted by `cargo xtask bench`; run it to get the numbers of another kernel (`--kernel`) or \
         version. It runs in the\nlab, on one CPU under emulators that count time in instructions: QEMU for AMD, \
         Bochs for Intel.\n{}.\n\n{}\n{LOST}",
        versions.join(", "),
        sections.join("\n")
    )
}

/// The section of one platform.
pub fn section(costs: &Costs, missing: &[&Mode], tried: &[&Mode], platform: &Platform<'_>) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "## {}\n\nExtra instructions over the same untraced guest, per exit and entry. For `switch`: per context switch \
         and\nwake-up of a thread that is no vCPU.\n\n{}\n",
        platform.name(),
        LOADS
            .iter()
            .map(|(load, command)| format!(
                "- {load}: `{command}`, {:.0} each untraced",
                costs[MODES[0].name][*load]
            ))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let _ = writeln!(
        out,
        "| | {} | times exitlat |\n|---|{}---:|",
        LOADS.map(|(load, _)| load).join(" | "),
        "---:|".repeat(LOADS.len())
    );
    let first = LOADS[0].0;
    let ours = costs.get(OURS).and_then(|by_load| by_load.get(first));
    for name in names().skip(1) {
        let Some(by_load) = costs.get(name) else { continue };
        let cells: Vec<_> =
            LOADS.iter().map(|(load, _)| format!("{:.0}", by_load.get(*load).unwrap_or(&f64::NAN))).collect();
        let ratio = ours.map_or_else(String::new, |ours| format!("{:.1}", by_load[first] / ours));
        let _ = writeln!(out, "| {name} | {} | {ratio} |", cells.join(" | "));
    }
    for mode in missing {
        let _ = writeln!(out, "| {} | not installed here | | | |", mode.name);
    }
    for mode in tried.iter().filter(|mode| !costs.contains_key(mode.name)) {
        let _ = writeln!(out, "| {} | did not run here | | | |", mode.name);
    }
    out
}

/// Saves the numbers of a run. A complete run also replaces the page. An incomplete one has a file of its
/// own, because later runs are compared with the complete one.
pub fn write(costs: &ByMachine, text: &str, complete: bool) -> Result<()> {
    let numbers = paths::target().join(if complete { "bench.json" } else { "bench-part.json" });
    fs::write(&numbers, serde_json::to_string_pretty(costs)?)
        .with_context(|| format!("cannot write {}", numbers.display()))?;
    eprintln!("bench: numbers for --compare are in {}", numbers.display());
    if complete {
        let page = paths::root().join("docs/overhead.md");
        fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))?;
        eprintln!("bench: wrote {}", page.display());
    }
    Ok(())
}

/// Numbers kept by an earlier run.
pub fn read(path: &Path) -> Result<ByMachine> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} has no numbers of a bench", path.display()))
}

/// Lists exitlat's modes that got slower than before or no longer ran; returns whether there is one. `wanted`
/// are the modes that this run was to measure.
///
/// # Errors
/// If the runs have nothing in common.
pub fn slower(before: &ByMachine, now: &ByMachine, wanted: &[&str]) -> Result<bool> {
    let (mut any, mut compared) = (false, 0);
    for (machine, costs) in now {
        let ran_before = before.get(machine).into_iter().flat_map(BTreeMap::keys);
        let is_missing = |name: &&String| wanted.contains(&name.as_str()) && !costs.contains_key(*name);
        for name in ran_before.filter(is_missing) {
            println!("{machine}, {name}: did not run");
            any = true;
        }
        for (name, by_load) in costs.iter().filter(|(name, _)| name.starts_with("exitlat")) {
            for (load, cost) in by_load {
                let old =
                    before.get(machine).and_then(|costs| costs.get(name)).and_then(|loads| loads.get(load));
                let Some(old) = old else { continue };
                compared += 1;
                let more = cost - old;
                let limit = MAY_RISE.iter().find(|(name, _)| name == load);
                let worse = more > limit.with_context(|| format!("no limit for the load {load}"))?.1;
                let verdict = if worse { "slower" } else { "no slower" };
                any |= worse;
                println!("{machine}, {name}, {load}: {old:.0} -> {cost:.0} ({more:+.0}), {verdict}");
            }
        }
    }
    ensure!(compared > 0, "the earlier run measured nothing that this one did");
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::super::budgets::CLASSIC;
    use super::*;

    #[test]
    fn only_our_own_and_only_beyond_the_limit() {
        let costs = |ours: f64, perf: f64| {
            let one = |name: &str, cost| (name.to_owned(), [("cpuid".to_owned(), cost)].into());
            ByMachine::from([(
                "Linux 6.1".to_owned(),
                Costs::from([one(OURS, ours), one("perf kvm stat live", perf)]),
            )])
        };
        let before = costs(500.0, 100.0);
        assert!(!slower(&before, &costs(505.0, 900.0), &[OURS]).unwrap());
        assert!(slower(&before, &costs(506.0, 100.0), &[OURS]).unwrap());
        assert!(slower(&costs(-20.0, 0.0), &costs(300.0, 0.0), &[OURS]).unwrap());
        assert!(!slower(&costs(1.0, 0.0), &costs(4.0, 0.0), &[OURS]).unwrap());
        assert!(slower(&ByMachine::new(), &costs(520.0, 100.0), &[OURS]).is_err());
    }

    #[test]
    fn what_no_longer_runs_is_no_success() {
        let all = |names: &[&str]| {
            let one = |name: &&str| ((*name).to_owned(), [("cpuid".to_owned(), 500.0)].into());
            ByMachine::from([("Linux 6.1".to_owned(), names.iter().map(one).collect())])
        };
        let (both, one) = (all(&[OURS, CLASSIC]), all(&[CLASSIC]));
        assert!(slower(&both, &one, &[OURS, CLASSIC]).unwrap());
        // This run was not to measure it.
        assert!(!slower(&both, &one, &[CLASSIC]).unwrap());
    }
}
