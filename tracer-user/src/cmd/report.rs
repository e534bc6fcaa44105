//! `exitlat report`: the tables of a recording, or of a perf.data.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Format, Location, ReportArgs, Usage},
    cmd::{
        DONE,
        select::{self, Recorded},
        unless_closed,
        view::{Paint, Screen},
    },
    files::{AtomicOutput, Existing, Input, cannot_write},
    model::{Interval, Selection, Store, provenance::Header},
    recording::{SCHEMA, Writer},
    render::escape,
};

/// Runs the command.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub fn run(args: &ReportArgs) -> Result<u8> {
    let mut selection = Selection::from(&args.select);
    select::settle(&mut selection, &[&args.file])?;
    let mut screen = Screen::new(&args.view, args.by, selection.clone(), Paint::Below)?;
    let mut input = Input::open(&args.file)?;
    if args.by.host || !selection.hosts.is_empty() {
        input = input.with_hosts();
    }
    let mut copy = match &args.save {
        Some(path) => Some(Copy::open(path.as_path().into(), Existing::forced(args.force), input.header())?),
        None => None,
    };
    if args.view.format == Format::Table {
        unless_closed(describe(input.header()).map_err(Into::into))?;
    }
    let mut interval = Interval::default();
    let mut total = Store::keeping(usize::MAX);
    while input.next_interval(&mut interval)? {
        if let Some(Copy { writer, location }) = &mut copy {
            writer.interval(interval.with(input.threads())).with_context(|| cannot_write(location))?;
        }
        total.add(interval.with(input.threads()));
        if args.intervals {
            let printed = screen.interval(interval.with(input.threads()));
            if copy.is_some() { unless_closed(printed)? } else { printed? }
        }
    }
    select::found(&selection, &[Recorded { header: input.header(), threads: input.threads() }])?;
    if let Some(Copy { writer, location }) = copy {
        writer.end("converted").with_context(|| cannot_write(&location))?.finish()?;
    }
    screen.total(&total)?;
    input.print_notes();
    Ok(DONE)
}

/// A copy of the input as a recording, in the current schema and with the same header.
struct Copy {
    location: Location,
    writer: Writer<AtomicOutput>,
}

impl Copy {
    fn open(location: Location, existing: Existing, header: &Header) -> Result<Self> {
        if location == Location::Stream {
            return Err(Usage::new("--save needs the name of a file: standard output has the tables").into());
        }
        let header = Header { schema: SCHEMA, ..header.clone() };
        let output = AtomicOutput::open(&location, existing)?;
        let writer = Writer::new(output, header).with_context(|| cannot_write(&location))?;
        Ok(Self { location, writer })
    }
}

fn describe(header: &Header) -> io::Result<()> {
    let Header { tool, host, kernel, cpu, backend, options, .. } = header;
    let options = options.join(" ");
    let line = format!("recorded on {host} (Linux {kernel}, {backend}, {cpu}) by {tool}: {options}");
    writeln!(io::stdout(), "{}\n", escape::terminal(&line))
}
