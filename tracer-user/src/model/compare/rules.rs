//! Rules on the command line: `p99:+10%`, `rate:+20%,reason=MSR_WRITE`.

use std::str::FromStr;

use super::{Metric, RowDiff, Settings, statistics};
use crate::model::NamePattern;

/// A bound on the change of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The rule as it was typed.
    pub typed: String,
    /// The metric whose change is bounded.
    pub metric: Metric,
    /// The relative change beyond which it fires, to the side of its sign.
    pub bound: f64,
    /// The exit reasons of the rows that it holds for; all if `None`.
    pub reason: Option<NamePattern>,
    /// The names of the VMs that it holds for; all if `None`.
    pub vm: Option<NamePattern>,
    /// The hosts that it holds for; all if `None`.
    pub host: Option<NamePattern>,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "write METRIC:+N% or METRIC:-N%, then maybe ,reason=GLOB ,vm=GLOB ,host=GLOB";
        let mut words = text.split(',');
        let (metric, bound) = words.next().and_then(|word| word.split_once(':')).ok_or(SHAPE)?;
        let metric: Metric = metric.trim().parse()?;
        if metric == Metric::Max {
            return Err("the maximum is one sample: chance alone moves it; use p99.9".to_owned());
        }
        let bound = bound.trim();
        let number = bound.strip_suffix('%').filter(|number| number.starts_with(['+', '-'])).ok_or(SHAPE)?;
        let number: f64 = number.parse().map_err(|_| SHAPE)?;
        if !number.is_finite() || number <= -100.0 {
            return Err("nothing can fall by 100 % and more".to_owned());
        }
        let mut rule = Self {
            typed: text.to_owned(),
            metric,
            bound: number / 100.0,
            reason: None,
            vm: None,
            host: None,
        };
        if metric == Metric::Shape && bound.starts_with('-') {
            return Err("a distance has no direction; write shape:+N%".to_owned());
        }
        for word in words {
            let (name, glob) = word.split_once('=').ok_or(SHAPE)?;
            let glob: NamePattern = glob.parse().map_err(|_| SHAPE)?;
            match name.trim() {
                "reason" => rule.reason = Some(glob),
                "vm" => rule.vm = Some(glob),
                "host" => rule.host = Some(glob),
                other => return Err(format!("`{other}` is neither reason nor vm nor host")),
            }
        }
        Ok(rule)
    }
}

impl Rule {
    /// Whether the rule bounds a fall of the metric.
    fn falls(&self) -> bool {
        self.bound.is_sign_negative()
    }

    /// Whether the rule names rows instead of holding for all.
    fn has_pattern(&self) -> bool {
        [&self.reason, &self.vm, &self.host].iter().any(|pattern| pattern.is_some())
    }

    /// Whether the rule's patterns match the names of this row.
    fn matches(&self, row: &RowDiff) -> bool {
        let named = |wanted: &Option<NamePattern>, name: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| name.is_some_and(|name| wanted.matches(name)))
        };
        let reason = row.key.reason_label();
        named(&self.reason, reason.as_deref())
            && named(&self.vm, row.key.vm.as_deref())
            && named(&self.host, row.key.host.as_deref())
    }

    /// Whether the rule holds for this row.
    fn wants(&self, row: &RowDiff) -> bool {
        // Idle time of a guest is not a regression, unless a rule asks for it.
        let idle = row.key.idle && self.reason.is_none();
        !idle && self.matches(row)
    }

    /// Whether a relative change is beyond the bound.
    fn exceeded_by(&self, relative: f64) -> bool {
        if self.falls() { relative < self.bound } else { relative > self.bound }
    }
}

/// A change that a rule was applied to.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// The row, by its place in the comparison.
    pub row: usize,
    /// The relative change: 0.1 is 10 % more.
    pub relative: f64,
    /// The probability of as large a change by chance, corrected for all tests of all rules.
    pub adjusted: f64,
}

/// The outcome of a rule.
#[derive(Clone, Debug)]
pub struct RuleOutcome {
    /// The rule itself.
    pub rule: Rule,
    /// The rows whose change is beyond the bound and larger than chance makes it.
    pub fired: Vec<Tested>,
    /// The other rows that were tested.
    pub held: Vec<Tested>,
    /// How many rows match the rule but could not be tested.
    pub untested: usize,
    /// The rule has a pattern, and no row has such a name: it says nothing about the recordings.
    pub unmatched: bool,
}

/// A change that a rule can be applied to, before the correction for all tests.
struct Candidate {
    /// The rule, by its place among all rules.
    rule: usize,
    tested: Tested,
}

/// The outcome of each rule, in the order of `rules`.
pub(super) fn apply(rules: &[Rule], rows: &[RowDiff], settings: &Settings) -> Vec<RuleOutcome> {
    let (mut candidates, mut probabilities) = (Vec::new(), Vec::new());
    let mut outcomes: Vec<RuleOutcome> = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let mut untested = 0;
        for (index, row) in rows.iter().enumerate().filter(|(_, row)| rule.wants(row)) {
            match row.testable(rule.metric, settings) {
                Ok(change) => {
                    probabilities.push(change.p);
                    let tested = Tested { row: index, relative: change.relative, adjusted: 1.0 };
                    candidates.push(Candidate { rule: number, tested });
                }
                Err(_) => untested += 1,
            }
        }
        let unmatched = rule.has_pattern() && !rows.iter().any(|row| rule.matches(row));
        let (fired, held) = (Vec::new(), Vec::new());
        outcomes.push(RuleOutcome { rule: rule.clone(), fired, held, untested, unmatched });
    }
    for (Candidate { rule, tested }, adjusted) in candidates.into_iter().zip(statistics::holm(&probabilities))
    {
        let outcome = &mut outcomes[rule];
        let fires = outcome.rule.exceeded_by(tested.relative) && adjusted < settings.alpha;
        let list = if fires { &mut outcome.fired } else { &mut outcome.held };
        list.push(Tested { adjusted, ..tested });
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_as_typed() {
        let rule: Rule = "rate:+20%,reason=MSR_*,vm=web*".parse().unwrap();
        assert_eq!((rule.metric, rule.bound), (Metric::Rate, 0.2));
        assert!(rule.reason.unwrap().matches("MSR_WRITE") && rule.vm.unwrap().matches("web01"));
        let rule: Rule = "p99.9:-5.5%".parse().unwrap();
        assert_eq!((rule.metric, rule.bound, rule.falls()), (Metric::quantile(0.999), -0.055, true));
        assert!(rule.exceeded_by(-0.06) && !rule.exceeded_by(-0.05) && !rule.exceeded_by(1.0));
        assert!("p99:+0%".parse::<Rule>().unwrap().exceeded_by(f64::INFINITY));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "p99",
            "p99:",
            "p99:10%",
            "p99:+10",
            "p98:+10%",
            "p99:+x%",
            "max:+5%",
            "shape:-5%",
            "p99:+1%,x=y",
            "p99:+1%,reason",
            "p99:-100%",
            "p99:+inf%",
            "p99:+nan%",
        ] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }
}
