//! The arguments of `exitlat merge`.

use clap::Args;

use crate::cli::Location;

pub(super) const EXAMPLES: &str = "\
Examples:
  exitlat merge -o all.exitlat host-*.exitlat
  exitlat report all.exitlat --by host,vm
  exitlat report all.exitlat --host 'rack1-*' -g db

The merged recording keeps every interval together with its host. Sums, minima, maxima, histograms and losses are
those of all inputs; the order of the inputs does not matter.";

/// `exitlat merge`.
#[derive(Args, Clone, Debug)]
pub struct MergeArgs {
    /// Write the merged recording to this file; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Location,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub force: bool,
    /// The recordings; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<Location>,
}
