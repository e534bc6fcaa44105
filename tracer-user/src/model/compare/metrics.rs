//! The metrics that are compared: one table of their names, units, and whether the default verdict judges
//! them.

use std::{str::FromStr, sync::LazyLock};

use crate::model::{QUANTILES, Quantile};

/// A number of a row that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Exits per second.
    Rate,
    /// Share of the handled time.
    Share,
    /// Time of these exits per second.
    Time,
    /// Mean duration.
    Mean,
    /// A quantile of the durations, by its index in [`QUANTILES`].
    Quantile(usize),
    /// Longest duration.
    Max,
    /// The whole distribution of durations.
    Shape,
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Exits per second.
    PerSecond,
    /// A share of a whole, 0 to 1.
    Share,
    /// Nanoseconds per second.
    NsPerSecond,
    /// Nanoseconds.
    Ns,
    /// The metric has no value on either side, only a distance between both.
    None,
}

/// A line of the table of metrics.
#[derive(Clone, Copy, Debug)]
pub struct MetricInfo {
    /// Which metric the line describes.
    pub metric: Metric,
    /// Name in rules, tables and JUnit reports.
    pub id: &'static str,
    /// Name in JSON, with the unit.
    pub json: &'static str,
    /// In which unit both sides are printed.
    pub unit: Unit,
    /// Whether the default verdict judges it.
    pub judged: bool,
}

/// All metrics, in the order in which they are shown.
pub static METRICS: LazyLock<Vec<MetricInfo>> = LazyLock::new(|| {
    let columns = QUANTILES.iter().enumerate().filter(|(_, quantile)| quantile.rank.is_some());
    let quantiles = columns
        .map(|(index, Quantile { id, title, .. })| line(Metric::Quantile(index), title, id, Unit::Ns, true));
    BEFORE.into_iter().chain(quantiles).chain(AFTER).collect()
});

/// The metrics that are shown before the quantiles.
const BEFORE: [MetricInfo; 4] = [
    line(Metric::Rate, "rate", "per_second", Unit::PerSecond, true),
    line(Metric::Share, "share", "time_share", Unit::Share, false),
    line(Metric::Time, "time", "ns_per_second", Unit::NsPerSecond, false),
    line(Metric::Mean, "mean", "mean_ns", Unit::Ns, true),
];

/// The metrics that are shown after the quantiles.
const AFTER: [MetricInfo; 2] = [
    line(Metric::Max, "max", "max_ns", Unit::Ns, false),
    line(Metric::Shape, "shape", "shape", Unit::None, true),
];

const fn line(metric: Metric, id: &'static str, json: &'static str, unit: Unit, judged: bool) -> MetricInfo {
    MetricInfo { metric, id, json, unit, judged }
}

impl Metric {
    /// The metric of a quantile of [`QUANTILES`].
    ///
    /// # Panics
    /// If the table does not have `q`.
    pub const fn quantile(q: f64) -> Self {
        let mut index = 0;
        while QUANTILES[index].q != q {
            index += 1;
        }
        Self::Quantile(index)
    }

    /// The index of the metric's line in [`METRICS`].
    ///
    /// # Panics
    /// If a quantile is not in [`QUANTILES`].
    pub fn index(self) -> usize {
        METRICS.iter().position(|info| info.metric == self).expect("every metric has a line in the table")
    }

    /// The metric's line in [`METRICS`].
    ///
    /// # Panics
    /// If a quantile is not in [`QUANTILES`].
    pub fn info(self) -> &'static MetricInfo {
        &METRICS[self.index()]
    }

    /// Whether the metric is an amount per time, which a row without samples has too: 0.
    pub fn is_over_time(self) -> bool {
        matches!(self, Self::Rate | Self::Share | Self::Time)
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = METRICS.iter().find(|info| info.id == text);
        found.map(|info| info.metric).ok_or_else(|| {
            let all: Vec<_> = METRICS.iter().map(|info| info.id).collect();
            format!("`{text}` is no metric; there are {}", all.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_found_by_its_name() {
        for info in METRICS.iter() {
            assert_eq!(info.id.parse(), Ok(info.metric));
            assert_eq!((info.metric.info().id, info.metric.info().json), (info.id, info.json));
        }
        assert!("p98".parse::<Metric>().unwrap_err().contains("p99.9, max"));
    }

    #[test]
    fn quantiles_stand_between_the_mean_and_the_maximum() {
        let ids: Vec<_> = METRICS.iter().map(|info| info.id).collect();
        let from = BEFORE.len();
        assert_eq!(ids[from - 1..], ["mean", "p50", "p99", "p99.9", "max", "shape"]);
        assert_eq!(Metric::quantile(0.99).info().id, "p99");
    }
}
