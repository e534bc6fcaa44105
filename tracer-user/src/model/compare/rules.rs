//! Rules on the command line: `p99:+10%`, `rate:+20%,reason=MSR_WRITE`.

use std::str::FromStr;

use super::{Metric, RowDiff, Settings, statistics};
use crate::model::NamePattern;

/// A bound on the change of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// As it was typed.
    pub typed: String,
    /// The metric.
    pub metric: Metric,
    /// The relative change beyond which it fires, to the side of its sign.
    pub bound: f64,
    /// Which rows, by reason.
    pub reason: Option<NamePattern>,
    /// Which rows, by the name of the VM.
    pub vm: Option<NamePattern>,
    /// Which rows, by host.
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
    /// Falling is what it is about.
    fn falls(&self) -> bool {
        self.bound.is_sign_negative()
    }

    fn wants(&self, row: &RowDiff) -> bool {
        let named = |wanted: &Option<NamePattern>, name: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| name.is_some_and(|name| wanted.matches(name)))
        };
        let reason = row.key.reason.map(|_| row.key.reason_label());
        // How long a guest has nothing to do is nobody's fault, unless asked.
        let idle = row.key.idle && self.reason.is_none();
        !idle
            && named(&self.reason, reason.as_deref())
            && named(&self.vm, row.key.vm.as_deref())
            && named(&self.host, row.key.host.as_deref())
    }

    fn exceeded_by(&self, relative: f64) -> bool {
        if self.falls() { relative < self.bound } else { relative > self.bound }
    }
}

/// A change that a rule was held against.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// The row, by its place in the comparison.
    pub row: usize,
    /// The relative change.
    pub relative: f64,
    /// The probability of as much by chance, corrected for everything that rules looked at.
    pub adjusted: f64,
}

/// What became of a rule.
#[derive(Clone, Debug)]
pub struct RuleOutcome {
    /// The rule.
    pub rule: Rule,
    /// The rows beyond the bound, more so than chance explains.
    pub fired: Vec<Tested>,
    /// The other rows that were looked at.
    pub held: Vec<Tested>,
    /// Rows that match but could not be tested.
    pub untested: usize,
}

/// Holds rules against rows.
pub(super) fn apply(rules: &[Rule], rows: &[RowDiff], settings: &Settings) -> Vec<RuleOutcome> {
    let mut chances = Vec::new();
    let mut tests: Vec<(usize, Tested)> = Vec::new();
    let mut outcomes: Vec<RuleOutcome> = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let mut untested = 0;
        for (index, row) in rows.iter().enumerate().filter(|(_, row)| rule.wants(row)) {
            let testable = row.untestable(rule.metric, settings).is_empty();
            match row.finding(rule.metric).measured.change.filter(|_| testable) {
                Some(change) => {
                    chances.push(change.p);
                    tests.push((number, Tested { row: index, relative: change.relative, adjusted: 1.0 }));
                }
                None => untested += 1,
            }
        }
        outcomes.push(RuleOutcome { rule: rule.clone(), fired: Vec::new(), held: Vec::new(), untested });
    }
    for ((number, test), adjusted) in tests.into_iter().zip(statistics::holm(&chances)) {
        let outcome = &mut outcomes[number];
        let fires = outcome.rule.exceeded_by(test.relative) && adjusted < settings.alpha;
        let list = if fires { &mut outcome.fired } else { &mut outcome.held };
        list.push(Tested { adjusted, ..test });
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
        assert_eq!((rule.metric, rule.bound, rule.falls()), (Metric::P999, -0.055, true));
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
