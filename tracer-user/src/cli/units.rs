//! Lengths of time as they are typed.

use std::{str::FromStr, time::Duration};

/// A length of time on the command line: `2`, `0.5`, `200ms`, `1m`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, f64); 6] =
            [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)];
        let start = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(start);
        let seconds = number.parse::<f64>().ok().zip(UNITS.iter().find(|(name, _)| *name == unit));
        let seconds = seconds.map(|(number, (_, factor))| number * factor);
        match seconds {
            Some(seconds) if (0.001..=1e9).contains(&seconds) => Ok(Self(Duration::from_secs_f64(seconds))),
            Some(_) => Err("a time from 1ms to 1e9 seconds is needed".to_owned()),
            None => Err("no time; write seconds, or a number with a unit: 200ms, 2s, 1m, 1h".to_owned()),
        }
    }
}

/// The longest interval. Buckets have 32 bits, and are right as long as none wraps between two readings: that would take
/// more than a million exits a second of one vCPU and reason, all of one length.
const LONGEST: Duration = Duration::from_secs(3600);

/// The length of an interval.
pub fn interval(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span.0 > LONGEST {
        return Err(
            "an interval takes 1h at most; measure longer with --duration, and show the sum with --total"
                .to_owned(),
        );
    }
    Ok(span)
}
