//! A comparison as text, in three formats, which share the words for verdicts and their reasons.

pub mod json;
pub mod junit;
pub mod table;

use crate::{
    model::{
        GroupBy,
        columns::Value,
        compare::{
            Comparison, Finding, Metric, Presence, RecordingSummary, RowDiff, RuleOutcome, Unit, Unjudged,
            Verdict,
        },
    },
    render::units,
};

/// Where one side of a comparison comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file as it was named.
    pub file: String,
    /// Host, kernel, processor and tool, in a line.
    pub recorded: String,
}

/// A comparison with everything that is printed about it.
#[derive(Debug)]
pub struct Report<'a> {
    /// Where the recordings come from: base, new.
    pub origins: [Origin; 2],
    /// The recordings: base, new.
    pub sides: [&'a RecordingSummary; 2],
    /// Warnings that are shown before the numbers, the worst first.
    pub notes: Vec<String>,
    /// How exits were grouped into rows.
    pub by: GroupBy,
    /// The rows and their verdicts.
    pub comparison: &'a Comparison,
}

/// The names of the sides.
pub const SIDES: [&str; 2] = ["base", "new"];

/// The word for a verdict.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unjudged(_) => "not judged",
        Verdict::Same => "same",
        Verdict::Improved => "improved",
        Verdict::Changed => "changed",
        Verdict::Regressed => "regressed",
    }
}

/// Why there is no verdict, in a few words.
fn why(unjudged: Unjudged) -> &'static str {
    match unjudged {
        Unjudged::Idle => "idle",
        Unjudged::OneInterval => "one interval does not tell how much it fluctuates",
        Unjudged::NotSelected => "shown only",
        Unjudged::NotComparable => "the dumps are not comparable",
        Unjudged::TooFewSamples => "too few samples",
        Unjudged::OneBlock => "all of a side's samples are of one time",
        Unjudged::OneSideEmpty => "one side has no samples",
        Unjudged::Maximum => "an extreme has no distribution to test",
        Unjudged::ShortTail => "fewer than 10 samples above it",
        Unjudged::OpenBucket => "longer than the buckets tell apart",
        Unjudged::NoRows => "no samples",
    }
}

/// The word for a row that one side lacks.
fn presence(presence: Presence) -> Option<&'static str> {
    match presence {
        Presence::Both => None,
        Presence::New => Some("new"),
        Presence::Vanished => Some("vanished"),
    }
}

/// A value in its metric's unit.
fn value(unit: Unit, value: Option<f64>) -> String {
    match (unit, value) {
        (Unit::None, _) => String::new(),
        (_, None) => "-".to_owned(),
        (Unit::PerSecond, Some(rate)) => format!("{rate:.1}/s"),
        (Unit::NsPerSecond, Some(ns)) => format!("{}/s", units::duration(ns as u64)),
        (Unit::Share, share) => units::value(Value::Share(share)),
        (Unit::Ns, ns) => units::value(Value::Mean(ns)),
    }
}

/// The relative change of a finding. That of a maximum is a plain ratio, about which nothing is claimed.
fn relative(finding: &Finding) -> Option<f64> {
    let measured = &finding.measured;
    let plain = || match (measured.base?, measured.new?) {
        (base, new) if base > 0.0 => Some(new / base - 1.0),
        _ => None,
    };
    measured.change().map(|change| change.relative).or_else(plain)
}

/// A relative change as `+12.3%`; large ones as a factor, `x150`.
fn percent(change: f64) -> String {
    match change {
        change if change.is_infinite() => "from 0".to_owned(),
        change if change >= 99.995 => format!("x{:.0}", change + 1.0),
        change => format!("{:+.1}%", 100.0 * change),
    }
}

/// A probability in a few characters.
fn probability(p: f64) -> String {
    match p {
        p if p < 1e-9 => "<1e-9".to_owned(),
        p if p < 0.001 => format!("{p:.0e}"),
        p => format!("{p:.3}"),
    }
}

/// The relative change of a finding as text; "" if it is unknown. That of a shape has no sign.
fn change(finding: &Finding) -> String {
    let change = relative(finding).map(percent).unwrap_or_default();
    if finding.metric == Metric::Shape { change.trim_start_matches('+').to_owned() } else { change }
}

/// The metrics of a row that got a verdict, each with its change: `mean +31.2%, shape 12.0%`.
fn changes(row: &RowDiff, verdict: Verdict) -> String {
    let found = row.findings.iter().filter(|finding| finding.verdict == verdict);
    let words = found.map(|finding| format!("{} {}", finding.metric.info().id, change(finding)));
    words.collect::<Vec<_>>().join(", ")
}

/// The outcome of a rule, in a line.
fn outcome(rule: &RuleOutcome, rows: &[RowDiff]) -> String {
    let largest = || {
        let changes = rule.held.iter().map(|test| test.relative);
        changes.max_by(|a, b| a.abs().total_cmp(&b.abs())).map(percent).unwrap_or_default()
    };
    let untested = match rule.untested {
        0 => String::new(),
        count => format!("; {} cannot be tested", units::plural(count, "row")),
    };
    let found = match (rule.fired.is_empty(), rule.held.is_empty()) {
        (false, _) => {
            let rows = rule.fired.iter().map(|test| {
                let chance = probability(test.adjusted);
                format!("{} {} (p {chance})", rows[test.row].key.label(), percent(test.relative))
            });
            format!("fired: {}", rows.collect::<Vec<_>>().join(", "))
        }
        (true, false) => {
            format!("held in {}, the largest change {}", units::plural(rule.held.len(), "row"), largest())
        }
        (true, true) if rule.untested > 0 => "held".to_owned(),
        (true, true) => "no row matches".to_owned(),
    };
    format!("{found}{untested}")
}

/// The verdict on the whole comparison, in a word or two.
fn verdict(comparison: &Comparison) -> &'static str {
    match (comparison.settings.comparable, comparison.rules.is_empty(), comparison.failed()) {
        (false, ..) => "not comparable",
        (true, true, _) => word(comparison.verdict),
        (true, false, true) => "failed",
        (true, false, false) if comparison.unmatched_rules().next().is_some() => "a rule matches no row",
        (true, false, false) => "held",
    }
}
