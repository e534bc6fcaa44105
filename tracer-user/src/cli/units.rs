//! Lengths of time and sizes as typed: one grammar for all options.
//!
//! A length of time is a plain number of seconds, or numbers with units: `0.5`, `200ms`, `1h 30m`, `2days`.
//! A size is a number with a unit: `100M`, `1.5GiB`. K, M, G and T alone are powers of 1024, as in `perf
//! record --switch-output`.

use std::time::Duration;

use bytesize::ByteSize;

use crate::recording::rotate::SwitchPolicy;

/// The shortest and the longest time that an option takes.
const TIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(1_000_000_000);

/// The longest interval. Buckets have 32 bits. None may wrap between two snapshots: that would take more
/// than a million exits a second of one vCPU and reason, all of one length.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// A length of time.
///
/// # Errors
/// For people: the text is no length of time, or is out of range.
///
/// ```
/// # use std::time::Duration;
/// # use tracer_user::cli::units::duration;
/// for (typed, ms) in [("2", 2_000), ("0.5", 500), ("200ms", 200), ("1h 30m", 5_400_000)] {
///     assert_eq!(duration(typed), Ok(Duration::from_millis(ms)));
/// }
/// ```
pub fn duration(typed: &str) -> Result<Duration, String> {
    const NO_TIME: &str =
        "not a length of time; write seconds, or numbers with units: 200ms, 2s, 1m, 1h 30m, 1d";
    // humantime reads `M` as months; beside sizes it is a trap.
    if typed.ends_with('M') {
        return Err(NO_TIME.to_owned());
    }
    let plain = typed.chars().all(|c| c.is_ascii_digit() || c == '.');
    let length = if plain {
        typed.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    } else {
        humantime::parse_duration(typed).ok()
    };
    match length {
        Some(length) if TIMES.contains(&length) => Ok(length),
        Some(_) => Err("a time from 1ms to 1e9 seconds is needed".to_owned()),
        None => Err(NO_TIME.to_owned()),
    }
}

/// The length of an interval.
///
/// # Errors
/// For people, as [`duration`], and for more than an hour.
pub fn interval(typed: &str) -> Result<Duration, String> {
    let length = duration(typed)?;
    if length > LONGEST_INTERVAL {
        return Err(
            "an interval takes 1h at most; measure longer with --duration, and show the sum with --total"
                .to_owned(),
        );
    }
    Ok(length)
}

/// The length of an interval where a command could stand as well.
///
/// # Errors
/// For people, as [`interval`]; a word was meant as a command.
pub fn interval_or_command(typed: &str) -> Result<Duration, String> {
    if typed.starts_with(|c: char| c.is_alphabetic()) {
        return Err(format!("`{typed}` is neither a command nor a length of time; see --help"));
    }
    interval(typed)
}

/// A size in bytes. A plain number is none, as an option may take lengths of time as well.
///
/// # Errors
/// For people: the text is no size.
///
/// ```
/// # use tracer_user::cli::units::size;
/// assert_eq!(size("100M"), Ok(100 << 20));
/// assert_eq!(size("1.5GiB"), Ok(3 << 29));
/// assert_eq!(size("2MB"), Ok(2_000_000));
/// ```
pub fn size(typed: &str) -> Result<u64, String> {
    let no_size = || format!("`{typed}` is not a size; write 512K, 100M, 2G");
    let with_unit = match typed.chars().last() {
        Some('K' | 'M' | 'G' | 'T') => format!("{typed}iB"),
        Some(c) if c.is_ascii_alphabetic() => typed.to_owned(),
        _ => return Err(no_size()),
    };
    let bytes = with_unit.parse::<ByteSize>().map_err(|_| no_size())?.as_u64();
    // What does not fit comes out as the largest number.
    if bytes == 0 || bytes == u64::MAX { Err(no_size()) } else { Ok(bytes) }
}

/// When `record` begins a new file: a size, an age, both with a comma, or `signal`.
///
/// # Errors
/// For people: a word is neither, or there are two of a kind.
pub fn switch_policy(typed: &str) -> Result<SwitchPolicy, String> {
    let mut policy = SwitchPolicy::default();
    if typed == "signal" {
        return Ok(policy);
    }
    for word in typed.split(',') {
        // A plain number could be either.
        let plain = word.parse::<f64>().is_ok();
        match (size(word), duration(word)) {
            (Ok(size), _) if policy.size.is_none() => policy.size = Some(size),
            (Err(_), Ok(age)) if !plain && policy.age_ns.is_none() => {
                policy.age_ns = Some(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
            }
            _ => {
                return Err(
                    "give a size (512K, 100M, 2G), an age with its unit (30m, 1h, 1d), both with a comma \
                            (100M,1d), or `signal`"
                        .to_owned(),
                );
            }
        }
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        let hour = 3_600_000_000_000;
        for (text, size, age_ns) in [
            ("100M", Some(100 << 20), None),
            ("1h", None, Some(hour)),
            ("2d,1G", Some(1 << 30), Some(48 * hour)),
            ("1h 30m,512K", Some(512 << 10), Some(hour + hour / 2)),
            ("signal", None, None),
        ] {
            assert_eq!(switch_policy(text), Ok(SwitchPolicy { size, age_ns }), "{text}");
        }
        for text in ["", "0s", "5", "1x", "1h,2h", "1M,", "M", "signal,1h", "99999999999999G", "1M,2M", "0.5"]
        {
            assert!(switch_policy(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_time() {
        for (typed, ms) in [
            ("0.001", 1),
            ("1000000000", 1_000_000_000_000),
            (".5", 500),
            ("0.5m", 30_000),
            ("3us 1s", 1_000),
        ] {
            assert_eq!(duration(typed).unwrap().as_millis(), ms, "{typed}");
        }
        for typed in ["", "0", "-1", "5x", "1e3", "nan", "inf", "1.2.3", "500us", "100y", "5M", "1 5"] {
            assert!(duration(typed).is_err(), "{typed}");
        }
        assert!(interval("1h").is_ok() && interval("61m").is_err());
    }
}
