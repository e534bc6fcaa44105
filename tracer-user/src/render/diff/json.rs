//! A comparison as one JSON object. Times are in ns, changes are relative: 0.1 is 10 % more.

use std::io::{self, Write};

use serde_json::{Map, Value as Json, json};

use super::{Report, SIDES, presence, verdict, why, word};
use crate::model::compare::{
    Comparison, Finding, Method, RowDiff, RuleOutcome,
    rules::Tested,
    statistics::{Change, ConfidenceInterval},
};

/// Name and version of the object's form.
pub const SCHEMA: &str = "exitlat.diff/1";

/// Prints the object in one line.
///
/// # Errors
/// If the output cannot be written.
pub fn print(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    let comparison = report.comparison;
    let settings = &comparison.settings;
    let mut object = json!({
        "schema": SCHEMA,
        "verdict": verdict(comparison),
        "failed": comparison.failed(),
        "comparable": settings.comparable,
        "notes": report.notes,
        "by": report.by.to_string(),
        "method": match comparison.method { Method::Blocks => "blocks", Method::Samples => "samples" },
        "min_change": comparison.min_change,
        "min_samples": settings.min_samples,
        "alpha": settings.alpha,
        "judged": comparison.judged,
        "rows": comparison.rows.iter().map(row).collect::<Vec<_>>(),
        "rules": comparison.rules.iter().map(|rule| outcome(rule, comparison)).collect::<Vec<_>>(),
    });
    for (index, name) in SIDES.iter().enumerate() {
        let (origin, side) = (&report.origins[index], report.sides[index]);
        let losses = side.losses.nonzero().map(|(info, count)| (info.name.to_owned(), json!(count)));
        object[name] = json!({
            "file": origin.file,
            "recorded": origin.recorded,
            "intervals": side.intervals,
            "blocks": comparison.blocks[index],
            "elapsed_ns": side.elapsed_ns,
            "losses": losses.collect::<Map<_, _>>(),
        });
    }
    serde_json::to_writer(&mut *out, &object)?;
    writeln!(out)
}

/// The fields that identify a row.
fn key(row: &RowDiff) -> Map<String, Json> {
    let key = &row.key;
    let mut object = Map::new();
    for (name, value) in [("host", &key.host), ("vm", &key.vm), ("vcpu", &key.vcpu)] {
        if let Some(value) = value {
            object.insert(name.into(), json!(value));
        }
    }
    if let Some(reason) = key.reason {
        object.insert("isa".into(), json!(reason.isa.to_string()));
        object.insert("code".into(), json!(reason.code));
        object.insert("reason".into(), json!(reason.to_string()));
    }
    object
}

fn row(row: &RowDiff) -> Json {
    let mut object = key(row);
    object.insert("idle".into(), json!(row.key.idle));
    object.insert("presence".into(), json!(presence(row.presence()).unwrap_or("both")));
    object.insert("samples".into(), json!({ "base": row.counts[0], "new": row.counts[1] }));
    object.insert("verdict".into(), json!(word(row.verdict)));
    let metrics = row.findings.iter().map(|finding| (finding.metric.info().json.to_owned(), metric(finding)));
    object.insert("metrics".into(), Json::Object(metrics.collect()));
    let distance = row.distance.map(
        |distance| json!({ "largest": distance.largest, "moved": distance.moved, "shift": distance.shift }),
    );
    object.insert("distance".into(), json!(distance));
    Json::Object(object)
}

/// A metric's values and verdict. Unknown and infinite numbers are `null`.
fn metric(finding: &Finding) -> Json {
    let measured = &finding.measured;
    let change = |get: fn(Change) -> f64| measured.change().map(get);
    let interval = |get: fn(ConfidenceInterval) -> f64| measured.change()?.interval.map(get);
    json!({
        "base": measured.base,
        "new": measured.new,
        "change": change(|change| change.relative),
        "low": interval(|interval| interval.low),
        "high": interval(|interval| interval.high),
        "p": change(|change| change.p),
        "p_adjusted": finding.adjusted,
        "verdict": word(finding.verdict),
        "why": finding.verdict.unjudged().map(why),
    })
}

fn outcome(rule: &RuleOutcome, comparison: &Comparison) -> Json {
    let tested = |test: &Tested| {
        let mut object = key(&comparison.rows[test.row]);
        object.insert("change".into(), json!(test.relative));
        object.insert("p_adjusted".into(), json!(test.adjusted));
        Json::Object(object)
    };
    json!({
        "rule": rule.rule.typed,
        "fired": rule.fired.iter().map(tested).collect::<Vec<_>>(),
        "held": rule.held.iter().map(tested).collect::<Vec<_>>(),
        "untested": rule.untested,
    })
}
