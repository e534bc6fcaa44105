//! Numbers as the page writes them.

use crate::render::units;

/// Formats a duration with a micro sign and non-breaking spaces.
pub(super) fn time(ns: u64) -> String {
    units::duration(ns).replace(" us", " \u{b5}s").replace(' ', "\u{a0}")
}

/// Formats a count with its digits in groups of three.
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

/// Formats a share (0 to 1) as a percentage.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        _ if percent == 0.0 => "0\u{a0}%".to_owned(),
        _ if percent < 0.1 => "<\u{202f}0.1\u{a0}%".to_owned(),
        _ => format!("{percent:.1}\u{a0}%"),
    }
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
}
