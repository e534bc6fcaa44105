//! `exitlat report`: the tables of a dump, or of a recording of perf's.

use std::{
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Format, ReportArgs},
    cmd::{DONE, Usage, select, unless_closed, view::Screen},
    files::{
        atomic::{Output, cannot_write},
        input::{Input, named},
    },
    model::{Interval, Store, provenance::Header},
    recording::{SCHEMA, Writer},
    render::escape,
};

/// Runs it.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub fn run(args: &ReportArgs) -> Result<u8> {
    let mut screen = Screen::new(&args.view, false)?;
    screen.selection.pids.clone_from(&args.pid);
    screen.selection.guests.clone_from(&args.guest);
    screen.selection.hosts.clone_from(&args.host);
    let mut reader = named(Input::open(&args.file), &args.file)?;
    if args.view.by.host || !args.host.is_empty() {
        reader = reader.with_hosts();
    }
    let mut copy = match &args.save {
        Some(path) => Some(write_to(path, args.force, reader.header())?),
        None => None,
    };
    if args.view.format == Format::Table {
        unless_closed(describe(reader.header()).map_err(Into::into))?;
    }
    let mut interval = Interval::default();
    let mut total = Store::keeping(usize::MAX);
    while named(reader.next_interval(&mut interval), &args.file)? {
        if let (Some(writer), Some(path)) = (&mut copy, &args.save) {
            writer.interval(&interval, reader.threads()).with_context(|| cannot_write(path))?;
        }
        total.add(interval.with(reader.threads()));
        if args.intervals {
            let printed = screen.interval(interval.with(reader.threads()));
            if copy.is_some() { unless_closed(printed)? } else { printed? }
        }
    }
    select::found(&screen.selection, &[(reader.header(), reader.threads())])?;
    if let (Some(writer), Some(path)) = (copy, &args.save) {
        writer.end("converted").with_context(|| cannot_write(path))?.finish()?;
    }
    screen.total(&total)?;
    for note in reader.notes() {
        say!("exitlat: {}: {note}", args.file.display());
    }
    Ok(DONE)
}

/// A dump of its own, in the present schema, from the same header.
fn write_to(path: &Path, force: bool, header: &Header) -> Result<Writer<Output>> {
    if path.as_os_str() == "-" {
        return Err(Usage("--save needs the name of a file: standard output has the tables".into()).into());
    }
    let header = Header { schema: SCHEMA, ..header.clone() };
    Writer::new(Output::open(path, force)?, header).with_context(|| cannot_write(path))
}

fn describe(header: &Header) -> io::Result<()> {
    let Header { tool, host, kernel, cpu, backend, options, .. } = header;
    let options = options.join(" ");
    let line = format!("recorded on {host} (Linux {kernel}, {backend}, {cpu}) by {tool}: {options}");
    writeln!(io::stdout(), "{}\n", escape::terminal(&line))
}
