//! The statistics of a comparison, as functions of numbers. `docs/diff.md` names the methods and where they
//! come from.

use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

/// Beyond this, Student's t is the normal distribution to all digits that matter.
const MANY: f64 = 1e6;

/// How much alike neighbouring blocks may be taken to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Loads come and go slowly: as much as the blocks suggest.
    Long,
    /// Durations depend on the load only loosely: no more than so few blocks can show.
    Short,
}

impl Memory {
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
    /// The estimate.
    pub value: f64,
    /// Its variance.
    pub variance: f64,
    /// Degrees of freedom of the variance; infinite if it is not itself an estimate from blocks.
    pub freedom: f64,
}

impl Estimate {
    /// A number that is known exactly.
    pub fn exact(value: f64) -> Self {
        Self { value, variance: 0.0, freedom: f64::INFINITY }
    }

    /// Raises the variance to at least this.
    #[must_use]
    pub fn at_least(self, variance: f64) -> Self {
        Self { variance: self.variance.max(variance), ..self }
    }
}

/// The ratio of two sums over blocks, `Σy / Σx`, with the variance that the blocks show (Taylor linearisation),
/// widened if neighbouring blocks are alike. Blocks without weight say nothing. `None` below two blocks.
pub fn ratio(blocks: impl Iterator<Item = (f64, f64)>, memory: Memory) -> Option<Estimate> {
    let blocks: Vec<(f64, f64)> = blocks.filter(|(_, x)| *x > 0.0).collect();
    if blocks.len() < 2 {
        return None;
    }
    let n = blocks.len() as f64;
    let (sum_y, sum_x) = blocks.iter().fold((0.0, 0.0), |(sy, sx), (y, x)| (sy + y, sx + x));
    let value = sum_y / sum_x;
    let residuals: Vec<f64> = blocks.iter().map(|(y, x)| y - value * x).collect();
    let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let products: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let correlation = if squares > 0.0 { products / squares } else { 0.0 };
    // Of few blocks it comes out too small (Marriott and Pope), and it is known to its standard error only.
    let unbiased = correlation + (1.0 + 4.0 * correlation) / n;
    let correlation = (unbiased + 1.0 / n.sqrt()).clamp(0.0, memory.limit(n));
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

/// A relative change: the ratio less one, its 95 % interval, and the probability of as much by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Infinite if the base is 0 and the new value is not.
    pub relative: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Two-sided; 1 is no evidence at all.
    pub p: f64,
    /// The change in units of its standard error.
    pub t: f64,
}

/// Compares two estimates of positive quantities: on a logarithmic scale, or if one is 0 by their difference.
pub fn compare(base: Estimate, new: Estimate) -> Change {
    let freedom = welch(base, new);
    if base.value <= 0.0 || new.value <= 0.0 {
        let error = (base.variance + new.variance).sqrt();
        let difference = new.value - base.value;
        let t = if difference == 0.0 { 0.0 } else { difference / error };
        let relative = if difference == 0.0 { 0.0 } else { new.value / base.value - 1.0 };
        return Change { relative, low: f64::NAN, high: f64::NAN, p: two_sided(t, freedom), t };
    }
    let log = (new.value / base.value).ln();
    let relative = |e: Estimate| Estimate { variance: e.variance / (e.value * e.value), ..e };
    let (base, new) = (relative(base), relative(new));
    let (error, freedom) = ((base.variance + new.variance).sqrt(), welch(base, new));
    let t = if log == 0.0 { 0.0 } else { log / error };
    let reach = reach(freedom) * error;
    Change {
        relative: log.exp_m1(),
        low: (log - reach).exp_m1(),
        high: (log + reach).exp_m1(),
        p: two_sided(t, freedom),
        t,
    }
}

