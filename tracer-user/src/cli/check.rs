//! The arguments of `exitlat check`.

use clap::{Args, ValueEnum};

/// `exitlat check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: CheckFormat,
    /// Do not load the programs, and do not look for exits
    #[arg(long)]
    pub no_probe: bool,
}

/// Output formats of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people
    Table,
    /// One JSON object
    Json,
}
