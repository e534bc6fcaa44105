//! The arguments of `exitlat export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    cli::{Location, SelectArgs, values},
    model::GroupBy,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  exitlat export good.exitlat -o good.html
  exitlat export bad.exitlat --diff-base good.exitlat -o change.html
  exitlat export good.exitlat -o good.hlog --by vm,reason
  exitlat export good.exitlat --format hgrm -o curves/      one file per reason
  exitlat export good.exitlat --format csv -g 'web*' | head
  exitlat export good.exitlat --names hash -o for-a-friend.html

Without --format, the extension of FILE decides: .hlog, .hgrm, .csv, .json, .jsonl, .prom, .om,
.folded, .html, .htm.
Without -o the export goes to standard output. A .hgrm file holds one row; several rows need a directory.";

/// `exitlat export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The recording; `-` is standard input
    pub file: Location,
    /// Output format [default: by the extension of FILE]
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// Write to this file; `-` is standard output. For hgrm it may be a directory
    #[arg(short, long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    pub output: Location,
    /// Overwrite files that exist
    #[arg(long)]
    pub force: bool,
    /// Which exits are exported.
    #[command(flatten)]
    pub select: SelectArgs,
    /// One row per host, vm, vcpu or reason, or per combination like vm,reason [default: by format]
    #[arg(long, value_name = "LIST", value_parser = values::export_by)]
    pub by: Option<GroupBy>,
    /// Compare with this recording (html only)
    #[arg(long, value_name = "FILE")]
    pub diff_base: Option<Location>,
    /// How to anonymize guest names, host name and command line
    #[arg(long, value_enum, default_value = "keep")]
    pub names: NamesMode,
    /// Key of the pseudonyms: exports with the same key share them. By default each export has its own
    #[arg(long, value_name = "FILE")]
    pub names_key: Option<PathBuf>,
}

/// How names are anonymized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NamesMode {
    /// Keep names
    Keep,
    /// Replace names by pseudonyms that nobody can look up without the key
    Hash,
    /// Leave names out and number the guests
    None,
}

/// Output formats of `export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// HdrHistogram's interval log, with a tag for each row
    Hlog,
    /// HdrHistogram's percentile table, for its plotter; one file per row
    Hgrm,
    /// One line per interval, vCPU, reason and cause; times in ns
    Csv,
    /// The same as JSON lines, with the histograms
    Json,
    /// Prometheus' text format 0.0.4, for node_exporter's textfile collector; the sums of the recording
    Prometheus,
    /// The same as OpenMetrics 1.0 text
    Openmetrics,
    /// Folded stacks for flame graphs: rows and the parts of their time, in ns
    Folded,
    /// One self-contained page with charts
    Html,
}

impl ExportFormat {
    /// Extensions of file names that name a format.
    pub const EXTENSIONS: [(&'static str, Self); 10] = [
        ("hlog", Self::Hlog),
        ("hgrm", Self::Hgrm),
        ("csv", Self::Csv),
        ("json", Self::Json),
        ("jsonl", Self::Json),
        ("prom", Self::Prometheus),
        ("om", Self::Openmetrics),
        ("folded", Self::Folded),
        ("html", Self::Html),
        ("htm", Self::Html),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_extension() {
        let names = ExportFormat::EXTENSIONS.map(|(name, _)| format!(".{name}")).join(", ");
        assert!(EXAMPLES.replace('\n', " ").contains(&format!("decides: {names}.")), "{names}");
    }
}
