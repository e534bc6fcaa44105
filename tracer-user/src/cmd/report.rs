//! `exitlat report`: the tables of a dump.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Format, ReportArgs},
    cmd::{DONE, record::open_dump, select, view::Screen},
    model::Interval,
    recording::{Reader, lines::Header},
    render::{Span, escape},
};

/// Runs it.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub fn run(args: &ReportArgs) -> Result<u8> {
    let mut screen = Screen::new(&args.view, false);
    screen.selection.pids.clone_from(&args.pid);
    screen.selection.guests.clone_from(&args.guest);
    screen.selection.hosts.clone_from(&args.host);
    let name = || format!("cannot read the dump {}", args.file.display());
    let mut reader = Reader::new(open_dump(&args.file)?).with_context(name)?;
    if args.view.by.host || !args.host.is_empty() {
        reader = reader.with_hosts();
    }
    if args.view.format == Format::Table {
        describe(reader.header())?;
    }
    let mut interval = Interval::default();
    let mut total = screen.rows();
    while reader.next_interval(&mut interval).with_context(name)? {
        total.add(&interval, reader.roster(), &screen.selection);
        if args.intervals {
            screen.interval(&interval, reader.roster())?;
        }
    }
    select::found(&screen.selection, &[reader.roster()])?;
    screen.show(&total, reader.roster(), Span::Total)?;
    for note in reader.notes() {
        eprintln!("exitlat: {}: {note}", args.file.display());
    }
    Ok(DONE)
}

fn describe(header: &Header) -> io::Result<()> {
    let Header { tool, host, kernel, cpu, backend, options, .. } = header;
    let options = options.join(" ");
    let line = format!("recorded on {host} (Linux {kernel}, {backend}, {cpu}) by {tool}: {options}");
    writeln!(io::stdout(), "{}\n", escape::terminal(&line))
}
