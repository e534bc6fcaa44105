//! `exitlat diff`: two recordings compared.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
};

use anyhow::{Result, anyhow};

use crate::{
    cli::{DiffArgs, DiffFormat, Location, Usage, location},
    cmd::{
        DONE, REGRESSED,
        select::{self, Recorded},
        unless_closed, view,
    },
    files::Input,
    model::{
        GroupBy, Interval, Selection, Threads,
        compare::{Comparison, RecordingSummary, Settings, Summarizer, compare},
        group::HIDDEN_HALTS,
        provenance::{self, Difference, Header},
    },
    render::diff::{Origin, Report, SIDES, json, junit, table},
};

/// A recording that was read to its end.
struct Recording {
    header: Header,
    side: RecordingSummary,
    threads: Threads,
    /// All exits of the recording, selected or not.
    exits: u64,
    notes: Vec<String>,
}

impl Recording {
    fn names(&self) -> Recorded<'_> {
        Recorded { header: &self.header, threads: &self.threads }
    }
}

/// Runs the command.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`]; after printing also that the recordings are not comparable, or
/// that a rule matches no row.
pub fn run(args: &DiffArgs) -> Result<u8> {
    let files = [&args.base, &args.new];
    location::read_once(files)?;
    let mut selection = Selection::from(&args.select);
    select::settle(&mut selection, &files)?;
    let base = read(files[0], args.by, &selection)?;
    let new = read(files[1], args.by, &selection)?;
    select::found(&selection, &[base.names(), new.names()])?;

    let differences = provenance::differences(&base.header, &new.header);
    let incomparable = obstacles(&differences, [&base.side, &new.side]);
    let notes = notes(&differences, &incomparable, [&base, &new]);
    let settings = Settings {
        min_change: args.min_change,
        min_samples: args.min_samples,
        alpha: args.alpha,
        judge: if args.judge.is_empty() { Settings::default().judge } else { args.judge.clone() },
        comparable: incomparable.is_empty(),
    };
    let comparison = compare(&base.side, &new.side, settings, &args.fail_on);
    let origin = |file: &Location, recording: &Recording| Origin {
        file: file.to_string(),
        recorded: recorded(&recording.header),
    };
    let report = Report {
        origins: [origin(files[0], &base), origin(files[1], &new)],
        sides: [&base.side, &new.side],
        notes,
        by: args.by,
        comparison: &comparison,
    };
    // The exit status does not depend on how much of the text is read.
    unless_closed(print(&report, args))?;
    if !incomparable.is_empty() {
        return Err(anyhow!("the recordings are not comparable: {}", incomparable.join("; ")));
    }
    rules_match(&comparison, args.by)?;
    Ok(if comparison.failed() { REGRESSED } else { DONE })
}

/// Checks that each rule with a pattern matches a row: one that matches none would never fire.
///
/// # Errors
/// [`Usage`] with the rules that have none and the rows there are.
fn rules_match(comparison: &Comparison, by: GroupBy) -> Result<(), Usage> {
    let rules: Vec<_> = comparison.unmatched_rules().map(|rule| format!("`{}`", rule.typed)).collect();
    if rules.is_empty() {
        return Ok(());
    }
    let labels: BTreeSet<String> = comparison.rows.iter().map(|row| row.key.label()).collect();
    let labels: Vec<_> = labels.into_iter().collect();
    let there_are = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
    Err(Usage(format!("no row matches {}; the rows by {by} are: {there_are}", rules.join(", "))))
}

fn read(file: &Location, by: GroupBy, selection: &Selection) -> Result<Recording> {
    let mut reader = Input::open(file)?.with_hosts();
    let (mut interval, mut side) = (Interval::default(), Summarizer::new(by, selection.clone()));
    let mut exits = 0u64;
    while reader.next_interval(&mut interval)? {
        side.add(interval.with(reader.threads()));
        exits = exits.saturating_add(interval.exits());
    }
    let (header, threads) = (reader.header().clone(), reader.threads().clone());
    Ok(Recording { header, side: side.finish(), threads, exits, notes: reader.notes().to_vec() })
}

fn recorded(header: &Header) -> String {
    let Header { host, kernel, cpu, backend, tool, .. } = header;
    format!("recorded on {host} (Linux {kernel}, {backend}, {cpu}) by {tool}")
}

/// The reasons why the numbers of both sides do not mean the same.
fn obstacles(differences: &[Difference], [base, new]: [&RecordingSummary; 2]) -> Vec<String> {
    let facts = differences.iter().filter(|difference| difference.incomparable);
    let mut obstacles: Vec<String> = facts.map(said).collect();
    let isas =
        |side: &RecordingSummary| side.isas.iter().map(|isa| isa.to_string()).collect::<Vec<_>>().join(" + ");
    if base.isas != new.isas && !base.isas.is_empty() && !new.isas.is_empty() {
        obstacles.push(format!("base has exits of {}, new of {}", isas(base), isas(new)));
    }
    if base.waits_apart.zip(new.waits_apart).is_some_and(|(base, new)| base != new) {
        obstacles.push("only one of them tells the wait of a halted guest from the work".to_owned());
    }
    obstacles
}

fn said(difference: &Difference) -> String {
    let Difference { what, base, new, .. } = difference;
    let or_none = |value: &str| if value.is_empty() { "none".to_owned() } else { format!("`{value}`") };
    format!("{what}: base {}, new {}", or_none(base), or_none(new))
}

/// Notes to read before the numbers, the worst first.
fn notes(differences: &[Difference], incomparable: &[String], recordings: [&Recording; 2]) -> Vec<String> {
    let mut notes: Vec<String> =
        incomparable.iter().map(|obstacle| format!("NOT COMPARABLE: {obstacle}")).collect();
    notes.extend(differences.iter().filter(|difference| !difference.incomparable).map(said));
    for (name, recording) in SIDES.iter().zip(recordings) {
        if recording.exits == 0 {
            notes.push(format!("{name} recorded nothing: it has no exits"));
        }
        if recording.side.losses.any_missing() {
            notes.push(format!("{name} lacks samples: {}", recording.side.losses));
        }
        if recording.side.hidden_halts {
            notes.push(format!("{name}: {HIDDEN_HALTS}"));
        }
        notes.extend(recording.notes.iter().map(|note| format!("{name}: {note}")));
    }
    notes
}

fn print(report: &Report<'_>, args: &DiffArgs) -> Result<()> {
    let mut block = Vec::new();
    match args.format {
        DiffFormat::Table => table::print(&mut block, report, view::color(args.color))?,
        DiffFormat::Json => json::print(&mut block, report)?,
        DiffFormat::Junit => junit::print(&mut block, report)?,
    }
    let mut out = io::stdout().lock();
    out.write_all(&block)?;
    out.flush()?;
    Ok(())
}
