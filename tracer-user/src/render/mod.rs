//! Rows to text. Pure: strings and writers in, no clock, environment or terminal.

use std::io;

use crate::model::{
    Across, Row, Rows,
    columns::{Column, SortKey},
};

mod counters;
pub mod csv;
pub mod diff;
pub mod histogram;
pub(crate) mod inventory;
pub mod json;
pub mod table;
pub mod text;
pub mod units;

pub use crate::view::escape;

/// What is shown of rows, whatever the format.
#[derive(Clone, Debug)]
pub struct View {
    /// Order of the rows.
    pub key: SortKey,
    /// Count idle time into `Time%`, as perf does.
    pub idle: bool,
    /// Columns of the terminal; `None` sets no limit.
    pub width: Option<usize>,
    /// Bold headings and the like.
    pub color: bool,
    /// Print histograms, of the rows whose label matches.
    pub hist: Option<regex::Regex>,
    /// Columns of the table; `None` for those that suit it.
    pub columns: Option<Vec<&'static Column>>,
    /// The dimension that becomes columns of rates, in the table alone. The rows are by it, too.
    pub across: Option<Across>,
}

/// The whole table for a file or pipe: most time first, idle time apart.
impl Default for View {
    fn default() -> Self {
        Self {
            key: SortKey::Time,
            idle: false,
            width: None,
            color: false,
            hist: None,
            columns: None,
            across: None,
        }
    }
}

/// Whether rows cover one interval or everything since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// One interval.
    Interval,
    /// All intervals so far.
    Total,
}

impl Span {
    /// Name in machine-readable output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Total => "total",
        }
    }
}

/// The rows in the order of the view.
pub fn sorted<'a>(rows: &'a Rows, view: &View) -> Vec<&'a Row> {
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_by(|a, b| view.key.order(a, b));
    sorted
}

/// A format that rows can be printed in.
pub trait Printer {
    /// Prints one block.
    fn print(&mut self, out: &mut dyn io::Write, rows: &Rows, span: Span) -> io::Result<()>;
}
