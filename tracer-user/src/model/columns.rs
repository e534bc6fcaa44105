//! The one list of columns. Tables, CSV, JSON, exports and the sort keys read it; a new column is a new
//! entry here.

use std::{cmp::Ordering, sync::LazyLock};

use tracer_ebpf::part::Part;

use crate::model::{
    Row,
    parts::PARTS,
    quantiles::{QUANTILES, Quantile},
    row::Totals,
};

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
    /// A number per second; `None` where the time is not known.
    Rate(Option<f64>),
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
    /// With its name, or `all`.
    OnRequest,
}

/// How a column comes to its value.
#[derive(Clone, Copy, Debug)]
pub enum Get {
    /// By a function of its own.
    By(fn(&Row, &Totals) -> Value),
    /// It is a quantile.
    Quantile(f64),
    /// It is a part of the row's time.
    Part(Part),
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
    /// Where its value comes from.
    pub get: Get,
    /// What it shows.
    pub meaning: &'static str,
}

impl Column {
    /// The value of a row, shares being of these totals.
    pub fn value(&self, row: &Row, totals: &Totals) -> Value {
        match self.get {
            Get::By(get) => get(row, totals),
            Get::Quantile(q) => Value::Ns(row.stats.quantile_ns(q)),
            Get::Part(part) => {
                let ns = row.measured.has(part).then(|| row.parts.get(part));
                Value::Part { ns, of_ns: row.parts.total_ns() }
            }
        }
    }
}

/// All columns. perf kvm stat's come first, in its order and with its words.
pub static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let quantiles = QUANTILES.iter().filter_map(|Quantile { q, id, title, rank, meaning, .. }| {
        let get = Get::Quantile(*q);
        Some(Column { id, title, width: 11, set: Set::Usual, rank: (*rank)?, get, meaning })
    });
    let parts = PARTS.iter().map(|info| Column {
        id: info.column,
        // Beside the column of idle time.
        title: if info.part == Part::Halt { "Idle%" } else { info.title },
        width: 10,
        set: Set::Parts,
        rank: 1,
        get: Get::Part(info.part),
        meaning: "Share of the row's time; nanoseconds in CSV and JSON",
    });
    SAMPLES.into_iter().chain(quantiles).chain([IDLE, WHOLE]).chain(parts).collect()
});

/// The columns before the quantiles.
const SAMPLES: [Column; 8] = [
    column("samples", "Samples", 10, Set::Usual, 0, "Completed exits", |row, _| {
        Value::Count(row.stats.count)
    }),
    column("samples_share", "Samples%", 9, Set::Usual, 3, "Share of all completed exits", |row, totals| {
        Value::Share(share(row.stats.count, totals.count()))
    }),
    column(
        "time_share",
        "Time%",
        8,
        Set::Usual,
        0,
        "Share of the handled time of all rows; with `--idle`, of all exit time",
        |row, totals| {
            let whole_ns = if row.slice.is_some() { totals.slices_ns } else { totals.handled_ns };
            let counts = !row.idle || totals.with_idle;
            Value::Share(if counts { share(row.stats.sum_ns, whole_ns) } else { None })
        },
    ),
    column("time_ns", "Time", 15, Set::OfParts, 1, "Total time", |row, _| Value::Ns(Some(row.stats.sum_ns))),
    column("min_ns", "Min Time", 11, Set::Usual, 4, "Shortest sample", |row, _| {
        Value::Ns(row.stats.extremes_ns().map(|(min_ns, _)| min_ns))
    }),
    column("max_ns", "Max Time", 11, Set::Usual, 1, "Longest sample", |row, _| {
        Value::Ns(row.stats.extremes_ns().map(|(_, max_ns)| max_ns))
    }),
    column("mean_ns", "Avg time", 11, Set::Usual, 1, "Mean", |row, _| Value::Mean(row.stats.mean_ns())),
    column(
        "deviation_percent",
        "",
        13,
        Set::Usual,
        5,
        "Standard deviation of the mean, in percent of the mean",
        |row, _| Value::Deviation(row.stats.relative_deviation_percent()),
    ),
];

/// The columns after the quantiles.
const IDLE: Column =
    column("idle_ns", "Idle", 14, Set::IfAny, 2, "Guest idle time within these exits", |row, _| {
        Value::Ns(row.measured.has(Part::Halt).then(|| row.parts.get(Part::Halt)))
    });

