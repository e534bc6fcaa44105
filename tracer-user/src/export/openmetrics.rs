//! Metrics as text: the sums of a whole recording as counters and histograms.
//!
//! There are two forms of the same samples. [`Form::OpenMetrics`] is OpenMetrics 1.0. [`Form::Prometheus`] is
//! the older text format 0.0.4, the only one that node_exporter's textfile collector reads: it has no type
//! `info`, no units and no end mark, and a counter's family carries the suffix of its samples.
//!
//! There is a crate that writes OpenMetrics; it prints bucket bounds in a form that the format's own parser
//! refuses, and sums as rounded floating-point numbers. All sums here are exact decimals.
//!
//! A bound of a histogram says how many exits took at most that long. Buckets of ours end before a power of
//! two of nanoseconds, so the bounds are one nanosecond below: 0.000001023 s and not 0.000001024 s, and the
//! counts are exact.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
};

use tracer_ebpf::{histogram::bounds_of, part::Part};

use crate::{
    decode::counters::{Kind, Unit},
    export::Export,
    model::provenance::Header,
    model::{
        Account, CounterId, HostId, MeasuredParts, NamedInterval, Origin, Parts, Place, Row, Rows, Store,
        losses::LOSSES, parts::PARTS,
    },
    render::escape,
};

/// The first and the last power of two with a bound. The last bucket is open and begins below the next.
const BOUNDS: std::ops::RangeInclusive<u32> = 8..=35;

/// Which text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Prometheus,
}

/// The type of a family, which decides the suffixes of its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Info,
    Gauge,
    Counter,
    Histogram,
}

impl Type {
    /// Its word, and the suffix of the family's name in this form.
    fn words(self, form: Form) -> (&'static str, &'static str) {
        match (self, form) {
            (Self::Info, Form::OpenMetrics) => ("info", ""),
            // The format has no such type. The name is that of the sample in both forms.
            (Self::Info, Form::Prometheus) => ("gauge", "_info"),
            (Self::Gauge, _) => ("gauge", ""),
            (Self::Counter, Form::OpenMetrics) => ("counter", ""),
            (Self::Counter, Form::Prometheus) => ("counter", "_total"),
            (Self::Histogram, _) => ("histogram", ""),
        }
    }
}

/// The head of a family: its name, type, unit and what it is.
struct Family {
    name: &'static str,
    kind: Type,
    unit: &'static str,
    help: &'static str,
}

const DUMP: Family =
    Family { name: "exitlat_recording", kind: Type::Info, unit: "", help: "Where the recording comes from." };
const ELAPSED: Family = Family {
    name: "exitlat_elapsed_seconds",
    kind: Type::Gauge,
    unit: "seconds",
    help: "Time that the recording covers.",
};
const EXITS: Family =
    Family { name: "exitlat_exits", kind: Type::Counter, unit: "", help: "VM exits that came to their end." };
const DURATION: Family = Family {
    name: "exitlat_exit_duration_seconds",
    kind: Type::Histogram,
    unit: "seconds",
    help: "Time from a VM exit to the next entry of the same vCPU.",
};
const EXIT_PARTS: Family = Family {
    name: "exitlat_exit_part_seconds",
    kind: Type::Counter,
    unit: "seconds",
    help: "What the time of exits consists of.",
};
const VCPU: Family = Family {
    name: "exitlat_vcpu_seconds",
    kind: Type::Counter,
    unit: "seconds",
    help: "Where the time of vCPU threads went.",
};
const IN_FLIGHT: Family = Family {
    name: "exitlat_in_flight",
    kind: Type::Gauge,
    unit: "",
    help: "Exits that had not come to their end when the recording ended.",
};
const LOST: Family = Family {
    name: "exitlat_losses",
    kind: Type::Counter,
    unit: "",
    help: "What the numbers lack (missing=true), and what else is worth knowing.",
};

const COUNTED: Family = Family {
    name: "exitlat_kvm_stat",
    kind: Type::Counter,
    unit: "",
    help: "KVM's own counters, since the VM began.",
};
const COUNTED_SECONDS: Family = Family {
    name: "exitlat_kvm_stat_seconds",
    kind: Type::Counter,
    unit: "seconds",
    help: "KVM's own sums of times, since the VM began.",
};
const STATE: Family = Family {
    name: "exitlat_kvm_stat_state",
    kind: Type::Gauge,
    unit: "",
    help: "KVM's own numbers that do not only grow.",
};

/// Writes the metrics at the end.
#[derive(Debug)]
pub struct OpenMetrics {
    form: Form,
    header: Header,
    rows: Rows,
    store: Store,
}

impl OpenMetrics {
    /// Sums of these rows.
    pub fn new(header: Header, rows: Rows, form: Form) -> Self {
        Self { form, header, rows, store: Store::keeping(usize::MAX) }
    }

