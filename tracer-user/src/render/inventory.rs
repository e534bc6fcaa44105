//! The list of VMs: a table for people, and JSON.

use std::io::{self, Write};

use serde_json::{Value as Json, json};
use unicode_width::UnicodeWidthStr;

use crate::{
    identity::Kind,
    model::{ListedVm, calendar},
    render::{escape, json},
};

/// Shape of the JSON object.
pub const SCHEMA: &str = "exitlat.vms/1";

/// Marks what belongs to the VM above.
const INDENT: &str = "  > ";
/// Facts that have columns of their own, or are too long for a table.
const ELSEWHERE: [Kind; 3] = [Kind::Name, Kind::Vmm, Kind::Cgroup];

/// Prints the table. With `threads` a line for each role follows.
///
/// # Errors
/// If the output cannot be written.
pub fn table(out: &mut dyn Write, vms: &[ListedVm], threads: bool) -> io::Result<()> {
    let mut lines = vec![
        ["VM", "PID", "VMM", "vCPUs", "since", "CPU%", "wait%", "exits/s", "known as"].map(String::from),
    ];
    let several = vms.iter().any(|vm| vm.vm.host != vms[0].vm.host);
    for vm in vms {
        lines.push(line(vm, several));
        if threads {
            lines.extend(roles(vm));
        }
    }
    let widths: [usize; 9] =
        std::array::from_fn(|at| lines.iter().map(|line| line[at].width()).max().unwrap_or_default());
    for line in &lines {
        let mut text = String::new();
        for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
            let room = " ".repeat(width - cell.width());
            // Names and facts begin at the left, numbers end at the right.
            let cell =
                if matches!(at, 0 | 2 | 4 | 8) { format!("{cell}{room}") } else { format!("{room}{cell}") };
            if at != 0 {
                text.push_str("  ");
            }
            text.push_str(&cell);
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn line(vm: &ListedVm, with_host: bool) -> [String; 9] {
    let known = &vm.vm.known;
    let facts = known.facts().filter(|(kind, _)| !ELSEWHERE.contains(kind));
    let facts = facts.map(|(kind, fact)| format!("{} {}", kind.info().label, escape::terminal(&fact.value)));
    let unseen: Vec<_> = vm.unseen().map(|vcpu| vcpu.to_string()).collect();
    let mut notes: Vec<String> = facts.collect();
    if !unseen.is_empty() {
        notes.push(format!("vCPUs whose thread is not known: {}", unseen.join(" ")));
    }
    let number = vm.vm.origin.number;
    [
        match vm.vm.host.name().filter(|_| with_host) {
            Some(host) => format!("{}/{}", escape::terminal(host), escape::terminal(&vm.vm.name)),
            None => escape::terminal(&vm.vm.name).into_owned(),
        },
        vm.vm.pid.map_or_else(String::new, |pid| {
            if number == 0 { pid.to_string() } else { format!("{pid}.{number}") }
        }),
        escape::terminal(known.value(Kind::Vmm).unwrap_or("-")).into_owned(),
        vm.vcpus().to_string(),
        vm.vm.origin.start_unix_ms.map_or_else(|| "-".to_owned(), since),
        share(vm.times(None).map(|(cpu_ns, _)| cpu_ns), vm.elapsed_ns),
        share(vm.times(None).map(|(_, wait_ns)| wait_ns), vm.elapsed_ns),
        vm.exits_per_s().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}")),
        notes.join(", "),
    ]
}

fn roles(vm: &ListedVm) -> Vec<[String; 9]> {
    let line = |(role, count)| {
        let times = vm.times(Some(role));
        let threads = if count == 1 { "1 thread".to_owned() } else { format!("{count} threads") };
        let mut line: [String; 9] = Default::default();
        line[0] = format!("{INDENT}{}: {threads}", role.id());
        line[5] = share(times.map(|(cpu_ns, _)| cpu_ns), vm.elapsed_ns);
        line[6] = share(times.map(|(_, wait_ns)| wait_ns), vm.elapsed_ns);
        line
    };
    vm.roles().into_iter().map(line).collect()
}

/// `2026-11-21 14:05:07`, in UTC.
fn since(unix_ms: u64) -> String {
    format!("{} {}", calendar::date(unix_ms), calendar::time_of_day(unix_ms))
}

fn share(ns: Option<u64>, of_ns: u64) -> String {
    match ns {
        Some(ns) if of_ns != 0 => format!("{:.1}", 100.0 * ns as f64 / of_ns as f64),
        _ => "-".to_owned(),
    }
}

/// Prints one JSON object.
///
/// # Errors
/// If the output cannot be written.
pub fn object(out: &mut dyn Write, vms: &[ListedVm]) -> io::Result<()> {
    let whole = json!({ "schema": SCHEMA, "vms": vms.iter().map(vm_object).collect::<Vec<_>>() });
    serde_json::to_writer(&mut *out, &whole)?;
    writeln!(out)
}

fn vm_object(vm: &ListedVm) -> Json {
    let threads = vm.threads.iter().map(|thread| {
        json!({
            "tid": thread.tid, "comm": thread.comm, "role": thread.role.id(),
            "vcpu": thread.vcpu.map(|(vcpu, _)| vcpu),
            "vcpu_source": thread.vcpu.map(|(_, source)| source.info().id),
            "cpu_ns": thread.cpu_ns, "wait_ns": thread.wait_ns,
            "cpu_total_ns": thread.cpu_total_ns, "wait_total_ns": thread.wait_total_ns,
        })
    });
    let mut whole = json!({
        "host": vm.vm.host.name(), "vm_id": vm.vm.key(), "vm": &*vm.vm.name, "pid": vm.vm.pid,
        "vm_fds": vm.vm_fds, "vcpus": vm.vcpus(), "vcpus_open": vm.open, "vcpus_seen": vm.seen,
        "elapsed_ns": vm.elapsed_ns, "exits": vm.exits, "exits_total": vm.exits_total,
        "threads": threads.collect::<Vec<_>>(),
    });
    if let Some(start_unix_ms) = vm.vm.origin.start_unix_ms {
        whole["start_unix_ms"] = json!(start_unix_ms);
    }
    json::facts(&vm.vm.known, &mut whole);
    whole
}
