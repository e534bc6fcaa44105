//! The one list of columns. Table, CSV, JSON and the sort keys read it; a new column is a new entry here.

use tracer_ebpf::part::Part;

use crate::model::{Row, parts::PARTS, rows::Totals};

/// A value in a table, with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A number of things.
    Count(u64),
    /// A share of a whole, 0 to 1; `None` where it has no meaning.
    Share(Option<f64>),
    /// A time in ns, exact.
    Ns(Option<u64>),
    /// A mean in ns.
    Mean(Option<f64>),
    /// A percentage with a `+-` before it.
    Deviation(Option<f64>),
    /// A part of a time: people see its share, machines its ns. `None` if it was not measured.
    Part {
        /// The part.
        ns: Option<u64>,
        /// The whole.
        of_ns: u64,
    },
}

/// When a column is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// In tables of exits.
    Usual,
    /// In tables of exits in which there was such a thing.
    IfAny,
    /// With `--columns parts`.
    Parts,
    /// In tables of parts.
    OfParts,
}

/// A column.
#[derive(Debug)]
pub struct Column {
    /// Name in CSV, JSON and `--key`; times carry their unit.
    pub id: &'static str,
    /// Heading of the table.
    pub title: &'static str,
    /// Width in the table.
    pub width: usize,
    /// When it is shown, if nothing else is asked for.
    pub set: Set,
    /// Narrow terminals lose the columns with the highest rank first; 0 always stays.
    pub rank: u8,
    /// The value of a row.
    pub get: fn(&Row, &Totals) -> Value,
}

/// All columns. perf kvm stat's come first, in its order and with its words.
pub static COLUMNS: [Column; 12 + Part::COUNT] = [
    Column {
        id: "samples",
        title: "Samples",
        width: 10,
        set: Set::Usual,
        rank: 0,
        get: |row, _| Value::Count(row.stats.count),
    },
    Column {
        id: "samples_share",
        title: "Samples%",
        width: 9,
        set: Set::Usual,
        rank: 3,
        get: |row, totals| Value::Share(share(row.stats.count, totals.count())),
    },
    Column {
        id: "time_share",
        title: "Time%",
        width: 8,
        set: Set::Usual,
        rank: 0,
        get: |row, totals| {
            let whole_ns = if row.slice.is_some() { totals.slices_ns } else { totals.handled_ns };
            let counts = !row.idle || totals.with_idle;
            Value::Share(if counts { share(row.stats.sum_ns, whole_ns) } else { None })
        },
    },
    Column {
        id: "time_ns",
        title: "Time",
        width: 15,
        set: Set::OfParts,
        rank: 1,
        get: |row, _| Value::Ns(Some(row.stats.sum_ns)),
    },
    Column {
        id: "min_ns",
        title: "Min Time",
        width: 11,
        set: Set::Usual,
        rank: 4,
        get: |row, _| Value::Ns((row.stats.count != 0).then_some(row.stats.min_ns)),
    },
    Column {
        id: "max_ns",
        title: "Max Time",
        width: 11,
        set: Set::Usual,
        rank: 1,
        get: |row, _| Value::Ns((row.stats.count != 0).then_some(row.stats.max_ns)),
    },
    Column {
        id: "mean_ns",
        title: "Avg time",
        width: 11,
        set: Set::Usual,
        rank: 1,
        get: |row, _| Value::Mean(row.stats.mean_ns()),
    },
    Column {
        id: "deviation_percent",
        title: "",
        width: 13,
        set: Set::Usual,
        rank: 5,
        get: |row, _| Value::Deviation(row.stats.relative_deviation_percent()),
    },
    Column {
        id: "p50_ns",
        title: "p50",
        width: 11,
        set: Set::Usual,
        rank: 3,
        get: |row, _| Value::Ns(row.stats.quantile_ns(0.5)),
    },
    Column {
        id: "p99_ns",
        title: "p99",
        width: 11,
        set: Set::Usual,
        rank: 2,
        get: |row, _| Value::Ns(row.stats.quantile_ns(0.99)),
    },
    Column {
        id: "p999_ns",
        title: "p99.9",
        width: 11,
        set: Set::Usual,
        rank: 4,
        get: |row, _| Value::Ns(row.stats.quantile_ns(0.999)),
    },
    Column {
        id: "idle_ns",
        title: "Idle",
        width: 14,
        set: Set::IfAny,
        rank: 2,
        get: |row, _| Value::Ns(row.known.has(Part::Halt).then(|| row.parts.get(Part::Halt))),
    },
    part(Part::Kernel, |row, _| value_of(row, Part::Kernel)),
    part(Part::Poll, |row, _| value_of(row, Part::Poll)),
    part(Part::Halt, |row, _| value_of(row, Part::Halt)),
    part(Part::Blocked, |row, _| value_of(row, Part::Blocked)),
    part(Part::Runqueue, |row, _| value_of(row, Part::Runqueue)),
    part(Part::User, |row, _| value_of(row, Part::User)),
    part(Part::UserBlocked, |row, _| value_of(row, Part::UserBlocked)),
    part(Part::Stopped, |row, _| value_of(row, Part::Stopped)),
];

