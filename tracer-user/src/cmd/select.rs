//! Names and pids that were asked for, against those of a recording.

use std::{collections::BTreeSet, path::Path};

use anyhow::Result;

use crate::{
    cli::{Location, Usage},
    files::Input,
    model::{
        Interval, NameList, Selection, Threads, VmList,
        provenance::{self, Header},
    },
    render::escape,
};

/// A recording and the threads that it names.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// Where it was made.
    pub header: &'a Header,
    /// All threads up to its end.
    pub threads: &'a Threads,
}

/// Settles the meaning of names with commas and brackets, by the VMs and hosts of these recordings: a name
/// that exists is meant before a list or a glob. With such names, and with VMs of any name, which may be
/// another than that of their counters, the recordings are read twice. A stream can
/// be read only once, so names and globs both count there.
///
/// # Errors
/// If a recording cannot be read.
pub fn settle(selection: &mut Selection, files: &[&Location]) -> Result<()> {
    if selection.is_settled() {
        return Ok(());
    }
    let mut interval = Interval::default();
    for file in files.iter().filter(|file| file.path().is_some_and(Path::is_file)) {
        let mut input = Input::open(file)?.with_hosts();
        provenance::sources(input.header()).iter().for_each(|source| selection.notice_host(&source.host));
        while input.next_interval(&mut interval)? {}
        input.threads().list.iter().for_each(|thread| selection.notice(thread));
    }
    Ok(())
}

/// Whether each name that was asked for is in at least one of these recordings.
///
/// # Errors
/// [`Usage`] if a name matches nothing, with the names there are.
pub fn found(selection: &Selection, recordings: &[Recorded<'_>]) -> Result<()> {
    let threads = || recordings.iter().flat_map(|recorded| &recorded.threads.list);
    let refused = |what: &str, typed: &str, names: BTreeSet<String>| {
        let names: Vec<_> = names.iter().map(|name| escape::terminal(name)).collect();
        Usage(format!("no {what} `{typed}` in the recording; it has: {}", names.join(", ")))
    };
    if let Some(pid) = selection.pids.iter().find(|pid| !threads().any(|thread| thread.pid == **pid)) {
        return Err(Usage(format!("no process {pid} in the recording")).into());
    }
    let mut vms = selection.guests.iter().flat_map(VmList::patterns);
    if let Some(missing) = vms.find(|wanted| !threads().any(|thread| wanted.matches(&thread.known()))) {
        let names = threads().map(|thread| thread.vm.clone()).collect();
        return Err(refused("VM", missing.typed(), names).into());
    }
    // Hosts without guests count too.
    let hosts =
        recordings.iter().flat_map(|recorded| provenance::sources(recorded.header)).map(|source| source.host);
    let hosts: BTreeSet<String> = hosts.collect();
    let mut wanted = selection.hosts.iter().flat_map(NameList::names);
    match wanted.find(|wanted| !hosts.iter().any(|host| wanted.matches(host))) {
        Some(missing) => Err(refused("host", missing.typed(), hosts).into()),
        None => Ok(()),
    }
}
