//! A comparison as a JUnit report, for CI servers: a test case for each rule, or without rules for each
//! metric of each row that the default verdict looks at.

use std::io::{self, Write};

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

use super::{Report, SIDES, change, outcome, value, why};
use crate::{
    model::compare::{Finding, RowDiff, Unit, Unjudged, Verdict},
    render::escape::terminal,
};

/// A test case.
struct Case {
    class: String,
    name: String,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Prints the report as an XML document.
///
/// # Errors
/// If the output cannot be written.
pub fn print(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    let cases = cases(report);
    let count = |which: fn(&Outcome) -> bool| cases.iter().filter(|case| which(&case.outcome)).count();
    let numbers = [
        ("tests", cases.len()),
        ("failures", count(|outcome| matches!(outcome, Outcome::Failed(_)))),
        ("errors", 0),
        ("skipped", count(|outcome| matches!(outcome, Outcome::Skipped(_)))),
    ]
    .map(|(name, number)| (name, number.to_string()));
    let numbers = || numbers.iter().map(|(name, number)| (*name, number.as_str()));
    let mut writer = Writer::new_with_indent(&mut *out, b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.create_element("testsuites").with_attributes(numbers()).write_inner_content(|writer| {
        let suite = writer.create_element("testsuite").with_attribute(("name", "exitlat diff"));
        suite.with_attributes(numbers()).write_inner_content(|writer| {
            for case in &cases {
                write_case(writer, case)?;
            }
            let text = clean(&system_out(report));
            writer.create_element("system-out").write_text_content(BytesText::new(&text))?;
            Ok(())
        })?;
        Ok(())
    })?;
    writeln!(out)
}

fn write_case<W: Write>(writer: &mut Writer<W>, case: &Case) -> io::Result<()> {
    let (class, name) = (clean(&case.class), clean(&case.name));
    let element = writer.create_element("testcase");
    let element = element.with_attributes([("classname", class.as_str()), ("name", name.as_str())]);
    let (tag, message) = match &case.outcome {
        Outcome::Passed => return element.write_empty().map(drop),
        Outcome::Failed(message) => ("failure", clean(message)),
        Outcome::Skipped(message) => ("skipped", clean(message)),
    };
    element.write_inner_content(|writer| {
        writer.create_element(tag).with_attribute(("message", message.as_str())).write_empty()?;
        Ok(())
    })?;
    Ok(())
}

/// The text with only those characters that XML 1.0 allows. The writer escapes its markup.
fn clean(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(terminal).collect();
    lines.join("\n").replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn cases(report: &Report<'_>) -> Vec<Case> {
    let comparison = report.comparison;
    if !comparison.settings.comparable {
        // Skipped cases alone would look like a success.
        let outcome = Outcome::Failed(report.notes.join("; "));
        return vec![Case { class: "exitlat".to_owned(), name: "comparable".to_owned(), outcome }];
    }
    if comparison.rules.is_empty() {
        let judged = |finding: &&Finding| finding.verdict != Verdict::Unjudged(Unjudged::NotSelected);
        let of = |row: &RowDiff| {
            let findings = row.findings.iter().filter(judged);
            findings.map(|finding| case(row, finding)).collect::<Vec<_>>()
        };
        return comparison.rows.iter().flat_map(of).collect();
    }
    let rules = comparison.rules.iter().map(|rule| {
        let said = outcome(rule, &comparison.rows);
        let outcome = match (rule.fired.is_empty(), rule.held.is_empty()) {
            (false, _) => Outcome::Failed(said),
            // Skipped it would look like a success.
            _ if rule.unmatched => Outcome::Failed(said),
            (true, false) => Outcome::Passed,
            (true, true) => Outcome::Skipped(said),
        };
        Case { class: "exitlat.rule".to_owned(), name: rule.rule.typed.clone(), outcome }
    });
    rules.collect()
}

fn case(row: &RowDiff, finding: &Finding) -> Case {
    let info = finding.metric.info();
    let outcome = match finding.verdict {
        Verdict::Unjudged(unjudged) => Outcome::Skipped(why(unjudged).to_owned()),
        Verdict::Regressed => {
            let mut message = format!("{} {}", info.id, change(finding));
            if info.unit != Unit::None {
                let sides = [finding.measured.base, finding.measured.new];
                message += &format!(" {}", sides.map(|side| value(info.unit, side)).join(" -> "));
            }
            Outcome::Failed(message)
        }
        _ => Outcome::Passed,
    };
    Case { class: format!("exitlat.{}", row.key.label()), name: info.id.to_owned(), outcome }
}

fn system_out(report: &Report<'_>) -> String {
    let mut lines = Vec::new();
    for (name, origin) in SIDES.iter().zip(&report.origins) {
        lines.push(format!("{name}: {}: {}", terminal(&origin.file), terminal(&origin.recorded)));
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {}", terminal(note))));
    lines.join("\n")
}
