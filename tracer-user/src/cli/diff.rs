//! The arguments of `exitlat diff`.

use clap::{Args, ColorChoice, ValueEnum};

use crate::{
    cli::{Location, SelectArgs, values},
    model::{
        GroupBy,
        compare::{Metric, Rule},
    },
};

pub(super) const EXAMPLES: &str = "\
Examples:
  exitlat diff good.exitlat new.exitlat
  exitlat diff good.exitlat new.exitlat --by vm,reason -g 'web*' --min-change 10%
  exitlat diff good.exitlat new.exitlat --fail-on p99:+10% --fail-on 'rate:+20%,reason=MSR*'
  exitlat diff good.exitlat new.exitlat --judge mean,p50,p99,p99.9,shape      not the rates
  exitlat diff good.exitlat new.exitlat --format junit > report.xml

A change is reported if it is statistically significant and at least --min-change. Noise is estimated from the
intervals of the recordings. Record both the same way, with at least 30 intervals; with fewer than 8 intervals,
samples are assumed to be independent, and changes below 4 times --min-change are ignored.
docs/diff.md describes the methods and their error rates.

Exit status:
  0  nothing got worse
  1  the recordings cannot be read or are not comparable
  2  wrong usage, or a rule whose pattern matches no row
  3  something got worse; with --fail-on: a rule fired";

/// `exitlat diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// The recording from before; `-` is standard input
    pub base: Location,
    /// The recording from after
    pub new: Location,
    /// Which exits are compared.
    #[command(flatten)]
    pub select: SelectArgs,
    /// One row per host, vm, vcpu or reason, or per combination like vm,reason; VMs are matched by name
    #[arg(long, default_value = "reason", value_name = "LIST", value_parser = values::diff_by)]
    pub by: GroupBy,
    /// Ignore changes smaller than this
    #[arg(long, default_value = "5%", value_name = "PERCENT", value_parser = values::percent)]
    pub min_change: f64,
    /// Show rows with fewer samples than this on either side, but do not judge them
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub min_samples: u64,
    /// Probability of reporting any change when nothing changed
    #[arg(long, default_value_t = 0.001, value_name = "P", value_parser = values::probability)]
    pub alpha: f64,
    /// Metrics that count for the verdict [default: rate,mean,p50,p99,p99.9,shape]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub judge: Vec<Metric>,
    /// Fail by this rule instead of the verdict: METRIC:+N% or METRIC:-N%, optionally followed by
    /// ,reason=GLOB ,vm=GLOB ,host=GLOB; may be repeated
    #[arg(long, value_name = "RULE")]
    pub fail_on: Vec<Rule>,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: DiffFormat,
    /// When to use colours; `auto` follows the terminal, NO_COLOR, CLICOLOR and TERM
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: ColorChoice,
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
