//! HdrHistogram's percentile table, as its `outputPercentileDistribution` prints it and its plotter reads it.
//!
//! Values are in µs, five steps for each halving of the distance to 100 %.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use hdrhistogram::Histogram;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::Row;

/// Nanoseconds in a unit of the table.
const UNIT: f64 = 1e3;
/// Lines for each halving of the distance to 100 %.
const TICKS: f64 = 5.0;

/// Characters that a file name encodes: nearly all, because names of guests come from tenants.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'[').remove(b']');
/// Longer names are cut.
const LONGEST: usize = 200;

/// A unique file name for each row.
pub fn file_names<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<(String, &'a Row)> {
    let mut taken = BTreeSet::new();
    let name = |row: &Row| {
        let mut words = row.labels();
        if words.is_empty() || (row.idle && row.reason.is_none()) {
            words.push(if row.idle { "idle" } else { "all" }.to_owned());
        }
        let mut name = utf8_percent_encode(&words.join("_"), ENCODED).to_string();
        name.truncate(LONGEST);
        name
    };
    let unique = |row| {
        let name = name(row);
        let numbered = |number: usize| if number == 1 { name.clone() } else { format!("{name}-{number}") };
        let free = (1..).map(numbered).find(|name| !taken.contains(name)).expect("numbers do not end");
        taken.insert(free.clone());
        (format!("{free}.hgrm"), row)
    };
    rows.map(unique).collect()
}

/// Prints the table of a histogram.
///
/// # Errors
/// If the output cannot be written.
pub fn print(out: &mut dyn Write, histogram: &Histogram<u64>) -> io::Result<()> {
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    for line in lines(histogram) {
        let (value, quantile) = (line.value as f64 / UNIT, line.percent / 100.0);
        write!(out, "{value:12.3} {quantile:.12} {:10}", line.seen)?;
        if line.percent < 100.0 { writeln!(out, " {:14.2}", 1.0 / (1.0 - quantile))? } else { writeln!(out)? }
    }
    let (mean, deviation) = (histogram.mean() / UNIT, histogram.stdev() / UNIT);
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    let max = histogram.max() as f64 / UNIT;
    writeln!(out, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len())?;
    let (buckets, parts) = shape(histogram);
    writeln!(out, "#[Buckets = {buckets:12}, SubBuckets     = {parts:12}]")
}

/// A line of the table.
struct Line {
    value: u64,
    percent: f64,
    /// Samples up to this value.
    seen: u64,
}

/// The steps of HdrHistogram's `PercentileIterator`. The crate's own iterator takes other steps where a level
/// is met exactly, as 97.5 % of 760 samples is.
fn lines(histogram: &Histogram<u64>) -> Vec<Line> {
    let (total, mut seen, mut percent) = (histogram.len(), 0, 0.0f64);
    let mut lines = Vec::new();
    for cell in histogram.iter_recorded() {
        seen += cell.count_at_value();
        while 100.0 * seen as f64 / total as f64 >= percent {
            lines.push(Line { value: cell.value_iterated_to(), percent, seen });
            let halvings = ((100.0 / (100.0 - percent)).ln() / 2f64.ln()).trunc();
            percent += 100.0 / (TICKS * 2f64.powf(halvings + 1.0));
            if seen == total {
                lines.push(Line { value: cell.value_iterated_to(), percent: 100.0, seen });
                break;
            }
        }
    }
    lines
}

/// Number of buckets of the histogram, and the parts into which each is cut, in HdrHistogram's terms.
fn shape(histogram: &Histogram<u64>) -> (u32, u64) {
    let parts = (2 * 10u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let (mut buckets, mut covered) = (1, parts);
    while covered <= histogram.high() {
        covered *= 2;
        buckets += 1;
    }
    (buckets, parts)
}