    fn text(&self) -> String {
        let mut out = Text { text: String::new(), form: self.form };
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
        out.family(&ELAPSED, [("", Labels::new(), seconds(self.rows.elapsed_ns))]);
        let exits = || self.rows.exits().map(|row| (labels(row), row));
        out.family(&EXITS, exits().map(|(labels, row)| ("_total", labels, row.stats.count.to_string())));
        out.family(&DURATION, exits().flat_map(|(labels, row)| histogram(&labels, row)));
        let known = self.rows.measured;
        out.family(&EXIT_PARTS, exits().flat_map(|(labels, row)| parts(&labels, &row.parts, known)));
        // Sorted by their labels as text.
        let accounts: BTreeMap<Labels, &Account> =
            self.rows.places().map(|(place, account)| (place_labels(place), account)).collect();
        let vcpus = accounts.iter().flat_map(|(labels, account)| {
            let guest = ("_total", with(labels, "part", "guest"), seconds(account.guest_ns));
            [guest].into_iter().chain(parts(labels, &account.parts, known))
        });
        out.family(&VCPU, vcpus);
        out.family(&IN_FLIGHT, [("", Labels::new(), self.rows.open.len().to_string())]);
        let losses = &self.rows.losses;
        let lost = LOSSES.iter().map(|info| {
            let labels = vec![("cause", info.name.to_owned()), ("missing", info.missing.to_string())];
            ("_total", labels, losses.get(info.loss).to_string())
        });
        out.family(&LOST, lost);
        let counted = |wanted: fn(&CounterId) -> bool, suffix: &'static str| {
            let counters = self.rows.counters.iter().filter(move |(_, it)| wanted(&it.id));
            counters.filter_map(move |(host, it)| {
                let value = it.value?;
                let time = u64::try_from(value).ok().filter(|_| is_time(&it.id));
                Some((suffix, counter_labels(host, &it.id), time.map_or_else(|| value.to_string(), seconds)))
            })
        };
        out.family(&COUNTED, counted(|id| grows(id) && !is_time(id), "_total"));
        out.family(&COUNTED_SECONDS, counted(is_time, "_total"));
        out.family(&STATE, counted(|id| !grows(id), ""));
        if self.form == Form::OpenMetrics {
            out.text.push_str("# EOF\n");
        }
        out.text
    }
}

impl Export for OpenMetrics {
    fn interval(&mut self, _out: &mut dyn Write, of: NamedInterval<'_>) -> io::Result<()> {
        self.store.add(of);
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.rows.of_store(&self.store);
        out.write_all(self.text().as_bytes())
    }
}

type Labels = Vec<(&'static str, String)>;
/// The suffix of the name, the labels, and the number as it is printed.
type Sample = (&'static str, Labels, String);

struct Text {
    text: String,
    form: Form,
}

impl Text {
    /// A family and its samples; nothing if there are none.
    fn family(&mut self, family: &Family, samples: impl IntoIterator<Item = Sample>) {
        let Family { name, kind, unit, help } = family;
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let (kind, ending) = kind.words(self.form);
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# TYPE {name}{ending} {kind}");
        if !unit.is_empty() && self.form == Form::OpenMetrics {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name}{ending} {help}");
        for (suffix, labels, number) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", label_value(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.text, "{name}{suffix}{labels} {number}");
        }
    }
}

/// A label's value: nothing that acts on a terminal, and the format's three escapes.
fn label_value(value: &str) -> String {
    escape::terminal(value).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn grows(id: &CounterId) -> bool {
    id.kind == Kind::Cumulative
}

fn is_time(id: &CounterId) -> bool {
    grows(id) && id.unit == Unit::Ns
}

fn counter_labels(host: &HostId, id: &CounterId) -> Labels {
    let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    let mut labels = Labels::new();
    labels.extend(host.name().map(|host| ("host", host.to_owned())));
    labels.extend([("vm", id.vm.clone()), ("pid", id.pid.to_string()), ("vm_fd", number(id.vm_fd))]);
    labels.extend([("vcpu", number(id.vcpu)), ("name", id.name.clone())]);
    labels.extend(
        Some(id.unit.id())
            .filter(|unit| !unit.is_empty() && !is_time(id))
            .map(|unit| ("unit", unit.to_owned())),
    );
    labels
}

fn place_labels(place: &Place) -> Labels {
    let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    let mut labels = Labels::new();
    if let Some(host) = place.host.name() {
        labels.push(("host", host.to_owned()));
    }
    if let Some(vm) = &place.vm {
        labels.push(("vm", vm.name.to_string()));
        labels.push(("pid", number(vm.pid)));
        // Two VMs of one process, or of a pid that was used again, are two series.
        labels.extend(vm.key().filter(|_| vm.origin != Origin::default()).map(|key| ("vm_id", key)));
    }
    if let Some(thread) = &place.thread {
        labels.push(("vcpu", number(thread.vcpu)));
        labels.push(("tid", number(thread.tid)));
    }
    labels
}

fn labels(row: &Row) -> Labels {
    let mut labels = place_labels(&row.place);
    if let Some((isa, _)) = row.reason {
        labels.push(("isa", isa.to_string()));
        labels.push(("reason", row.reason_label()));
    }
    labels.push(("idle", row.idle.to_string()));
    labels
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    labels.iter().cloned().chain([(name, value.to_owned())]).collect()
}

fn histogram(labels: &Labels, row: &Row) -> Vec<Sample> {
    let below = |power: u32| -> u64 {
        let counts = row.stats.buckets.iter().enumerate();
        counts.filter(|(bucket, _)| bounds_of(*bucket).1 <= 1 << power).map(|(_, count)| count).sum()
    };
    let bucket = |bound: &str, count: u64| ("_bucket", with(labels, "le", bound), count.to_string());
    let bounded = BOUNDS.map(|power| bucket(&bound((1 << power) - 1), below(power)));
    let count = row.stats.count;
    let sums = [
        bucket("+Inf", count),
        ("_count", labels.clone(), count.to_string()),
        ("_sum", labels.clone(), seconds(row.stats.sum_ns)),
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
