//! OpenMetrics 1.0 text: the sums of a whole recording as counters and histograms.
//!
//! There is a crate that writes this format; it prints bucket bounds in a form that the format's own parser
//! refuses, and sums as rounded floating-point numbers. All sums here are exact decimals.
//!
//! A bound of a histogram says how many exits took at most that long. Buckets of ours end before a power of two
//! of nanoseconds, so the bounds are one nanosecond below: 0.000001023 s and not 0.000001024 s, and the counts
//! are exact.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
};

use tracer_ebpf::{histogram::bounds_of, part::Part};

use crate::{
    export::Export,
    model::provenance::Header,
    model::{
        Group, GroupBy, Groups, Interval, Loss, Losses, MeasuredParts, Parts, Selection, Threads,
        losses::LOSSES, parts::PARTS,
    },
    render::escape,
};

/// The first and the last power of two with a bound. The last bucket of ours is open and begins below the next.
const BOUNDS: std::ops::RangeInclusive<u32> = 8..=35;

/// The head of a family: its name, type, unit and what it is.
struct Family {
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    help: &'static str,
}

const DUMP: Family =
    Family { name: "exitlat_recording", kind: "info", unit: "", help: "Where the recording comes from." };
const ELAPSED: Family = Family {
    name: "exitlat_elapsed_seconds",
    kind: "gauge",
    unit: "seconds",
    help: "Time that the recording covers.",
};
const EXITS: Family =
    Family { name: "exitlat_exits", kind: "counter", unit: "", help: "VM exits that came to their end." };
const DURATION: Family = Family {
    name: "exitlat_exit_duration_seconds",
    kind: "histogram",
    unit: "seconds",
    help: "Time from a VM exit to the next entry of the same vCPU.",
};
const EXIT_PARTS: Family = Family {
    name: "exitlat_exit_part_seconds",
    kind: "counter",
    unit: "seconds",
    help: "What the time of exits consists of.",
};
const VCPU: Family = Family {
    name: "exitlat_vcpu_seconds",
    kind: "counter",
    unit: "seconds",
    help: "Where the time of vCPU threads went.",
};
const IN_FLIGHT: Family = Family {
    name: "exitlat_in_flight",
    kind: "gauge",
    unit: "",
    help: "Exits that had not come to their end when the recording ended.",
};
const LOST: Family = Family {
    name: "exitlat_losses",
    kind: "counter",
    unit: "",
    help: "What the numbers lack (missing=true), and what else is worth knowing.",
};

/// Writes OpenMetrics at the end.
#[derive(Debug)]
pub struct OpenMetrics {
    header: Header,
    by: GroupBy,
    groups: Groups,
    vcpus: Vcpus,
    known: Option<MeasuredParts>,
    losses: Losses,
    elapsed_ns: u64,
    /// What was open at the end, by host: each has an end of its own.
    open: BTreeMap<Option<String>, usize>,
}