const fn part(part: Part, get: fn(&Row, &Totals) -> Value) -> Column {
    let info = &PARTS[part as usize];
    Column { id: info.column, title: info.title, width: 10, set: Set::Parts, rank: 1, get }
}

fn value_of(row: &Row, part: Part) -> Value {
    let ns = row.known.has(part).then(|| row.parts.get(part));
    Value::Part { ns, of_ns: row.parts.total_ns() }
}

/// Columns by what was typed after `--columns`: ids, or the names of sets.
///
/// # Errors
/// Names the columns there are.
pub fn choose(typed: &str) -> Result<Vec<&'static Column>, String> {
    let mut chosen: Vec<&'static Column> = Vec::new();
    for word in typed.split(',').map(str::trim) {
        let matching: Vec<_> = COLUMNS
            .iter()
            .filter(|column| match word {
                "usual" => column.set == Set::Usual,
                "parts" => column.set == Set::Parts || ["samples", "time_share"].contains(&column.id),
                "all" => true,
                id => column.id == id,
            })
            .collect();
        if matching.is_empty() {
            let ids: Vec<_> = COLUMNS.iter().map(|column| column.id).collect();
            return Err(format!(
                "`{word}` is no column; use usual, parts, all, or some of {}",
                ids.join(", ")
            ));
        }
        for column in matching {
            if !chosen.iter().any(|other| other.id == column.id) {
                chosen.push(column);
            }
        }
    }
    Ok(chosen)
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole != 0).then(|| part as f64 / whole as f64)
}

/// What rows are sorted by: perf's keys, the quantiles, and the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Total time (the default).
    Time,
    /// Number of samples.
    Sample,
    /// Longest sample.
    Max,
    /// Shortest sample.
    Min,
    /// Mean.
    Mean,
    /// Median.
    P50,
    /// 99 % quantile.
    P99,
    /// 99.9 % quantile.
    P999,
    /// Label.
    Name,
}

impl SortKey {
    /// Handled rows before idle ones; within each, the largest first, names in alphabetical order.
    pub fn sort(self, rows: &mut [&Row]) {
        rows.sort_by(|a, b| {
            let order = match self {
                Self::Name => std::cmp::Ordering::Equal,
                _ => self.number(b).total_cmp(&self.number(a)),
            };
            a.idle.cmp(&b.idle).then(order).then_with(|| label(a).cmp(&label(b)))
        });
    }

    fn number(self, row: &Row) -> f64 {
        let stats = &row.stats;
        match self {
            Self::Time | Self::Name => stats.sum_ns as f64,
            Self::Sample => stats.count as f64,
            Self::Max => stats.max_ns as f64,
            Self::Min => stats.min_ns as f64,
            Self::Mean => stats.mean_ns().unwrap_or(0.0),
            Self::P50 => stats.quantile_ns(0.5).unwrap_or(0) as f64,
            Self::P99 => stats.quantile_ns(0.99).unwrap_or(0) as f64,
            Self::P999 => stats.quantile_ns(0.999).unwrap_or(0) as f64,
        }
    }
}

fn label(row: &Row) -> impl Ord {
    (row.host.clone(), row.vm.clone(), row.vcpu.clone(), row.reason_label(), row.slice)
}
