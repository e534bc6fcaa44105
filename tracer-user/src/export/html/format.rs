//! Numbers and dates as the page writes them.

use crate::render::units;

/// A duration, with a proper micro sign.
pub(super) fn time(ns: u64) -> String {
    units::duration(ns).replace(" us", " \u{b5}s").replace(' ', "\u{a0}")
}

/// A count, its digits in groups of three.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A share of a whole.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        _ if percent == 0.0 => "0\u{a0}%".to_owned(),
        _ if percent < 0.1 => "<\u{202f}0.1\u{a0}%".to_owned(),
        _ => format!("{percent:.1}\u{a0}%"),
    }
}

/// The date in UTC, `2026-11-21`.
pub(super) fn day(unix_ms: u64) -> String {
    // Days to a civil date, by Howard Hinnant's algorithm for dates since 1970.
    let shifted = unix_ms / 86_400_000 + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(
            [count(7), count(1_234), count(1_234_567)],
            ["7", "1\u{202f}234", "1\u{202f}234\u{202f}567"]
        );
        assert_eq!(
            [percent(0.0), percent(0.0001), percent(0.25)],
            ["0\u{a0}%", "<\u{202f}0.1\u{a0}%", "25.0\u{a0}%"]
        );
        assert_eq!(time(12_345), "12.3\u{a0}\u{b5}s");
    }

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
            assert_eq!(day(seconds * 1000), text);
        }
    }
}
