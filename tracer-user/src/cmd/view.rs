//! From view options to a printer: the one place that looks at the terminal and at its variables.

use std::io::{self, IsTerminal as _, Write};

use anyhow::Result;
use clap::ColorChoice;

use crate::{
    cli::{Format, Usage, ViewArgs},
    model::{Across, GroupBy, NamedInterval, Rows, Selection, Store, calendar, columns::SortKey},
    render::{Printer, Span, View, csv::Csv, json::JsonLines, table::Table, units},
};

/// How blocks follow one another on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Below each other.
    Below,
    /// Each in the place of the one before, where that is possible.
    Over,
}

/// Prints blocks of rows.
pub struct Screen {
    printer: Box<dyn Printer>,
    format: Format,
    paint: Paint,
    blocks: u64,
    by: GroupBy,
    idle: bool,
    selection: Selection,
    out: Box<dyn Write>,
    /// The rows of the last block: the next block's are mostly the same.
    shown: Option<Rows>,
}

impl Screen {
    /// Rows of the selection, grouped, to standard output.
    ///
    /// # Errors
    /// [`Usage`] for options that do not go together.
    pub fn new(args: &ViewArgs, by: GroupBy, selection: Selection, paint: Paint) -> Result<Self, Usage> {
        let terminal = io::stdout().is_terminal();
        let color = color(args.color);
        let over = paint == Paint::Over && color && terminal && args.format == Format::Table;
        let width = if terminal { terminal_width() } else { None };
        let screen = Self::to(Box::new(io::stdout()), args, by, selection, width, color)?;
        Ok(Self { paint: if over { Paint::Over } else { Paint::Below }, ..screen })
    }

    /// Prints to any output; it is taken for no terminal.
    ///
    /// # Errors
    /// [`Usage`] for options that do not go together.
    pub fn to_writer(
        out: Box<dyn Write>,
        args: &ViewArgs,
        by: GroupBy,
        selection: Selection,
    ) -> Result<Self, Usage> {
        Self::to(out, args, by, selection, None, false)
    }

    fn to(
        out: Box<dyn Write>,
        args: &ViewArgs,
        by: GroupBy,
        selection: Selection,
        width: Option<usize>,
        color: bool,
    ) -> Result<Self, Usage> {
        if selection.fields.is_some() && by.part && !by.reason {
            return Err(Usage::new(
                "-f chooses exit reasons, which `--by part` does not tell apart; use --by part,reason",
            ));
        }
        if args.across.is_some() {
            across(by)?;
        }
        // Rows are in the order of what the table shows.
        let usual = if args.across.is_some() { SortKey::Sample } else { SortKey::Time };
        let by = GroupBy { reason: by.reason || args.across == Some(Across::Reason), ..by };
        let view = View {
            key: args.key.unwrap_or(usual),
            idle: args.idle,
            width,
            color,
            hist: args.hist.clone(),
            columns: args.columns.as_ref().map(|columns| columns.0.clone()),
            across: args.across,
        };
        let printer: Box<dyn Printer> = match args.format {
            Format::Table => Box::new(Table::new(view)),
            Format::Json => Box::new(JsonLines::new(view)),
            Format::Csv => Box::new(Csv::new(view)),
        };
        let (format, idle) = (args.format, args.idle);
        Ok(Self { printer, format, paint: Paint::Below, blocks: 0, by, idle, selection, out, shown: None })
    }

    /// The part of an interval that is shown.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Rows grouped as asked for, none yet.
    fn rows(&self) -> Rows {
        Rows::new(self.by).with_idle(self.idle).with_selection(self.selection.clone())
    }

    /// Prints the rows of one interval.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn interval(&mut self, of: NamedInterval<'_>) -> Result<()> {
        let mut rows = self.shown.take().unwrap_or_else(|| self.rows());
        rows.of_interval(of);
        let printed = self.show(&rows, Span::Interval);
        self.shown = Some(rows);
        printed
    }

    /// Prints the rows of all intervals so far.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn total(&mut self, store: &Store) -> Result<()> {
        let mut rows = self.shown.take().unwrap_or_else(|| self.rows());
        rows.of_store(store);
        let printed = self.show(&rows, Span::Total);
        self.shown = Some(rows);
        printed
    }

    /// Prints a block.
    ///
    /// # Errors
    /// If the output cannot be written.
    fn show(&mut self, rows: &Rows, span: Span) -> Result<()> {
        // One write a block: a reader at the other end of a pipe never sees half of one.
        let mut block = Vec::new();
        if self.format == Format::Table {
            if self.paint == Paint::Over && span == Span::Interval {
                block.extend_from_slice(b"\x1b[H\x1b[2J");
            } else if self.blocks != 0 {
                block.push(b'\n');
            }
            writeln!(block, "{}", heading(rows, span))?;
        }
        self.printer.print(&mut block, rows, span)?;
        self.blocks += 1;
        self.out.write_all(&block)?;
        self.out.flush()?;
        Ok(())
    }
}

/// Refuses rows that do not go with columns of reasons.
fn across(by: GroupBy) -> Result<(), Usage> {
    let refusals = [
        (by.part, "--across counts exits, which have no part: leave `part` out of --by"),
        (by.reason, "--across reason has a column for each reason; name its rows by --by vm, vcpu or host"),
    ];
    match refusals.into_iter().find(|(refused, _)| *refused) {
        Some((_, why)) => Err(Usage::new(why)),
        None => Ok(()),
    }
}

fn heading(rows: &Rows, span: Span) -> String {
    // Unknown of a perf.data that came through a pipe, and where there is no interval.
    let time = match rows.end_unix_ms {
        0 => String::new(),
        unix_ms => format!("{} UTC, ", calendar::time_of_day(unix_ms)),
    };
    let length = units::duration(rows.elapsed_ns);
    match span {
        Span::Interval => format!("{time}interval {} of {length}", rows.last),
        Span::Total => format!("{time}total of {length}"),
    }
}

/// Columns of the terminal at standard output.
fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0))
}

/// Whether standard output gets colors.
pub fn color(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
    }
}
