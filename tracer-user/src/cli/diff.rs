//! The arguments of `exitlat diff` and `exitlat merge`.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use regex::Regex;

use crate::{
    cli::When,
    model::{
        GroupBy, NamePattern,
        compare::{Metric, Rule},
    },
};

pub(super) const DIFF_EXAMPLES: &str = "\
Examples:
  exitlat diff good.exitlat new.exitlat
  exitlat diff good.exitlat new.exitlat --by vm,reason -g 'web*' --min-change 10%
  exitlat diff good.exitlat new.exitlat --fail-on p99:+10% --fail-on 'rate:+20%,reason=MSR*'
  exitlat diff good.exitlat new.exitlat --judge mean,p50,p99,p99.9,shape      not the rates
  exitlat diff good.exitlat new.exitlat --format junit > report.xml

A change counts if it is larger than chance makes it, as the dumps' own intervals show chance, and at least
--min-change. Record both dumps the same way, for 30 intervals or more; below 8 samples have to be taken as
independent. docs/diff.md has the methods and how often they err.

Exit status: 0 nothing got worse, 3 something did (with --fail-on: a rule fired), 1 the dumps cannot be read or
are not comparable, 2 wrong usage.";

pub(super) const MERGE_EXAMPLES: &str = "\
Examples:
  exitlat merge -o all.exitlat host-*.exitlat
  exitlat report all.exitlat --by host,vm
  exitlat report all.exitlat --host 'rack1-*' -g db

Every interval of every dump is kept, with its host: sums, extremes, histograms and losses are those of all
dumps together, in whatever order they are merged.";

/// `exitlat diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// The dump from before; `-` is standard input
    pub base: PathBuf,
    /// The dump from after
    pub new: PathBuf,
    /// What a row stands for: host, vm, vcpu, reason, or a list like vm,reason; VMs are matched by name
    #[arg(long, default_value = "reason", value_name = "LIST")]
    pub by: GroupBy,
    /// Compare only these processes
    #[arg(short, long, value_delimiter = ',', value_name = "PID")]
    pub pid: Vec<u32>,
    /// Compare only VMs of this name or glob
    #[arg(short, long, value_delimiter = ',', value_name = "NAME")]
    pub guest: Vec<NamePattern>,
    /// Compare only these hosts (name or glob) of merged dumps
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub host: Vec<NamePattern>,
    /// Compare only reasons that match this regular expression
    #[arg(short, long, value_name = "REGEX")]
    pub fields: Option<Regex>,
    /// Compare only these vCPU numbers
    #[arg(long, value_delimiter = ',', value_name = "N")]
    pub vcpu: Vec<u32>,
    /// Smaller changes do not matter
    #[arg(long, default_value = "5%", value_name = "PERCENT")]
    pub min_change: Percent,
    /// Rows with fewer samples on a side are shown but not judged
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub min_samples: u64,
    /// Probability of finding any change at all where there is none
    #[arg(long, default_value_t = 0.001, value_name = "P", value_parser = probability)]
    pub alpha: f64,
    /// Metrics that the verdict looks at [default: rate,mean,p50,p99,p99.9,shape]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub judge: Vec<Metric>,
    /// Fail by this rule instead of the verdict: METRIC:+N% or -N%, then maybe ,reason=GLOB ,vm=GLOB ,host=GLOB;
    /// may be repeated
    #[arg(long, value_name = "RULE")]
    pub fail_on: Vec<Rule>,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: DiffFormat,
    /// Colours
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: When,
}

/// `exitlat merge`.
#[derive(Args, Clone, Debug)]
pub struct MergeArgs {
    /// The merged dump; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Overwrite it if it exists
    #[arg(long)]
    pub force: bool,
    /// The dumps; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Output formats of `diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people
    Table,
    /// One JSON object; times in ns
    Json,
    /// A JUnit report, for CI servers
    Junit,
}

/// A share on the command line: `5%` or `5`, as 0.05.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number: Option<f64> = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
        let number = number.filter(|number| number.is_finite() && *number >= 0.0);
        number.map(|number| Self(number / 100.0)).ok_or("no percentage; write 5%")
    }
}

fn probability(text: &str) -> Result<f64, &'static str> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|number| *number > 0.0 && *number < 1.0).ok_or("a probability is between 0 and 1")
}
