//! Names and pids that were asked for, against those of a recording.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::{
    cli::Usage,
    model::{
        NamePattern, Selection, Threads,
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

/// Whether each name that was asked for is in at least one of these recordings.
///
/// # Errors
/// [`Usage`] if a name matches nothing, with the names there are.
pub fn found(selection: &Selection, recordings: &[Recorded<'_>]) -> Result<()> {
    let threads = || recordings.iter().flat_map(|recorded| &recorded.threads.list);
    let all = |wanted: &[NamePattern], what: &str, names: BTreeSet<String>| {
        let Some(missing) = wanted.iter().find(|wanted| !names.iter().any(|name| wanted.matches(name)))
        else {
            return Ok(());
        };
        let names: Vec<_> = names.iter().map(|name| escape::terminal(name)).collect();
        let (typed, names) = (missing.typed(), names.join(", "));
        Err(Usage(format!("no {what} `{typed}` in the recording; it has: {names}")))
    };
    if let Some(pid) = selection.pids.iter().find(|pid| !threads().any(|thread| thread.pid == **pid)) {
        return Err(Usage(format!("no process {pid} in the recording")).into());
    }
    all(&selection.guests, "VM", threads().map(|thread| thread.vm.clone()).collect())?;
    // Also those on which no guest ran.
    let hosts =
        recordings.iter().flat_map(|recorded| provenance::sources(recorded.header)).map(|source| source.host);
    all(&selection.hosts, "host", hosts.collect())?;
    Ok(())
}
