//! Exits counted by two dimensions: a line for each place, a column for each exit reason.
//!
//! A view of [`Rows`] by place and reason, and so of the interval or store that these are of. It has counts;
//! whoever shows them makes rates of them.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, HashMap},
};

use crate::{
    decode::Isa,
    model::{Place, Row, Rows, columns::SortKey},
};

/// Counts of exits by place and reason.
#[derive(Clone, Debug, Default)]
pub struct Pivot {
    /// The reasons: idle ones last, and of each kind the one with most exits first.
    pub columns: Vec<Reason>,
    /// The places, in the order that was asked for.
    pub lines: Vec<Line>,
}

/// What a column counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Isa and code.
    pub reason: (Isa, u32),
    /// The guest had nothing to do, see [`Row::idle`], and such exits are apart.
    pub idle: bool,
    /// Exits of all lines.
    pub count: u64,
}

/// The exits of a place.
#[derive(Clone, Debug)]
pub struct Line {
    /// The place, as a row. Its samples are only those that it was sorted by.
    pub row: Row,
    /// The time that the exits are from.
    pub elapsed_ns: u64,
    /// Exits of each column.
    pub counts: Vec<u64>,
}

impl Line {
    /// All its exits.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl Pivot {
    /// The counts of rows that are by reason.
    pub fn of(rows: &Rows, key: SortKey) -> Self {
        let columns = columns(rows);
        let column_of: HashMap<_, _> =
            columns.iter().enumerate().map(|(at, column)| ((column.idle, column.reason), at)).collect();
        // Counts alone need no histograms, which are much to sum up.
        let by_times = !matches!(key, SortKey::Sample | SortKey::Name);
        let mut line_of: HashMap<&Place, usize> = HashMap::new();
        let mut lines: Vec<Line> = Vec::new();
        for (row, reason) in rows.exits().filter_map(|row| Some((row, row.reason?))) {
            let at = *line_of.entry(&row.place).or_insert_with(|| {
                let mut place = Row { reason: None, idle: false, ..row.clone() };
                place.stats.clear();
                let (elapsed_ns, counts) = (rows.elapsed_of(row), vec![0; columns.len()]);
                lines.push(Line { row: place, elapsed_ns, counts });
                lines.len() - 1
            });
            let line = &mut lines[at];
            let idle = is_apart(rows, row);
            let count = &mut line.counts[column_of[&(idle, reason)]];
            *count = count.saturating_add(row.stats.count);
            // Idle time is no handled time.
            if by_times && !idle {
                line.row.stats.merge(&row.stats);
            }
        }
        lines.sort_by(|a, b| {
            // The samples that are summed up leave out idle exits, which count all the same.
            let counts = match key {
                SortKey::Sample => b.count().cmp(&a.count()),
                _ => Ordering::Equal,
            };
            counts.then_with(|| key.order(&a.row, &b.row))
        });
        Self { columns, lines }
    }
}

/// Whether these are idle exits, and samples are without idle time.
fn is_apart(rows: &Rows, row: &Row) -> bool {
    row.idle && !rows.wholes().with_idle
}

fn columns(rows: &Rows) -> Vec<Reason> {
    let mut counts = BTreeMap::<_, u64>::new();
    for row in rows.exits() {
        if let Some(reason) = row.reason {
            let sum = counts.entry((is_apart(rows, row), reason)).or_default();
            *sum = sum.saturating_add(row.stats.count);
        }
    }
    let column = |((idle, reason), count)| Reason { reason, idle, count };
    let mut columns: Vec<_> = counts.into_iter().map(column).collect();
    // Stable: reasons with the same count stay in the order of their codes.
    columns.sort_by_key(|column| (column.idle, Reverse(column.count)));
    columns
}

#[cfg(test)]
mod tests;
