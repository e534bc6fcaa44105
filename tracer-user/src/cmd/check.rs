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
    cmd::{DONE, FAILED, UNSUPPORTED},
    kernel::{
        Unsupported,
        activity::Meaning,
        arch,
        census::{self, Census},
        check::{self, Finding, Status},
        features::{DetectedBy, FeatureInfo, Kernel, Presence},
        namespaces,
        plan::Plan,
        session::{Options, Session},
        sizes::Sizes,
    },
    model::{Interval, MeasuredParts},
    render::escape,
};

/// How long to look for exits.
const PROBE: Duration = Duration::from_secs(1);
/// Limit of the VMs that are named because vCPUs of theirs had no exit.
const UNSEEN: usize = 10;

/// Runs the command.
///
/// # Errors
/// If standard output cannot be written.
pub async fn run(args: &CheckArgs) -> Result<u8> {
    let kernel = Kernel::read(arch::host());
    let plan = check::plan(&kernel);
    let mut census = Census::default();
    if !namespaces::is_pid_namespace() {
        census.look_at_all(&census::ThisHost);
    }
    let mut found = check::findings(&kernel, &plan, census.open());
    found.extend(check::sources());
    let has = |found: &[Finding], status| found.iter().any(|finding| finding.status == status);
    if !args.no_probe && !has(&found, Status::Blocker) {
        for finding in probe(&mut census).await {
            // Loaded programs give a more certain answer than settings.
            match found.iter_mut().find(|known| known.subject == finding.subject) {
                Some(known) => *known = finding,
                None => found.push(finding),
            }
        }
    }
    let events = plan.as_ref().map(events).unwrap_or_default();
    match args.format {
        CheckFormat::Table => table(&found, &events, &kernel)?,
        CheckFormat::Json => json_object(&found, &events, &kernel)?,
    }
    Ok(match () {
        () if has(&found, Status::Blocker) => UNSUPPORTED,
        () if has(&found, Status::Fault) => FAILED,
        () => DONE,
    })
}

/// One event of the table, as it is on this kernel.
struct Event {
    event: &'static str,
    /// How a program is attached; [`None`] if none is.
    attach: Option<&'static str>,
    tells: &'static str,
    /// The effect on the trace if the event or one of its fields is missing, and why.
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
async fn probe(census: &mut Census) -> Vec<Finding> {
    let error = match attached(census).await {
        Ok(findings) => return findings,
        Err(error) => error,
    };
    let (found, remedy) = match error.downcast_ref::<Unsupported>() {
        Some(Unsupported { what, remedy }) => (what.clone(), remedy.as_str()),
        None => (format!("{error:#}"), "please report it with this output"),
    };
    vec![Finding::new("programs", Status::Blocker, found, remedy)]
}

async fn attached(census: &mut Census) -> Result<Vec<Finding>> {
    let sizes = Sizes::for_open(census.open());
    let options = Options { slots: sizes.slots, vcpus: sizes.vcpus, ..Options::default() };
    let mut session = Session::start(&options, &[])?;
    let activity = session.listen()?;
    tokio::time::sleep(PROBE).await;
    // Counts are read first: an exit comes before the events that it causes.
    let counts = activity.counts()?;
    let mut interval = Interval::default();
    session.read(&mut interval)?;
    let exits = interval.exits() + interval.open.len() as u64;
    let (status, remedy) = match counts.meaning(exits) {
        Meaning::Exits => (Status::Ok, ""),
        Meaning::Quiet => (Status::Note, "start a guest and check again"),
        Meaning::Unknown => (Status::Note, "start a guest and check again; a guest that runs shows exits"),
        Meaning::Spinning => (Status::Fault, "see the log of the VMM; `perf top` shows which thread it is"),
        Meaning::Silent => (Status::Blocker, "trace on a host with kvm_intel or kvm_amd"),
    };
    let seen = Finding::new("exits in 1 s", status, counts.explain(exits), remedy);
    let breakdown = session.plan().map(Plan::breakdown).unwrap_or_default();
    let (status, remedy) = match session.plan() {
        Some(plan) if plan.is_breakdown_in_doubt() => (
            Status::Note,
            "the kernel refuses the tracepoints that would not be skipped; skipped events are counted as missed_parts",
        ),
        _ if MeasuredParts::of(&Part::ALL) == session.known() => (Status::Ok, ""),
        _ => (Status::Note, "what is not told apart is shown as `?`"),
    };
    let parts = Finding::new("time breakdown", status, breakdown, remedy);
    let programs = format!("load and attach by {}", session.path());
    let mut findings = vec![Finding::new("programs", Status::Ok, programs, ""), parts, seen];
    findings.extend(session.is_jited().map(check::jit_of_programs));
    let unseen = census.unseen(session.threads(), |_, _| true);
    if !unseen.is_empty() {
        let vms = unseen.iter().map(|vm| format!("{}[{}]: {vm}", escape::terminal(&vm.vm), vm.pid));
        let mut vms: Vec<String> = vms.take(UNSEEN).collect();
        if let Some(more) = unseen.len().checked_sub(UNSEEN + 1) {
            vms.push(format!("and {} more VMs", more + 1));
        }
        let remedy = "idle for long, stuck in its guest, or never started";
        findings.push(Finding::new("open vCPUs", Status::Note, vms.join("; "), remedy));
    }
    Ok(findings)
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
    for (info, Presence { has, by }) in kernel.features() {
        let FeatureInfo { name, since, commit, brings, without, .. } = info;
        let release = format!("{}.{}", since.0, since.1);
        let how = if by == DetectedBy::Version { " (by the version alone)" } else { "" };
        writeln!(out, "{:<8} {name:<26} {release:>4} {commit}: {brings}{how}", word(has))?;
        if has == Some(false) {
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
        .map(|(info, Presence { has, by })| {
            let FeatureInfo { name, since, commit, brings, without, .. } = info;
            json!({
                "name": name, "present": has, "detected_by": by.word(),
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
