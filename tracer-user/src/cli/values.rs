//! How typed words become values of the core, which itself knows no command line.

use clap::{ValueEnum, builder::PossibleValue};

use crate::{
    kernel::{
        arch,
        counters::Detail,
        plan::{Attach, Causes, ExitStamp},
    },
    model::{
        Across, GroupBy,
        columns::{self, Column},
    },
    recording::rotate::Fsync,
};

impl ValueEnum for Attach {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Raw, Self::Tp]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Auto => ("auto", "Raw tracepoints if the kernel's types allow it, otherwise tracepoints"),
            Self::Raw => ("raw", "Raw tracepoints: half the cost; they need the kernel's BTF"),
            Self::Tp => ("tp", "Tracepoints: available on every kernel"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl ValueEnum for Detail {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Vm, Self::Vcpu]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Vm => PossibleValue::new("vm").help("Those of each VM, from debugfs"),
            Self::Vcpu => {
                PossibleValue::new("vcpu").help("Also those of each vCPU, as far as its VMM holds them")
            }
        })
    }
}

impl ValueEnum for ExitStamp {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Event, Self::IrqOff]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Event => {
                ("event", "At KVM's exit event; on AMD before Linux 6.5 that is after the host's interrupts")
            }
            Self::IrqOff => (
                "irqoff",
                "Before the host's interrupts; on AMD before Linux 6.5 this costs a kprobe at each exit",
            ),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl ValueEnum for Fsync {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Interval, Self::Switch, Self::Never]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Interval => ("interval", "After every interval"),
            Self::Switch => ("switch", "When a file is complete"),
            Self::Never => ("never", "Leave it to the kernel"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl ValueEnum for Across {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Reason]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let Self::Reason = self;
        Some(PossibleValue::new("reason").help("One column per exit reason, the most frequent first"))
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
