//! Numbers as people read them. The only place that formats a time.

use std::fmt::{self, Write};

use crate::model::columns::Value;

/// A value in the table's units: times in µs with two places, as perf prints them.
pub fn value(value: Value) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_value(&mut text, value);
    text
}

/// Writes a value as [`value`] formats it.
///
/// # Errors
/// If `out` cannot be written.
pub fn write_value(out: &mut impl Write, value: Value) -> fmt::Result {
    match value {
        Value::Count(count) => write!(out, "{count}"),
        Value::Share(None)
        | Value::Ns(None)
        | Value::Mean(None)
        | Value::Part { ns: Some(0), .. }
        | Value::Rate(Some(0.0))
        | Value::Part { ns: Some(_), of_ns: 0 } => out.write_str("-"),
        Value::Share(Some(share)) => write!(out, "{:.2}%", 100.0 * share),
        Value::Ns(Some(ns)) => write!(out, "{:.2}us", ns as f64 / 1e3),
        Value::Mean(Some(ns)) => write!(out, "{:.2}us", ns / 1e3),
        Value::Part { ns: None, .. } | Value::Rate(None) => out.write_str("?"),
        Value::Part { ns: Some(ns), of_ns } => write!(out, "{:.1}%", 100.0 * ns as f64 / of_ns as f64),
        // Some is not none.
        Value::Rate(Some(rate)) if rate < 0.05 => out.write_str("<0.1"),
        Value::Rate(Some(rate)) => write!(out, "{rate:.1}"),
        Value::Deviation(None) => Ok(()),
        Value::Deviation(Some(percent)) => write!(out, "( +-{percent:6.2}% )"),
    }
}

/// A share of a whole, to a tenth of a percent; "-" where there is none.
pub fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        "-".to_owned()
    } else {
        format!("{:.1}%", 100.0 * part as f64 / whole as f64)
    }
}

/// A duration in the unit that suits it: `12.3 us`, `1.5 s`.
///
/// ```
/// # use tracer_user::render::units::duration;
/// assert_eq!([duration(0), duration(950), duration(12_345), duration(999_960), duration(1_500_000_000)],
///            ["0 ns", "950 ns", "12.3 us", "1.0 ms", "1.5 s"].map(String::from));
/// ```
pub fn duration(ns: u64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "s"), (1e6, "ms"), (1e3, "us")];
    for (unit, name) in UNITS {
        // A value that rounds to 1000.0 of a unit becomes 1.0 of the next.
        if ns as f64 >= unit * 0.999_95 {
            return format!("{:.1} {name}", ns as f64 / unit);
        }
    }
    format!("{ns} ns")
}

/// Count per second.
pub fn rate(count: u64, elapsed_ns: u64) -> f64 {
    if elapsed_ns == 0 { 0.0 } else { count as f64 * 1e9 / elapsed_ns as f64 }
}

/// `1 vCPU`, `2 vCPUs`.
pub fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// None, some, and what is not known are three things.
    #[test]
    fn a_small_rate_is_not_none() {
        let rates = [Some(0.0), Some(0.0001), Some(0.05), Some(1.0), Some(123_456.78), None];
        let texts = rates.map(|rate| value(Value::Rate(rate)));
        assert_eq!(texts, ["-", "<0.1", "0.1", "1.0", "123456.8", "?"]);
    }
}