/// Guest time and parts, by VM or vCPU as the groups are.
type Vcpus = BTreeMap<Vec<(&'static str, String)>, (u64, Parts)>;

impl OpenMetrics {
    /// Sums of these groups.
    pub fn new(header: Header, by: GroupBy) -> Self {
        Self {
            header,
            by,
            groups: Groups::new(by),
            vcpus: Vcpus::new(),
            known: None,
            losses: Losses::default(),
            elapsed_ns: 0,
            open: BTreeMap::new(),
        }
    }

    fn text(&self) -> String {
        let mut out = Text(String::new());
        let Header { tool, host, kernel, arch, cpu, backend, path, .. } = &self.header;
        let origin = [
            ("tool", tool),
            ("host", host),
            ("kernel", kernel),
            ("arch", arch),
            ("cpu", cpu),
            ("backend", backend),
            ("path", path),
        ];
        let origin: Labels = origin.iter().map(|(name, value)| (*name, (*value).clone())).collect();
        out.family(&DUMP, [("_info", origin, "1".to_owned())]);
        out.family(&ELAPSED, [("", Labels::new(), seconds(self.elapsed_ns))]);
        let exits = || self.groups.exits().map(|group| (labels(group), group));
        out.family(&EXITS, exits().map(|(labels, group)| ("_total", labels, group.stats.count.to_string())));
        out.family(&DURATION, exits().flat_map(|(labels, group)| histogram(&labels, group)));
        let known = self.known.unwrap_or_default();
        out.family(&EXIT_PARTS, exits().flat_map(|(labels, group)| parts(&labels, &group.parts, known)));
        let vcpus = self.vcpus.iter().flat_map(|(labels, (guest_ns, times))| {
            let guest = ("_total", with(labels, "part", "guest"), seconds(*guest_ns));
            [guest].into_iter().chain(parts(labels, times, known))
        });
        out.family(&VCPU, vcpus);
        out.family(&IN_FLIGHT, [("", Labels::new(), self.open.values().sum::<usize>().to_string())]);
        let mut losses = self.losses;
        losses.add(Loss::UnknownCodes, self.groups.unknown);
        let lost = LOSSES.iter().map(|info| {
            let labels = vec![("cause", info.name.to_owned()), ("missing", info.missing.to_string())];
            ("_total", labels, losses.get(info.loss).to_string())
        });
        out.family(&LOST, lost);
        out.0.push_str("# EOF\n");
        out.0
    }
}

impl Export for OpenMetrics {
    fn interval(
        &mut self,
        _out: &mut dyn Write,
        interval: &Interval,
        threads: &Threads,
        selection: &Selection,
    ) -> io::Result<()> {
        self.groups.add(interval, threads, selection);
        self.losses.merge(&interval.losses);
        self.elapsed_ns = self.elapsed_ns.saturating_add(interval.elapsed_ns());
        self.known = Some(self.known.map_or(interval.known, |known| known.and(interval.known)));
        let wanted = |index: usize| selection.wants_thread(&threads.list[index]);
        let open = interval.open.iter().filter(|open| selection.wants_open(open, threads)).count();
        self.open.insert(interval.host.clone(), open);
        for vcpu in interval.vcpus.iter().filter(|vcpu| wanted(vcpu.thread)) {
            let thread = &threads.list[vcpu.thread];
            let mut labels = Labels::new();
            if let Some(host) = thread.host.as_ref().filter(|_| self.by.host || self.by.vm) {
                labels.push(("host", host.clone()));
            }
            if self.by.vm {
                labels.push(("vm", thread.vm.clone()));
                labels.push(("pid", thread.pid.to_string()));
            }
            if self.by.vcpu {
                labels.push(("vcpu", thread.vcpu.map(|vcpu| vcpu.to_string()).unwrap_or_default()));
                labels.push(("tid", thread.tid.to_string()));
            }
            let (guest_ns, parts) = self.vcpus.entry(labels).or_default();
            *guest_ns = guest_ns.saturating_add(vcpu.guest_ns);
            parts.merge(&vcpu.parts);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.text().as_bytes())
    }
}

type Labels = Vec<(&'static str, String)>;
/// The suffix of the name, the labels, and the number as it is printed.
type Sample = (&'static str, Labels, String);

struct Text(String);

impl Text {
    /// A family and its samples; nothing if there are none.
    fn family(&mut self, family: &Family, samples: impl IntoIterator<Item = Sample>) {
        let Family { name, kind, unit, help } = family;
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
        for (suffix, labels, number) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", label_value(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "{name}{suffix}{labels} {number}");
        }
    }
}

/// A label's value: nothing that acts on a terminal, and the format's three escapes.
fn label_value(value: &str) -> String {
    escape::terminal(value).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(group: &Group) -> Labels {
    let mut labels = Labels::new();
    if let Some(host) = &group.key.host {
        labels.push(("host", host.clone()));
    }
    if let Some((pid, vm)) = &group.key.vm {
        labels.push(("vm", vm.clone()));
        labels.push(("pid", pid.to_string()));
    }
    if let Some(thread) = &group.thread {
        labels.push(("vcpu", thread.vcpu.map(|vcpu| vcpu.to_string()).unwrap_or_default()));
        labels.push(("tid", thread.tid.to_string()));
    }
    if let Some((isa, _)) = group.key.reason {
        labels.push(("isa", isa.to_string()));
        labels.push(("reason", group.reason_label()));
    }
    labels.push(("idle", group.key.idle.to_string()));
    labels
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    labels.iter().cloned().chain([(name, value.to_owned())]).collect()
}

fn histogram(labels: &Labels, group: &Group) -> Vec<Sample> {
    let below = |power: u32| -> u64 {
        let counts = group.stats.buckets.iter().enumerate();
        counts.filter(|(bucket, _)| bounds_of(*bucket).1 <= 1 << power).map(|(_, count)| count).sum()
    };
    let bucket = |bound: &str, count: u64| ("_bucket", with(labels, "le", bound), count.to_string());
    let bounded = BOUNDS.map(|power| bucket(&bound((1 << power) - 1), below(power)));
    let count = group.stats.count;
    let sums = [
        bucket("+Inf", count),
        ("_count", labels.clone(), count.to_string()),
        ("_sum", labels.clone(), seconds(group.stats.sum_ns)),
    ];
    bounded.chain(sums).collect()
}

fn parts(labels: &Labels, parts: &Parts, known: MeasuredParts) -> Vec<Sample> {
    let measured = PARTS.iter().filter(|info| known.has(info.part));
    let sample = |part: Part, id| ("_total", with(labels, "part", id), seconds(parts.get(part)));
    measured.map(|info| sample(info.part, info.id)).collect()
}

/// Nanoseconds as exact seconds.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// A bound as the format wants bounds: as Go prints a floating-point number.
fn bound(ns: u64) -> String {
    let seconds = ns as f64 / 1e9;
    if seconds >= 1e-4 {
        return format!("{seconds}");
    }
    let text = format!("{seconds:e}");
    let (digits, exponent) = text.split_once("e-").expect("it is below one");
    format!("{digits}e-{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_sums() {
        assert_eq!(
            [bound(1023), bound(131_071), bound(2_147_483_647)],
            ["1.023e-06", "0.000131071", "2.147483647"]
        );
        assert_eq!(bound(255), "2.55e-07");
        assert_eq!(bound((1 << 35) - 1), "34.359738367");
        assert_eq!(seconds(12_000_000_345), "12.000000345");
        assert_eq!(label_value("a\"b\\c\nd"), "a\\\"b\\\\c\\\\nd");
    }
}
