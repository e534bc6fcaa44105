//! The options of the commands that print tables: `live` and `report`.

use clap::{Args, ColorChoice, ValueEnum};
use regex::Regex;

use crate::{
    cli::values::{self, Columns},
    model::{Across, columns::SortKey},
};

/// How tables are printed.
#[derive(Args, Clone, Debug)]
pub struct ViewArgs {
    /// Columns of the table: usual, parts, all, or a list of names as in CSV
    #[arg(long, value_name = "LIST", value_parser = values::columns)]
    pub columns: Option<Columns>,
    /// Columns of exits per second, one for each exit reason; --by has the rows: vm, vcpu or host. JSON and
    /// CSV have a row for each pair instead
    #[arg(long, value_enum, value_name = "DIMENSION", conflicts_with = "columns")]
    pub across: Option<Across>,
    /// Sort by this key [default: time; with --across: sample]
    #[arg(short, long, value_enum)]
    pub key: Option<SortKey>,
    /// Print histograms too, of all reasons or of those that match
    #[arg(long, value_name = "REASON", num_args = 0..=1, default_missing_value = "")]
    pub hist: Option<Regex>,
    /// Include idle time in all times, as perf kvm stat does
    #[arg(long)]
    pub idle: bool,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// When to use colours; `auto` follows the terminal, NO_COLOR, CLICOLOR and TERM
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: ColorChoice,
}

/// Output formats of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One JSON object per line and interval; times in ns
    Json,
    /// One line per row; times in ns
    Csv,
}
