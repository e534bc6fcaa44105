//! The statistics of a comparison, as functions of numbers. `docs/diff.md` names the methods and where they
//! come from.

use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

/// Beyond this, Student's t is the normal distribution to all digits that matter.
const MANY: f64 = 1e6;

/// How far the autocorrelation of neighbouring blocks is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autocorrelation {
    /// As far as the blocks suggest, because loads come and go slowly.
    Long,
    /// No further than so few blocks can show, because durations depend on the load only loosely.
    Short,
}

impl Autocorrelation {
    /// The largest coefficient that is used with this many blocks.
    fn limit(self, blocks: f64) -> f64 {
        match self {
            Self::Long => 0.9,
            Self::Short => (1.0 - 5.0 / blocks).clamp(0.0, 0.9),
        }
    }
}

/// An estimate with its variance, and how well that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimated value.
    pub value: f64,
    /// The variance of the estimate, in the value's unit squared.
    pub variance: f64,
    /// Degrees of freedom of the variance; infinite if it is not itself an estimate from blocks.
    pub freedom: f64,
}

impl Estimate {
    /// A number that is known exactly.
    pub fn exact(value: f64) -> Self {
        Self { value, variance: 0.0, freedom: f64::INFINITY }
    }

    /// The value with a variance of at least `variance`.
    #[must_use]
    pub fn at_least(self, variance: f64) -> Self {
        Self { variance: self.variance.max(variance), ..self }
    }
}

/// One block's part in a ratio of sums.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioTerm {
    /// The amount, summed up above the line.
    pub y: f64,
    /// The weight, summed up below the line.
    pub x: f64,
}

/// The ratio of two sums over blocks, `Σy / Σx`, with the variance that the blocks show (Taylor
/// linearisation), widened if neighbouring blocks are alike. Blocks without weight say nothing. `None` below
/// two blocks.
pub fn ratio(blocks: impl Iterator<Item = RatioTerm>, autocorrelation: Autocorrelation) -> Option<Estimate> {
    let blocks: Vec<RatioTerm> = blocks.filter(|block| block.x > 0.0).collect();
    if blocks.len() < 2 {
        return None;
    }
    let n = blocks.len() as f64;
    let sum_y = blocks.iter().fold(0.0, |sum, block| sum + block.y);
    let sum_x = blocks.iter().fold(0.0, |sum, block| sum + block.x);
    let value = sum_y / sum_x;
    let residuals: Vec<f64> = blocks.iter().map(|block| block.y - value * block.x).collect();
    let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let products: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let correlation = if squares > 0.0 { products / squares } else { 0.0 };
    // The coefficient of few blocks comes out too small (Marriott and Pope), and it is known to its standard
    // error only.
    let unbiased = correlation + (1.0 + 4.0 * correlation) / n;
    let correlation = (unbiased + 1.0 / n.sqrt()).clamp(0.0, autocorrelation.limit(n));
    let alike = (1.0 + correlation) / (1.0 - correlation);
    let variance = alike * n / (n - 1.0) * squares / (sum_x * sum_x);
    Some(Estimate { value, variance, freedom: n - 1.0 })
}

/// Degrees of freedom of the difference of two estimates (Welch, Satterthwaite).
fn welch(a: Estimate, b: Estimate) -> f64 {
    let sum = a.variance + b.variance;
    let share = |e: Estimate| if e.variance == 0.0 { 0.0 } else { e.variance * e.variance / e.freedom };
    let below = share(a) + share(b);
    if below == 0.0 { f64::INFINITY } else { (sum * sum / below).max(1.0) }
}

/// The probability of a deviation at least as large as `t`, to either side, if nothing has changed.
pub fn two_sided(t: f64, freedom: f64) -> f64 {
    if t.is_nan() {
        return 1.0;
    }
    let t = t.abs().min(1e15);
    let below = if freedom > MANY {
        Normal::standard().cdf(-t)
    } else {
        StudentsT::new(0.0, 1.0, freedom.max(1.0)).map_or(0.5, |student| student.cdf(-t))
    };
    (2.0 * below).clamp(0.0, 1.0)
}

/// How many standard errors either side of an estimate its 95 % interval reaches.
pub fn reach(freedom: f64) -> f64 {
    const UPPER: f64 = 0.975;
    if freedom > MANY {
        return Normal::standard().inverse_cdf(UPPER);
    }
    StudentsT::new(0.0, 1.0, freedom.max(1.0)).map_or(f64::INFINITY, |student| student.inverse_cdf(UPPER))
}

