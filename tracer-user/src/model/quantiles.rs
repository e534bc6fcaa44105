//! The one list of quantiles. A further line is all that another quantile needs.

use tracer_ebpf::histogram::MAX_RELATIVE_ERROR;

/// A quantile that is shown. A further line of [`QUANTILES`] is a column of the tables, of CSV, JSON and the
/// long form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// The share of samples that take at most as long, 0 to 1.
    pub q: f64,
    /// Name of its column in machine-readable output.
    pub id: &'static str,
    /// Heading of its column in tables.
    pub title: &'static str,
    /// Its heading in words, for wide pages.
    pub words: &'static str,
    /// What help says of sorting by it.
    pub meaning: &'static str,
    /// Rank of its column in tables, see [`crate::model::columns::Column::rank`]; [`None`] if it is no column
    /// of them.
    pub rank: Option<u8>,
}

/// The quantiles, in rising order.
pub const QUANTILES: [Quantile; 4] = [
    Quantile { q: 0.5, id: "p50_ns", title: "p50", words: "50 %", meaning: "Median", rank: Some(3) },
    Quantile { q: 0.9, id: "p90_ns", title: "p90", words: "90 %", meaning: "90 % quantile", rank: None },
    Quantile { q: 0.99, id: "p99_ns", title: "p99", words: "99 %", meaning: "99 % quantile", rank: Some(2) },
    Quantile {
        q: 0.999,
        id: "p999_ns",
        title: "p99.9",
        words: "99.9 %",
        meaning: "99.9 % quantile",
        rank: Some(4),
    },
];

/// How far a quantile may be from the true value, in percent with the sign. Rounded up, so that it holds.
pub fn quantile_error() -> String {
    format!("{:.1} %", (1000.0 * MAX_RELATIVE_ERROR).ceil() / 10.0)
}

/// The quantile with this id.
///
/// # Panics
/// If there is none: ids are words of this program.
pub fn quantile(id: &str) -> &'static Quantile {
    QUANTILES.iter().find(|quantile| quantile.id == id).expect("a quantile of the list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_ascend_and_have_names_of_their_own() {
        assert!(QUANTILES.iter().all(|quantile| quantile.q > 0.0 && quantile.q < 1.0));
        for pair in QUANTILES.windows(2) {
            assert!(pair[0].q < pair[1].q && pair[0].id != pair[1].id && pair[0].title != pair[1].title);
        }
    }
}
