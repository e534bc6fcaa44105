//! How typed words become values of the core, which itself knows no command line.

use clap::{ValueEnum, builder::PossibleValue};

use crate::{
    kernel::{
        arch,
        plan::{Attach, Causes},
    },
    model::{
        GroupBy,
        columns::{self, Column, SortKey},
    },
    recording::rotate::Fsync,
};

/// A word of an option, its other spellings, and its meaning.
struct Word {
    name: &'static str,
    aliases: &'static [&'static str],
    help: &'static str,
}

const fn word(name: &'static str, help: &'static str) -> Word {
    Word { name, aliases: &[], help }
}

const fn alias(name: &'static str, aliases: &'static [&'static str], help: &'static str) -> Word {
    Word { name, aliases, help }
}

impl Word {
    fn possible_value(&self) -> PossibleValue {
        PossibleValue::new(self.name).aliases(self.aliases).help(self.help)
    }
}

impl ValueEnum for Attach {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Raw, Self::Tp]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let word = match self {
            Self::Auto => {
                word("auto", "Raw tracepoints if the kernel's types allow it, otherwise tracepoints")
            }
            Self::Raw => word("raw", "Raw tracepoints: half the cost; they need the kernel's BTF"),
            Self::Tp => word("tp", "Tracepoints: available on every kernel"),
        };
        Some(word.possible_value())
    }
}

impl ValueEnum for SortKey {
    fn value_variants<'a>() -> &'a [Self] {
        use SortKey::{Max, Mean, Min, Name, P50, P99, P999, Sample, Time};
        &[Time, Sample, Max, Min, Mean, P50, P99, P999, Name]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let word = match self {
            Self::Time => word("time", "Total time"),
            Self::Sample => alias("sample", &["samples"], "Number of samples"),
            Self::Max => alias("max", &["max_t"], "Longest sample"),
            Self::Min => alias("min", &["min_t"], "Shortest sample"),
            Self::Mean => alias("mean", &["mean_t", "avg"], "Mean"),
            Self::P50 => word("p50", "Median"),
            Self::P99 => word("p99", "99 % quantile"),
            Self::P999 => alias("p99.9", &["p999"], "99.9 % quantile"),
            Self::Name => alias("name", &["ev_name"], "Label"),
        };
        Some(word.possible_value())
    }
}

impl ValueEnum for Fsync {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Interval, Self::Switch, Self::Never]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let word = match self {
            Self::Interval => word("interval", "After every interval"),
            Self::Switch => word("switch", "When a file is complete"),
            Self::Never => word("never", "Leave it to the kernel"),
        };
        Some(word.possible_value())
    }
}

/// The kinds of causes that the events of this architecture tell.
///
/// # Errors
/// For people: names the kinds there are.
pub fn causes(typed: &str) -> Result<Causes, String> {
    Causes::parse(typed, arch::host())
}

/// Columns of a table.
#[derive(Clone, Debug)]
pub struct Columns(pub Vec<&'static Column>);

/// Columns by their ids, or by the names of sets.
///
/// # Errors
/// For people: names the columns there are.
pub fn columns(typed: &str) -> Result<Columns, String> {
    columns::choose(typed).map(Columns)
}

/// A dimension that a command cannot group by, and why.
type Refusal = (fn(GroupBy) -> bool, &'static str);

const LIVE: &[Refusal] =
    &[(|by| by.host, "--by host is for merged recordings; everything here is on this host")];
const REPORT: &[Refusal] = &[];
const DIFF: &[Refusal] = &[(|by| by.part, "diff compares exits: leave `part` out of --by")];
const EXPORT: &[Refusal] =
    &[(|by| by.part, "exports have the parts of each row as columns or labels: leave `part` out")];

fn group_by(typed: &str, refusals: &[Refusal]) -> Result<GroupBy, String> {
    let by: GroupBy = typed.parse()?;
    match refusals.iter().find(|(refused, _)| refused(by)) {
        Some((_, why)) => Err((*why).to_owned()),
        None => Ok(by),
    }
}

/// `--by` of `live`.
///
/// # Errors
/// For people: the list has an unknown dimension, or one that this command cannot group by.
pub fn live_by(typed: &str) -> Result<GroupBy, String> {
    group_by(typed, LIVE)
}

/// `--by` of `report`.
///
/// # Errors
/// For people: the list has an unknown dimension.
pub fn report_by(typed: &str) -> Result<GroupBy, String> {
    group_by(typed, REPORT)
}

/// `--by` of `diff`.
///
/// # Errors
/// For people: the list has an unknown dimension, or one that this command cannot group by.
pub fn diff_by(typed: &str) -> Result<GroupBy, String> {
    group_by(typed, DIFF)
}

/// `--by` of `export`.
///
/// # Errors
/// For people: the list has an unknown dimension, or one that this command cannot group by.
pub fn export_by(typed: &str) -> Result<GroupBy, String> {
    group_by(typed, EXPORT)
}

/// A share: `5%` or `5` is 0.05.
///
/// # Errors
/// For people: the text is no share, or a negative one.
pub fn percent(typed: &str) -> Result<f64, &'static str> {
    let number: Option<f64> = typed.strip_suffix('%').unwrap_or(typed).trim().parse().ok();
    let number = number.filter(|number| number.is_finite() && *number >= 0.0);
    number.map(|number| number / 100.0).ok_or("not a percentage; write 5%")
}

/// A probability, without the certain ones.
///
/// # Errors
/// For people: the text is no number between 0 and 1.
pub fn probability(typed: &str) -> Result<f64, &'static str> {
    let number: Option<f64> = typed.parse().ok();
    number.filter(|number| *number > 0.0 && *number < 1.0).ok_or("a probability is between 0 and 1")
}

/// A number of files.
///
/// # Errors
/// For people: the text is no number, or 0.
pub fn count(typed: &str) -> Result<usize, &'static str> {
    typed.parse().ok().filter(|count| *count > 0).ok_or("a number from 1 on is needed")
}
