//! `exitlat check`: what this host offers, and whether exits are seen.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::Result;
use serde_json::json;
use tracer_ebpf::part::Part;

use crate::{
    cli::{CheckArgs, CheckFormat},
    cmd::{DONE, UNSUPPORTED},
    kernel::{
        activity, arch,
        check::{self, Finding, Status},
        features::{FeatureInfo, Kernel},
        plan::Plan,
        session::{Options, Session},
    },
    model::{Interval, MeasuredParts},
};

/// How long to look for exits.
const PROBE: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// Those of standard output.
pub async fn run(args: &CheckArgs) -> Result<u8> {
    let kernel = Kernel::read(arch::host());
    let plan = check::plan(&kernel);
    let mut found = check::findings(&kernel, &plan);
    let is_blocked = |found: &[Finding]| found.iter().any(|finding| finding.status == Status::Blocker);
    if !args.no_probe && !is_blocked(&found) {
        found.extend(probe().await);
    }
    let events = plan.as_ref().map(events).unwrap_or_default();
    match args.format {
        CheckFormat::Table => table(&found, &events, &kernel)?,
        CheckFormat::Json => json_object(&found, &events, &kernel)?,
    }
    Ok(if is_blocked(&found) { UNSUPPORTED } else { DONE })
}

/// One event of the table, as it is on this kernel.
struct Event {
    event: &'static str,
    /// How a program is attached; [`None`] if none is.
    attach: Option<&'static str>,
    tells: &'static str,
    /// What follows because it or one of its fields is missing, and why.
    effect: Option<String>,
}

/// What the plan attaches, in its order, then what it lacks.
fn events(plan: &Plan) -> Vec<Event> {
    let attached = plan.attachments.iter().map(|it| Event {
        event: it.hook.event,
        attach: Some(it.way.how.id()),
        tells: it.hook.tells,
        effect: (!it.without.is_empty()).then(|| it.without.join("; ")),
    });
    let missing = plan.missing.iter().map(|it| Event {
        event: it.hook.event,
        attach: None,
        tells: it.hook.tells,
        effect: Some(format!("{} ({})", it.effect, it.why)),
    });
    attached.chain(missing).collect()
}

/// Loads, attaches, and looks for exits.
async fn probe() -> Vec<Finding> {
    match attached().await {
        Ok(findings) => findings,
        Err(error) => {
            let remedy = "please report it with this output";
            vec![Finding::new("programs", Status::Blocker, format!("{error:#}"), remedy)]
        }
    }
}

async fn attached() -> Result<Vec<Finding>> {
    let mut session = Session::start(&Options::default(), &[])?;
    let silence = session.listen()?;
    tokio::time::sleep(PROBE).await;
    // In this order: an exit comes before what it leads to.
    let counts = silence.counts()?;
    let mut interval = Interval::default();
    session.read(&mut interval)?;
    let exits = interval.exits() + interval.open.len() as u64;
    let moved = activity::moved(&counts);
    let text = activity::explain(exits, &counts);
    let seen = match (exits, moved) {
        (1.., _) => Finding::new("exits in 1 s", Status::Ok, text, ""),
        (0, true) => {
            Finding::new("exits in 1 s", Status::Blocker, text, "trace on a host with kvm_intel or kvm_amd")
        }
        (0, false) => Finding::new("exits in 1 s", Status::Note, text, "start a guest and check again"),
    };
    let breakdown = session.plan().map(Plan::breakdown).unwrap_or_default();
    let parts = if MeasuredParts::of(&Part::ALL) == session.known() {
        Finding::new("time breakdown", Status::Ok, breakdown, "")
    } else {
        Finding::new("time breakdown", Status::Note, breakdown, "what is not told apart is shown as `?`")
    };
    let programs = format!("load and attach by {}", session.path());
    Ok(vec![Finding::new("programs", Status::Ok, programs, ""), parts, seen])
}

fn table(findings: &[Finding], events: &[Event], kernel: &Kernel) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Finding { subject, status, found, remedy } in findings {
        writeln!(out, "{:<8} {subject:<14} {found}", status.word())?;
        if !remedy.is_empty() {
            writeln!(out, "{:<8} {:<14} -> {remedy}", "", "")?;
        }
    }
    let width = events.iter().map(|event| event.event.len()).max().unwrap_or(0);
    writeln!(out, "\nEvents, in the order in which programs are attached")?;
    for Event { event, attach, tells, effect } in events {
        writeln!(out, "{:<8} {event:<width$} {tells}", attach.unwrap_or("-"))?;
        if let Some(effect) = effect {
            writeln!(out, "{:<8} {:<width$} -> {effect}", "", "")?;
        }
    }
    writeln!(out, "\nFeatures of kernels")?;
    for (info, present) in kernel.features() {
        let FeatureInfo { name, since, commit, brings, without, .. } = info;
        let release = format!("{}.{}", since.0, since.1);
        writeln!(out, "{:<8} {name:<26} {release:>4} {commit}: {brings}", word(present))?;
        if present == Some(false) {
            writeln!(out, "{:<8} {:<26} -> {without}", "", "")?;
        }
    }
    Ok(())
}

/// Whether a kernel has a feature.
fn word(present: Option<bool>) -> &'static str {
    match present {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

fn json_object(findings: &[Finding], events: &[Event], kernel: &Kernel) -> io::Result<()> {
    let findings: Vec<_> = findings
        .iter()
        .map(|Finding { subject, status, found, remedy }| {
            json!({ "subject": subject, "status": status.word().to_lowercase(), "found": found, "remedy": remedy })
        })
        .collect();
    let events: Vec<_> = events
        .iter()
        .map(|Event { event, attach, tells, effect }| {
            json!({ "event": event, "attach": attach, "tells": tells, "effect": effect })
        })
        .collect();
    let features: Vec<_> = kernel
        .features()
        .map(|(info, present)| {
            let FeatureInfo { name, since, commit, brings, without, .. } = info;
            json!({
                "name": name, "present": present, "detected_by": info.detected_by(),
                "since": format!("{}.{}", since.0, since.1), "commit": commit,
                "brings": brings, "without": without,
            })
        })
        .collect();
    let object = json!({
        "schema": "exitlat.check/1", "findings": findings, "events": events, "features": features,
    });
    writeln!(io::stdout(), "{object}")
}
