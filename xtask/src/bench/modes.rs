//! The ways of tracing that are compared, each as a command in the lab's guest.

use super::budgets::{CAUSES, CLASSIC, OURS};

/// A way of tracing exits.
#[derive(Debug)]
pub struct Mode {
    /// Name in the table.
    pub name: &'static str,
    /// A program of the host that it needs in the guest.
    pub needs: Option<&'static str>,
    /// Shell commands that start watching in the background and leave the process in `$T`, if there is one.
    pub start: &'static str,
    /// Shell commands that end watching.
    pub stop: &'static str,
}

const NOTHING: &str = "";
/// Not SIGINT, which a shell makes its background jobs ignore.
const KILL: &str = "kill $T; wait $T";
const EVENTS: &str = "/sys/kernel/tracing/events/kvm";

const fn mode(name: &'static str, needs: Option<&'static str>, start: &'static str) -> Mode {
    Mode { name, needs, start, stop: KILL }
}

/// All modes. The others are compared with the first. exitlat's process is stopped
/// meanwhile; what it costs is measured by `tests/bench/src/bin/bench_reader.rs`.
pub const MODES: [Mode; 15] = [
    Mode { name: "untraced", needs: None, start: NOTHING, stop: NOTHING },
    mode("empty raw programs (floor)", None, "null-programs raw & T=$!"),
    mode("raw programs that read the clock", None, "null-programs clock & T=$!"),
    mode("empty classic programs (floor)", None, "null-programs tp & T=$!"),
    mode(OURS, None, "exitlat live --attach raw --causes none -d 60 & T=$!"),
    mode(CAUSES, None, "exitlat live --attach raw --causes msr,cr -d 60 & T=$!"),
    mode(
        "exitlat live, raw tracepoints, --causes none, --no-sched",
        None,
        "exitlat live --attach raw --causes none --no-sched -d 60 & T=$!",
    ),
    mode(
        "exitlat live, raw tracepoints, --causes none, --guest-histogram",
        None,
        "exitlat live --attach raw --causes none --guest-histogram -d 60 & T=$!",
    ),
    mode(CLASSIC, None, "exitlat live --attach tp --causes none -d 60 & T=$!"),
    mode(
        "perf stat -e, counting only",
        Some("perf"),
        "perf stat -a -e kvm:kvm_exit,kvm:kvm_entry sleep 9999 & T=$!",
    ),
    mode("bpftrace, count and sum per reason in maps", Some("bpftrace"), "bpftrace /lab/exits.bt & T=$!"),
    Mode {
        name: "ftrace, both events",
        needs: None,
        start: "T=; echo 1 >$EVENTS/kvm_exit/enable; echo 1 >$EVENTS/kvm_entry/enable",
        stop: "echo 0 >$EVENTS/kvm_exit/enable; echo 0 >$EVENTS/kvm_entry/enable",
    },
    mode("perf kvm stat record", Some("perf"), "perf kvm stat record -a -o /tmp/perf.data & T=$!"),
    mode("perf kvm stat live", Some("perf"), "perf kvm stat live & T=$!"),
    mode("bpftrace, histogram per reason", Some("bpftrace"), "bpftrace /lab/hist.bt & T=$!"),
];

/// The usual one-liner: a power-of-two histogram of exit to entry by reason.
pub const HIST_BT: &str = "\
tracepoint:kvm:kvm_exit { @start[tid] = nsecs; @reason[tid] = args->exit_reason; }
tracepoint:kvm:kvm_entry /@start[tid]/ {
  @ns[@reason[tid]] = hist(nsecs - @start[tid]); delete(@start[tid]); delete(@reason[tid]);
}
";

/// The cheapest script that still tells reasons and times apart.
pub const EXITS_BT: &str = "\
tracepoint:kvm:kvm_exit { @start[tid] = nsecs; @reason[tid] = args->exit_reason; }
tracepoint:kvm:kvm_entry /@start[tid]/ { @ns[@reason[tid]] = stats(nsecs - @start[tid]); @start[tid] = 0; }
";

/// Loads: a name, and a command. In `switch` no guest runs; it is the cost of each context switch and wake-up
/// of any other thread of the host.
pub const LOADS: [(&str, &str); 3] = [
    ("cpuid", "workload cpuid=20000"),
    ("mixed", "workload cpuid=4000 msr=4000 io=4000 mmio=2000"),
    ("switch", "context-switches 10000"),
];

/// Printed in place of a load if the tool did not start, or ended early.
pub const ENDED: &str = "ended";

/// Guest seconds that a tool gets to start. The emulator skips over idle time, so it costs nothing. But a
/// tool that never sleeps is emulated for all of it, some twenty-five seconds for each.
const SETTLE: u32 = 6;

/// Waits until a tool uses little CPU time, a fifth of 3 s at most: it has started. An emulator may take long
/// for it. Times in /proc are hundredths of a second.
const QUIET: &str = "\
used() { set -- $(cut -d' ' -f14,15 /proc/$T/stat); echo $(($1 + $2)); }
for i in $(seq 60); do
  before=$(used); sleep 3
  [ $(($(used) - before)) -le 60 ] && break
done
";

/// The script that measures the named modes, one after the other.
pub fn script(modes: &[&Mode]) -> String {
    let mut script = format!("EVENTS={EVENTS}\nworkload cpuid=100 >/dev/null\n");
    for mode in modes {
        let Mode { name, start, stop, .. } = mode;
        script.push_str(&format!(
            "{{ {}\n}} >/dev/null 2>&1\nsleep {SETTLE}\n",
            if start.is_empty() { ":" } else { start }
        ));
        if name.starts_with("exitlat") {
            script.push_str(QUIET);
        }
        // What exitlat's process does now and then would fall into one load and not into another.
        let (freeze, thaw) = if name.starts_with("exitlat") { ("STOP", "CONT") } else { ("0", "0") };
        script.push_str(&format!("kill -{freeze} $T 2>/dev/null\n"));
        for (load, command) in LOADS {
            script.push_str(&format!("echo \"BENCH|{name}|{load}|$({command})\"\n"));
        }
        script.push_str(&format!("kill -{thaw} $T 2>/dev/null\n"));
        // A tool that has ended, or never began, would seem to cost nothing.
        script.push_str(&format!(
            "[ -z \"$T\" ] || kill -0 $T 2>/dev/null || echo \"BENCH|{name}|{ENDED}|\"\n"
        ));
        script.push_str(&format!(
            "{{ {}\n}} >/dev/null 2>&1\nsleep 2\n",
            if stop.is_empty() { ":" } else { stop }
        ));
    }
    script
}
