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
        activity,
        check::{Finding, Status, findings},
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
    let mut found = findings();
    let blocked = found.iter().any(|finding| finding.status == Status::Blocker);
    if !args.no_probe && !blocked {
        found.extend(probe().await);
    }
    match args.format {
        CheckFormat::Table => table(&found)?,
        CheckFormat::Json => json_object(&found)?,
    }
    let blocked = found.iter().any(|finding| finding.status == Status::Blocker);
    Ok(if blocked { UNSUPPORTED } else { DONE })
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
    let mut session = Session::start(&Options::default())?;
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
    let parts = if MeasuredParts::of(&Part::ALL) == session.known() {
        Finding::new("time split", Status::Ok, session.parts(), "")
    } else {
        Finding::new("time split", Status::Note, session.parts(), "what is not told apart is shown as `?`")
    };
    let programs = format!("load and attach by {}", session.path());
    Ok(vec![Finding::new("programs", Status::Ok, programs, ""), parts, seen])
}

fn table(findings: &[Finding]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Finding { subject, status, found, remedy } in findings {
        writeln!(out, "{:<8} {subject:<14} {found}", status.word())?;
        if !remedy.is_empty() {
            writeln!(out, "{:<8} {:<14} -> {remedy}", "", "")?;
        }
    }
    Ok(())
}

fn json_object(findings: &[Finding]) -> io::Result<()> {
    let findings: Vec<_> = findings
        .iter()
        .map(|Finding { subject, status, found, remedy }| {
            json!({ "subject": subject, "status": status.word().to_lowercase(), "found": found, "remedy": remedy })
        })
        .collect();
    writeln!(io::stdout(), "{}", json!({ "schema": "exitlat.check/1", "findings": findings }))
}