const WHOLE_MEANING: &str = "Time of the exits with their idle and stopped time";
const WHOLE: Column = column("whole_ns", "With idle", 15, Set::OnRequest, 2, WHOLE_MEANING, |row, _| {
    Value::Ns(row.measured.has(Part::Halt).then(|| row.parts.total_ns()))
});

const fn column(
    id: &'static str,
    title: &'static str,
    width: usize,
    set: Set,
    rank: u8,
    meaning: &'static str,
    get: fn(&Row, &Totals) -> Value,
) -> Column {
    Column { id, title, width, set, rank, get: Get::By(get), meaning }
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

/// The column with this id.
///
/// # Panics
/// If there is none: ids are words of this program.
pub fn column_of(id: &str) -> &'static Column {
    COLUMNS.iter().find(|column| column.id == id).expect("a column of the list")
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole != 0).then(|| part as f64 / whole as f64)
}

/// What rows are sorted by: perf's keys, the quantiles, and the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Total time.
    Time,
    /// Number of samples.
    Sample,
    /// Longest sample.
    Max,
    /// Shortest sample.
    Min,
    /// Mean.
    Mean,
    /// A quantile, by its place in [`QUANTILES`].
    Quantile(usize),
    /// Label.
    Name,
}

/// A sort key as it is typed.
#[derive(Clone, Debug)]
pub struct SortKeyInfo {
    /// The key.
    pub key: SortKey,
    /// Its name.
    pub name: &'static str,
    /// Other names for it: perf's, and shorter ones.
    pub aliases: Vec<&'static str>,
    /// Its help.
    pub meaning: &'static str,
}

/// All sort keys.
pub static SORT_KEYS: LazyLock<Vec<SortKeyInfo>> = LazyLock::new(|| {
    let info = |key, name, aliases: &[&'static str], meaning| SortKeyInfo {
        key,
        name,
        aliases: aliases.to_vec(),
        meaning,
    };
    let quantiles = QUANTILES.iter().enumerate().filter(|(_, quantile)| quantile.rank.is_some());
    let quantiles = quantiles.map(|(at, quantile)| {
        let short = quantile.id.trim_end_matches("_ns");
        let alias = (short != quantile.title).then_some(short);
        info(SortKey::Quantile(at), quantile.title, alias.as_slice(), quantile.meaning)
    });
    let before = [
        info(SortKey::Time, "time", &[], "Total time (the default)"),
        info(SortKey::Sample, "sample", &["samples"], "Number of samples"),
        info(SortKey::Max, "max", &["max_t"], "Longest sample"),
        info(SortKey::Min, "min", &["min_t"], "Shortest sample"),
        info(SortKey::Mean, "mean", &["mean_t", "avg"], "Mean"),
    ];
    let name = info(SortKey::Name, "name", &["ev_name"], "Label");
    before.into_iter().chain(quantiles).chain([name]).collect()
});

impl SortKey {
    /// The order of two rows: handled before idle ones; within each, the largest first, names in alphabetical
    /// order.
    pub fn order(self, a: &Row, b: &Row) -> Ordering {
        let order = match self {
            Self::Name => Ordering::Equal,
            _ => self.number(b).total_cmp(&self.number(a)),
        };
        a.idle.cmp(&b.idle).then(order).then_with(|| by_label(a, b))
    }

    fn number(self, row: &Row) -> f64 {
        let stats = &row.stats;
        match self {
            Self::Time | Self::Name => stats.sum_ns as f64,
            Self::Sample => stats.count as f64,
            Self::Max => stats.max_ns as f64,
            Self::Min => stats.min_ns as f64,
            Self::Mean => stats.mean_ns().unwrap_or(0.0),
            Self::Quantile(at) => stats.quantile_ns(QUANTILES[at].q).unwrap_or(0) as f64,
        }
    }
}

/// The order of the labels.
fn by_label(a: &Row, b: &Row) -> Ordering {
    let vm = |row: &Row| row.vm().map(|vm| (vm.name.clone(), vm.pid));
    let vcpu = |row: &Row| row.thread().map(|thread| (thread.to_string(), thread.tid));
    (a.host().cmp(&b.host()))
        .then_with(|| vm(a).cmp(&vm(b)))
        .then_with(|| vcpu(a).cmp(&vcpu(b)))
        .then_with(|| {
            if a.reason == b.reason { Ordering::Equal } else { a.reason_label().cmp(&b.reason_label()) }
        })
        .then_with(|| a.slice.cmp(&b.slice))
}
