//! Days and times of day, in UTC. Pure: the time is told, in milliseconds since 1970.

use jiff::Timestamp;

/// `2026-11-21`.
pub fn date(unix_ms: u64) -> String {
    formatted(unix_ms, "%Y-%m-%d")
}

/// `14:05:07`.
pub fn time_of_day(unix_ms: u64) -> String {
    formatted(unix_ms, "%H:%M:%S")
}

/// `20261121T140507.042`, for names that sort by time.
pub fn compact(unix_ms: u64) -> String {
    formatted(unix_ms, "%Y%m%dT%H%M%S.%3f")
}

/// Times beyond the calendar, as in a damaged recording, become its last moment: year 9999.
fn formatted(unix_ms: u64, format: &str) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::MAX).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `date -u -d @SECONDS +%F`
    #[test]
    fn days() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_709_251_199, "2024-02-29"),
            (1_709_251_200, "2024-03-01"),
            (1_795_256_730, "2026-11-21"),
            (4_102_444_799, "2099-12-31"),
        ] {
            assert_eq!(date(seconds * 1000), text);
        }
    }

    #[test]
    fn times_of_day() {
        assert_eq!([time_of_day(0), time_of_day(1_795_269_907_999)], ["00:00:00", "14:05:07"]);
    }

    #[test]
    fn no_time_is_too_late() {
        assert_eq!([date(u64::MAX), compact(u64::MAX)], ["9999-12-30", "99991230T220000.999"]);
    }
}
