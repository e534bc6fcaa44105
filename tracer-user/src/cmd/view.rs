//! From view options to a printer: the one place that looks at the terminal and at NO_COLOR.

use std::io::{self, IsTerminal as _, Write};

use anyhow::Result;

use crate::{
    cli::{Format, ViewArgs, When},
    cmd::Usage,
    model::{NamedInterval, Rows, Selection, Store},
    render::{Printer, Span, View, csv::Csv, json::JsonLines, table::Table, units},
};

/// Prints blocks of rows to standard output.
pub struct Screen {
    printer: Box<dyn Printer>,
    format: Format,
    /// Each block replaces the one before.
    repaint: bool,
    blocks: u64,
    /// What of an interval is shown.
    pub selection: Selection,
    args: ViewArgs,
    /// The rows of the last block: the next block's are mostly the same.
    shown: Option<Rows>,
}

impl Screen {
    /// A screen for these options. `repaint` asks for a full-screen display where that is possible.
    ///
    /// # Errors
    /// [`Usage`] for options that do not go together.
    pub fn new(args: &ViewArgs, repaint: bool) -> Result<Self> {
        if args.fields.is_some() && args.by.part && !args.by.reason {
            let what = "-f chooses exit reasons, which `--by part` does not tell apart; use --by part,reason";
            return Err(Usage(what.into()).into());
        }
        let terminal = io::stdout().is_terminal();
        let color = color(args.color);
        let width = if terminal { terminal_width() } else { None };
        let view = View {
            key: args.key,
            idle: args.idle,
            width,
            color,
            hist: args.hist.clone(),
            columns: args.columns.as_ref().map(|columns| columns.0.clone()),
        };
        let printer: Box<dyn Printer> = match args.format {
            Format::Table => Box::new(Table::new(view)),
            Format::Json => Box::new(JsonLines::new(view)),
            Format::Csv => Box::new(Csv::new(view)),
        };
        let (vcpus, fields) = (args.vcpu.clone(), args.fields.clone());
        let selection = Selection { vcpus, fields, ..Selection::default() };
        let repaint = repaint && color && terminal && args.format == Format::Table;
        Ok(Self {
            printer,
            format: args.format,
            repaint,
            blocks: 0,
            selection,
            args: args.clone(),
            shown: None,
        })
    }

    /// Rows as asked for, none yet.
    fn rows(&self) -> Rows {
        Rows::new(self.args.by).with_idle(self.args.idle).with_selection(self.selection.clone())
    }

    /// Prints the rows of one interval.
    ///
    /// # Errors
    /// Those of standard output.
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
    /// Those of standard output.
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
    /// Those of standard output.
    fn show(&mut self, rows: &Rows, span: Span) -> Result<()> {
        // One write a block: a reader at the other end of a pipe never sees half of one.
        let mut block = Vec::new();
        if self.format == Format::Table {
            if self.repaint && span == Span::Interval {
                block.extend_from_slice(b"\x1b[H\x1b[2J");
            } else if self.blocks != 0 {
                block.push(b'\n');
            }
            writeln!(block, "{}", heading(rows, span))?;
        }
        self.printer.print(&mut block, rows, span)?;
        self.blocks += 1;
        let mut out = io::stdout().lock();
        out.write_all(&block)?;
        out.flush()?;
        Ok(())
    }
}

fn heading(rows: &Rows, span: Span) -> String {
    // Unknown of a recording of perf's that came through a pipe, and where there is no interval.
    let time = match rows.end_unix_ms {
        0 => String::new(),
        unix_ms => format!("{} UTC, ", units::time_of_day(unix_ms)),
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
pub fn color(when: When) -> bool {
    let plain = || {
        std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var("TERM").is_ok_and(|term| term == "dumb")
    };
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => io::stdout().is_terminal() && !plain(),
    }
}
