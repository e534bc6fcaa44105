//! A table of rates: a line for each place, a column for each exit reason, and a line of sums.

use std::borrow::Cow;

use super::{Heading, Kind, TableModel};
use crate::{
    decode::decode,
    model::{GroupBy, Pivot, Rows, columns::Value, pivot, row::Totals},
    view::label::{Dimension, dimensions},
};

/// Least width of a column.
const WIDTH: usize = 7;
/// Heading of the column of all exits.
const ALL: &str = "Exits";
/// Heading of the column of the reasons for which there is no room.
const OTHER: &str = "other";
/// Label of the line of sums.
const TOTAL: &str = "total";

impl TableModel {
    /// Becomes the table of exits per second by the places of these rows, and their reasons as columns.
    pub fn rates(&mut self, rows: &Rows, pivot: &Pivot) {
        let by = dimensions(GroupBy { reason: false, ..rows.by() });
        self.begin("Exits per second", by.filter(|it| *it != Dimension::Idle), Totals::default());
        for line in &pivot.lines {
            self.kinds.push(Kind::Row);
            for dimension in &self.dimensions {
                let start = self.text.len();
                // Writing to a string does not fail.
                let _ = dimension.write(&mut self.text, &line.row);
                self.ranges.push(start..self.text.len());
            }
            let counts = std::iter::once(line.count()).chain(line.counts.iter().copied());
            self.cells.extend(counts.map(|count| Some(Value::Rate(per_second(count, line.elapsed_ns)))));
        }
        let columns = pivot.columns.len() + 1;
        if !pivot.lines.is_empty() {
            // Hosts that were measured for different times have a sum of rates, but no rate of sums.
            let sum_of = |column: usize| sum(self.cells[column..].iter().step_by(columns));
            let sums: Vec<_> = (0..columns).map(|column| Some(sum_of(column))).collect();
            self.kinds.push(Kind::Total);
            let start = self.text.len();
            self.text.push_str(TOTAL);
            let end = self.text.len();
            self.ranges.push(start..end);
            self.ranges.extend((1..self.labels.len()).map(|_| end..end));
            self.cells.extend(sums);
        }
        self.columns.clear();
        let titles = std::iter::once(Cow::Borrowed(ALL)).chain(pivot.columns.iter().map(title));
        for (at, title) in titles.enumerate() {
            let width = width(&title, self.cells.iter().skip(at).step_by(columns));
            self.columns.push(Heading { title, width, rank: 0 });
        }
    }

    /// Makes a table of rates this wide, without its labels: the last columns become one, which is their sum.
    /// Returns these columns.
    pub fn fold(&mut self, room: usize) -> Vec<Heading> {
        let all = self.columns.len();
        let with_space = |heading: &Heading| heading.width + 1;
        if all < 2 || self.columns.iter().map(with_space).sum::<usize>() <= room {
            return Vec::new();
        }
        let other = |cells: &[Option<Value>], kept: usize| -> Vec<Option<Value>> {
            cells.chunks(all).map(|line| Some(sum(line[kept..].iter()))).collect()
        };
        let fits = |kept: &usize| {
            let others = width(OTHER, other(&self.cells, *kept).iter());
            self.columns[..*kept].iter().map(with_space).sum::<usize>() + others < room
        };
        // The column of all exits stays, however narrow the terminal.
        let kept = (1..all).rev().find(fits).unwrap_or(1);
        let others = other(&self.cells, kept);
        let lines = self.cells.chunks(all).zip(&others);
        self.cells = lines.flat_map(|(line, other)| line[..kept].iter().copied().chain([*other])).collect();
        let folded = self.columns.split_off(kept);
        self.columns.push(Heading { title: OTHER.into(), width: width(OTHER, others.iter()), rank: 0 });
        folded
    }
}

/// The name of the reason; in brackets where it is idle, as the same reason may also have a column of exits
/// that are not.
fn title(column: &pivot::Reason) -> Cow<'static, str> {
    let (isa, code) = column.reason;
    let name = decode(isa, code);
    match column.idle {
        true => format!("({name})").into(),
        false if name.tags.is_empty() => name.name,
        false => name.to_string().into(),
    }
}

/// No exits are none in any time; the rate of others is not known without their time.
fn per_second(count: u64, elapsed_ns: u64) -> Option<f64> {
    match (count, elapsed_ns) {
        (0, _) => Some(0.0),
        (_, 0) => None,
        _ => Some(count as f64 * 1e9 / elapsed_ns as f64),
    }
}

/// The sum of rates; not known if one of them is not.
fn sum<'a>(cells: impl Iterator<Item = &'a Option<Value>>) -> Value {
    let rate = |cell: &Option<Value>| match cell {
        Some(Value::Rate(rate)) => *rate,
        _ => None,
    };
    Value::Rate(cells.map(rate).sum())
}

/// The width of a column: its title, and its rates with a point and one place behind it.
fn width<'a>(title: &str, cells: impl Iterator<Item = &'a Option<Value>>) -> usize {
    let digits = |cell: &Option<Value>| match cell {
        Some(Value::Rate(Some(rate))) => 3 + (rate.round() as u64).checked_ilog10().unwrap_or(0) as usize,
        _ => 1,
    };
    cells.map(digits).max().unwrap_or(0).max(title.len()).max(WIDTH)
}

#[cfg(test)]
mod tests;
