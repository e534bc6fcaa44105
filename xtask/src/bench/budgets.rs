//! What tracing may cost: limits and aims by platform, beside what was measured.

use std::fmt::Write as _;

use super::ByMachine;

/// One cost, in instructions per exit and entry, or per context switch with its wake-up.
struct Budget {
    what: &'static str,
    mode: &'static str,
    /// What is more than this mode costs is the cost; [`None`] if all of it is.
    beyond: Option<&'static str>,
    load: &'static str,
    /// By platform: the limit, and the aim.
    limits: &'static [(&'static str, f64, f64)],
}

/// The usual way of tracing, without causes below the reasons.
pub const OURS: &str = "exitlat live, raw tracepoints, --causes none";
/// The same with causes.
pub const CAUSES: &str = "exitlat live, raw tracepoints, --causes msr,cr";
/// By tracepoints.
pub const CLASSIC: &str = "exitlat live, classic tracepoints, --causes none";

const BUDGETS: [Budget; 6] = [
    Budget {
        what: "an exit and its entry, raw tracepoints",
        mode: OURS,
        beyond: None,
        load: "cpuid",
        limits: &[
            ("Linux 6.12", 430.0, 405.0),
            ("Linux 6.1", 470.0, 450.0),
            ("Linux 6.1, Intel", 480.0, 460.0),
            ("Linux 7.2", 520.0, 500.0),
        ],
    },
    Budget {
        what: "an exit and its entry, tracepoints",
        mode: CLASSIC,
        beyond: None,
        load: "cpuid",
        limits: &[("Linux 6.1", 935.0, 850.0), ("Linux 5.10", 797.0, 340.0)],
    },
    Budget {
        what: "the same where 43 % go to the VMM, raw tracepoints",
        mode: OURS,
        beyond: None,
        load: "mixed",
        limits: &[("Linux 6.1", 1190.0, 1000.0)],
    },
    Budget {
        what: "an exit without a cause, beyond `--causes none`",
        mode: CAUSES,
        beyond: Some(OURS),
        load: "cpuid",
        limits: &[("Linux 6.12", 10.0, 8.0), ("Linux 6.1", 10.0, 8.0)],
    },
    Budget {
        what: "a context switch with its wake-up of a thread that runs no guest",
        mode: OURS,
        beyond: None,
        load: "switch",
        limits: &[
            ("Linux 6.12", 230.0, 0.0),
            ("Linux 6.1", 220.0, 0.0),
            ("Linux 6.1, Intel", 250.0, 0.0),
            ("Linux 7.2", 346.0, 0.0),
        ],
    },
    Budget {
        what: "the same where exits come by tracepoints",
        mode: CLASSIC,
        beyond: None,
        load: "switch",
        limits: &[("Linux 5.10", 510.0, 0.0)],
    },
];

const BETWEEN: &str = "\
Two clock reads, one at each end of an exit, and two empty programs take more than half of what raw tracepoints
cost (above). The rest finds the thread's entry by the kernel's vCPU, reads the reason, and adds the sample to
its slot. Before Linux 6.2 a helper call reads the reason, since then an instruction. An exit that returns to the
VMM (43 % of the exits in `mixed`) passes four more programs, and its thread is looked up again. Since Linux 7.0
raw tracepoints themselves cost more. A context switch and its wake-up pass two programs, which are what is left.
";

/// The table of budgets, and whether one was missed. A cost that was not measured in this run is left out.
pub fn table(all: &ByMachine) -> (String, bool) {
    let mut out = String::from(
        "## Budgets\n\nIn instructions.\n\n| | platform | measured | must | aim |\n|---|---|---:|---:|---:|\n",
    );
    let mut any_missed = false;
    for Budget { what, mode, beyond, load, limits } in BUDGETS {
        for (machine, must, aim) in limits {
            let of = |mode: &str| all.get(*machine)?.get(mode)?.get(load).copied();
            let base = beyond.map_or(Some(0.0), of);
            let Some(cost) = of(mode).zip(base).map(|(cost, base)| cost - base) else { continue };
            let missed = cost.round() > *must;
            any_missed |= missed;
            let mark = if missed { " (missed)" } else { "" };
            let _ = writeln!(out, "| {what} | {machine} | {cost:.0}{mark} | {must:.0} | {aim:.0} |");
        }
    }
    let _ = write!(out, "\n{BETWEEN}");
    (out, any_missed)
}

#[cfg(test)]
mod tests {
    use super::super::modes::{LOADS, MODES};
    use super::super::{ByMachine, Costs};
    use super::*;

    #[test]
    fn modes_and_loads_exist() {
        for Budget { mode, beyond, load, .. } in BUDGETS {
            for mode in [Some(mode), beyond].into_iter().flatten() {
                assert!(MODES.iter().any(|it| it.name == mode), "{mode}");
            }
            assert!(LOADS.iter().any(|(name, _)| *name == load), "{load}");
        }
    }

    #[test]
    fn a_limit_is_kept_or_missed_to_the_instruction() {
        let measured = |ours: f64, causes: f64| {
            let of = |mode: &str, cost| (mode.to_owned(), [("cpuid".to_owned(), cost)].into());
            ByMachine::from([("Linux 6.1".to_owned(), Costs::from([of(OURS, ours), of(CAUSES, causes)]))])
        };
        assert!(!table(&measured(470.4, 480.0)).1);
        assert!(table(&measured(470.6, 480.0)).1);
        assert!(table(&measured(460.0, 471.0)).1, "causes cost 11 more");
        let (text, _) = table(&measured(471.0, 471.0));
        assert!(text.contains("| Linux 6.1 | 471 (missed) | 470 | 450 |"), "{text}");
        assert!(!text.contains("Linux 6.12"), "not measured");
    }
}