/// A 95 % confidence interval of a relative change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfidenceInterval {
    /// Lower end; -1 if it is not known.
    pub low: f64,
    /// Upper end; infinite if it is not known.
    pub high: f64,
}

/// A relative change, which is the ratio less one, and how likely it is by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Infinite if the base is 0 and the new value is not.
    pub relative: f64,
    /// Where the true change lies; `None` for distances, and where a side is 0.
    pub interval: Option<ConfidenceInterval>,
    /// The two-sided probability of a change at least as large by chance; 1 is no evidence at all.
    pub p: f64,
    /// The change in units of its standard error; `None` if the test is not Student's, as that of a
    /// quantile.
    pub standard_errors: Option<f64>,
}

/// Compares two estimates of positive quantities: on a logarithmic scale, or if one is 0 by their difference.
pub fn compare(base: Estimate, new: Estimate) -> Change {
    let freedom = welch(base, new);
    if base.value <= 0.0 || new.value <= 0.0 {
        let error = (base.variance + new.variance).sqrt();
        let difference = new.value - base.value;
        let t = if difference == 0.0 { 0.0 } else { difference / error };
        let relative = if difference == 0.0 { 0.0 } else { new.value / base.value - 1.0 };
        return Change { relative, interval: None, p: two_sided(t, freedom), standard_errors: Some(t) };
    }
    let log = (new.value / base.value).ln();
    let relative = |e: Estimate| Estimate { variance: e.variance / (e.value * e.value), ..e };
    let (base, new) = (relative(base), relative(new));
    let (error, freedom) = ((base.variance + new.variance).sqrt(), welch(base, new));
    let t = if log == 0.0 { 0.0 } else { log / error };
    let reach = reach(freedom) * error;
    Change {
        relative: log.exp_m1(),
        interval: Some(ConfidenceInterval { low: (log - reach).exp_m1(), high: (log + reach).exp_m1() }),
        p: two_sided(t, freedom),
        standard_errors: Some(t),
    }
}

/// A share of samples, and the number of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proportion {
    /// The share, 0 to 1, with the variance that the blocks show.
    pub share: Estimate,
    /// How many samples there are.
    pub count: f64,
}

/// The probability of two shares that differ as much by chance: Student's t with the blocks' variances, which
/// are never taken to be smaller than those of as many independent samples with one common share, as the
/// score test has them. The continuity correction is Yates'.
pub fn compare_shares(base: Proportion, new: Proportion) -> f64 {
    let common = (base.share.value * base.count + new.share.value * new.count) / (base.count + new.count);
    let binomial = common * (1.0 - common);
    let independent = binomial / base.count + binomial / new.count;
    let between_blocks = base.share.variance + new.share.variance;
    let correction = 0.5 / base.count + 0.5 / new.count;
    let difference = ((base.share.value - new.share.value).abs() - correction).max(0.0);
    if difference == 0.0 {
        return 1.0;
    }
    let freedom = match (base.share.freedom.is_finite(), between_blocks) {
        (true, 0.0) => base.share.freedom.min(new.share.freedom),
        _ => welch(base.share, new.share),
    };
    two_sided(difference / between_blocks.max(independent).sqrt(), freedom)
}

/// A positive quantity within its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntervalEstimate {
    /// Lower end; 0 if it is not known.
    pub low: f64,
    /// The estimated value.
    pub value: f64,
    /// Upper end; infinite if it is not known.
    pub high: f64,
}

/// The interval of the relative change between two positive quantities, from the intervals of each (MOVER).
pub fn ratio_interval(base: IntervalEstimate, new: IntervalEstimate) -> ConfidenceInterval {
    let logarithms = |of: IntervalEstimate| [of.low, of.value, of.high].map(f64::ln);
    let [base_low, base, base_high] = logarithms(base);
    let [new_low, new, new_high] = logarithms(new);
    let down = (new - new_low).hypot(base_high - base);
    let up = (new_high - new).hypot(base - base_low);
    ConfidenceInterval { low: (new - base - down).exp_m1(), high: (new - base + up).exp_m1() }
}

