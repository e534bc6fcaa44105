//! The table of quantiles. A further line is all that another quantile needs.

/// A quantile of a distribution of durations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// Name in CSV and JSON, with the unit.
    pub id: &'static str,
    /// Name for people, in headings and on the command line.
    pub title: &'static str,
    /// The share of samples at or below it, greater than 0 and less than 1.
    pub q: f64,
}

/// All quantiles, in ascending order.
pub const QUANTILES: [Quantile; 3] = [
    Quantile { id: "p50_ns", title: "p50", q: 0.5 },
    Quantile { id: "p99_ns", title: "p99", q: 0.99 },
    Quantile { id: "p999_ns", title: "p99.9", q: 0.999 },
];

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