/// Whether two shares differ: Student's t with the blocks' variances, which are never taken to be smaller than
/// those of as many independent samples with one common share, as the score test has them. The continuity
/// correction is Yates'.
pub fn compare_shares(base: Estimate, base_count: f64, new: Estimate, new_count: f64) -> f64 {
    let common = (base.value * base_count + new.value * new_count) / (base_count + new_count);
    let binomial = common * (1.0 - common);
    let independent = binomial / base_count + binomial / new_count;
    let variance = (base.variance + new.variance).max(independent);
    let correction = 0.5 / base_count + 0.5 / new_count;
    let difference = ((base.value - new.value).abs() - correction).max(0.0);
    if difference == 0.0 {
        return 1.0;
    }
    let freedom = match (base.freedom.is_finite(), base.variance + new.variance) {
        (true, 0.0) => base.freedom.min(new.freedom),
        _ => welch(base, new),
    };
    two_sided(difference / variance.sqrt(), freedom)
}

/// The interval of a ratio of two positive quantities from the intervals of each, as a relative change (MOVER).
pub fn ratio_interval(base: [f64; 3], new: [f64; 3]) -> (f64, f64) {
    let [base_low, base, base_high] = base.map(f64::ln);
    let [new_low, new, new_high] = new.map(f64::ln);
    let down = (new - new_low).hypot(base_high - base);
    let up = (new_high - new).hypot(base - base_low);
    ((new - base - down).exp_m1(), (new - base + up).exp_m1())
}

/// Holm's correction: each probability becomes what it is worth among all of them.
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
        let of = |y: &[f64]| ratio(y.iter().map(|y| (*y, 1.0)), Memory::Long);
        let found = of(&[2.0, 4.0, 2.0, 4.0, 1.0, 5.0]).unwrap();
        assert_eq!((found.value, found.freedom), (3.0, 5.0));
        close(found.variance, 12.0 / 30.0);
        assert_eq!(of(&[1.0]), None);
        assert_eq!(ratio([(1.0, 1.0), (1.0, 0.0)].into_iter(), Memory::Long), None);
        assert_eq!(ratio([(2.0, 1.0), (4.0, 2.0)].into_iter(), Memory::Long).unwrap().variance, 0.0);
    }

    #[test]
    fn neighbours_that_are_alike_count_for_less() {
        let of = |y: [f64; 8], memory| ratio(y.into_iter().map(|y| (y, 1.0)), memory).unwrap().variance;
        let slow = [1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0];
        let fast = [1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0];
        close(of(fast, Memory::Long), 1.0 / 7.0);
        close(of(slow, Memory::Long), 1.9 / 0.1 / 7.0);
        close(of(slow, Memory::Short), 1.375 / 0.625 / 7.0);
    }

    /// Welch's own kind of example: equal variances and counts give n1 + n2 - 2.
    #[test]
    fn welch_and_the_change() {
        let estimate = |value| Estimate { value, variance: 1.0, freedom: 9.0 };
        assert_eq!(welch(estimate(1.0), estimate(2.0)), 18.0);
        let change = compare(estimate(100.0), estimate(110.0));
        close(change.relative, 0.1);
        assert!(change.low > 0.06 && change.high < 0.14 && change.p < 1e-4, "{change:?}");
        let appeared = compare(Estimate::exact(0.0), estimate(50.0));
        assert!(appeared.relative.is_infinite() && appeared.p < 1e-6, "{appeared:?}");
        assert_eq!(compare(estimate(0.0), estimate(0.0)).p, 1.0);
    }

    /// 20 of 2000 against 52 of 2000: by the exact conditional test 2.0e-4 (two-sided).
    #[test]
    fn shares_of_independent_samples() {
        let p = compare_shares(Estimate::exact(0.01), 2000.0, Estimate::exact(0.026), 2000.0);
        assert!((1e-4..4e-4).contains(&p), "{p}");
        assert_eq!(compare_shares(Estimate::exact(0.5), 10.0, Estimate::exact(0.5), 10.0), 1.0);
    }

    #[test]
    fn the_interval_of_a_ratio() {
        let (low, high) = ratio_interval([10.0, 10.0, 10.0], [18.0, 20.0, 25.0]);
        close(low, 0.8);
        close(high, 1.5);
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