/// Holm's correction: the probabilities, in the same order, adjusted for the number of tests.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let (mut adjusted, mut least) = (vec![1.0; p.len()], 0.0f64);
    for (rank, &index) in order.iter().enumerate() {
        least = least.max((p.len() - rank) as f64 * p[index]).min(1.0);
        adjusted[index] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, known: f64) {
        assert!((found - known).abs() <= 1e-4 * known.abs().max(1e-12), "{found} is not {known}");
    }

    /// Values from tables of the distributions.
    #[test]
    fn tails_of_the_distributions() {
        close(two_sided(1.959_963_985, f64::INFINITY), 0.05);
        close(two_sided(2.228_138_852, 10.0), 0.05);
        close(two_sided(4.586_893_859, 10.0), 0.001);
        close(two_sided(-12.706_204_74, 1.0), 0.05);
        close(two_sided(6.0, f64::INFINITY), 1.973_175e-9);
        close(reach(10.0), 2.228_138_852);
        close(reach(f64::INFINITY), 1.959_963_985);
        assert_eq!([two_sided(0.0, 3.0), two_sided(f64::NAN, 3.0)], [1.0, 1.0]);
        assert!(two_sided(f64::INFINITY, 20.0) < 1e-100);
    }

    #[test]
    fn a_ratio_with_equal_weights_is_a_mean() {
        // Mean 3, variance of the mean (1+1+1+1+4+4)/5/6; the neighbours are not alike.
        let of = |y: &[f64]| ratio(y.iter().map(|&y| RatioTerm { y, x: 1.0 }), Autocorrelation::Long);
        let found = of(&[2.0, 4.0, 2.0, 4.0, 1.0, 5.0]).unwrap();
        assert_eq!((found.value, found.freedom), (3.0, 5.0));
        close(found.variance, 12.0 / 30.0);
        assert_eq!(of(&[1.0]), None);
        let of = |terms: [(f64, f64); 2]| {
            ratio(terms.into_iter().map(|(y, x)| RatioTerm { y, x }), Autocorrelation::Long)
        };
        assert_eq!(of([(1.0, 1.0), (1.0, 0.0)]), None);
        assert_eq!(of([(2.0, 1.0), (4.0, 2.0)]).unwrap().variance, 0.0);
    }

    #[test]
    fn neighbours_that_are_alike_count_for_less() {
        let of = |y: [f64; 8], autocorrelation| {
            ratio(y.into_iter().map(|y| RatioTerm { y, x: 1.0 }), autocorrelation).unwrap().variance
        };
        let slow = [1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0];
        let fast = [1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0];
        close(of(fast, Autocorrelation::Long), 1.0 / 7.0);
        close(of(slow, Autocorrelation::Long), 1.9 / 0.1 / 7.0);
        close(of(slow, Autocorrelation::Short), 1.375 / 0.625 / 7.0);
    }

    /// Welch's own kind of example: equal variances and counts give n1 + n2 - 2.
    #[test]
    fn welch_and_the_change() {
        let estimate = |value| Estimate { value, variance: 1.0, freedom: 9.0 };
        assert_eq!(welch(estimate(1.0), estimate(2.0)), 18.0);
        let change = compare(estimate(100.0), estimate(110.0));
        close(change.relative, 0.1);
        let interval = change.interval.unwrap();
        assert!(interval.low > 0.06 && interval.high < 0.14 && change.p < 1e-4, "{change:?}");
        let appeared = compare(Estimate::exact(0.0), estimate(50.0));
        assert!(appeared.relative.is_infinite() && appeared.p < 1e-6, "{appeared:?}");
        assert_eq!(compare(estimate(0.0), estimate(0.0)).p, 1.0);
    }

    /// 20 of 2000 against 52 of 2000: by the exact conditional test 2.0e-4 (two-sided).
    #[test]
    fn shares_of_independent_samples() {
        let of = |share, count| Proportion { share: Estimate::exact(share), count };
        let p = compare_shares(of(0.01, 2000.0), of(0.026, 2000.0));
        assert!((1e-4..4e-4).contains(&p), "{p}");
        assert_eq!(compare_shares(of(0.5, 10.0), of(0.5, 10.0)), 1.0);
    }

    #[test]
    fn the_interval_of_a_ratio() {
        let of = |[low, value, high]: [f64; 3]| IntervalEstimate { low, value, high };
        let found = ratio_interval(of([10.0, 10.0, 10.0]), of([18.0, 20.0, 25.0]));
        close(found.low, 0.8);
        close(found.high, 1.5);
    }

    /// The example of Holm's paper's procedure: 0.01, 0.02, 0.03, 0.04.
    #[test]
    fn holm_corrects_step_by_step() {
        for (found, known) in holm(&[0.04, 0.01, 0.03, 0.02]).into_iter().zip([0.06, 0.04, 0.06, 0.06]) {
            close(found, known);
        }
        assert_eq!(holm(&[]), Vec::<f64>::new());
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
