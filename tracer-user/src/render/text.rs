//! A table as text. Filled again with the same table it allocates nothing.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    render::units,
    view::{TableModel, table::Kind},
};

/// Marks a cause, below the row it belongs to.
const INDENT: &str = "  > ";
/// Names of hosts and VMs are cut down to this before a column is dropped.
const NAME_FLOOR: usize = 16;
/// A label is never cut below this.
const LABEL_FLOOR: usize = 12;
/// Stands for what was cut out of a label.
const ELLIPSIS: char = '…';

/// How a table is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; [`None`] sets no limit.
    pub width: Option<usize>,
    /// Bold headings.
    pub color: bool,
    /// Least width of a label if rows have only one.
    pub label_min: usize,
    /// Draw a line above the first idle row, with these words.
    pub idle: Option<&'static str>,
}

/// Sets tables; its memory is used again.
#[derive(Clone, Debug, Default)]
pub struct Setter {
    /// The width of each label.
    labels: Vec<usize>,
    /// The width of each label without a limit.
    whole_labels: Vec<usize>,
    /// The columns that have room, by index.
    columns: Vec<usize>,
    scratch: String,
    line: String,
}

impl Setter {
    /// Prints a table.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn print(&mut self, out: &mut dyn Write, table: &TableModel, style: Style) -> io::Result<()> {
        self.fit(table, style);
        let (bold, plain) = if style.color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        if !table.title.is_empty() {
            writeln!(out, "{bold}{}{plain}", table.title)?;
        }
        self.line.clear();
        for (title, width) in table.labels.iter().zip(&self.labels) {
            left(&mut self.line, title, *width);
        }
        for &at in &self.columns {
            right(&mut self.line, &table.columns[at].title, table.columns[at].width);
        }
        writeln!(out, "{bold}{}{plain}", self.line.trim_end())?;
        let mut idle = style.idle;
        for line in table.lines() {
            if let (Kind::Idle, Some(words)) = (line.kind, idle.take_if(|_| line.kind == Kind::Idle)) {
                let rule = self.width(table).saturating_sub(words.len() + 7).min(60);
                writeln!(out, "--- {words} {:-<rule$}", "")?;
            }
            self.line.clear();
            let last = self.labels.len().saturating_sub(1);
            for (at, (label, width)) in line.labels().zip(&self.labels).enumerate() {
                self.scratch.clear();
                self.scratch.push_str(if line.kind == Kind::Cause && at == last { INDENT } else { "" });
                self.scratch.push_str(label);
                cut(&mut self.scratch, *width);
                left(&mut self.line, &self.scratch, *width);
            }
            for &at in &self.columns {
                self.scratch.clear();
                if let Some(value) = line.cells[at] {
                    // Writing to a string does not fail.
                    let _ = units::write_value(&mut self.scratch, value);
                }
                right(&mut self.line, &self.scratch, table.columns[at].width);
            }
            writeln!(out, "{}", self.line.trim_end())?;
        }
        Ok(())
    }

    /// The titles of the columns that had no room in the table printed last.
    pub fn dropped<'a>(&'a self, table: &'a TableModel) -> impl Iterator<Item = &'a str> {
        let columns = table.columns.iter().enumerate();
        columns.filter(|(at, _)| !self.columns.contains(at)).map(|(_, column)| &*column.title)
    }

    /// The columns of the terminal that are left beside the labels, if these are cut as far as they are
    /// before a column is dropped; [`None`] if there is no limit.
    pub fn room(&mut self, table: &TableModel, style: Style) -> Option<usize> {
        let room = style.width?;
        self.measure(table, style);
        self.shorten(table, room, NAME_FLOOR, |label| table.is_name(label));
        Some(room.saturating_sub(self.labels.iter().map(|width| width + 1).sum()))
    }

    /// Finds the widths. Shortens names, then drops columns of the highest rank, then cuts any label, until
    /// the line fits. Names get back the room that a dropped column leaves.
    fn fit(&mut self, table: &TableModel, style: Style) {
        self.measure(table, style);
        let Some(room) = style.width else { return };
        self.whole_labels.clone_from(&self.labels);
        self.shorten(table, room, NAME_FLOOR, |label| table.is_name(label));
        let rank = |at: usize| table.columns[at].rank;
        while self.width(table) > room {
            let Some(worst) = self.columns.iter().map(|at| rank(*at)).filter(|rank| *rank > 0).max() else {
                break;
            };
            let last = self.columns.iter().rposition(|at| rank(*at) == worst).expect("just found");
            self.columns.remove(last);
        }
        self.shorten(table, room, LABEL_FLOOR, |_| true);
        for at in 0..self.labels.len() {
            let spare = room.saturating_sub(self.width(table));
            self.labels[at] = self.whole_labels[at].min(self.labels[at] + spare);
        }
    }

    /// The widths without a limit: whole labels, and all columns.
    fn measure(&mut self, table: &TableModel, style: Style) {
        self.labels.clear();
        self.labels.extend(table.labels.iter().map(|title| title.width()));
        let last = self.labels.len().saturating_sub(1);
        for line in table.lines() {
            for (at, (label, width)) in line.labels().zip(&mut self.labels).enumerate() {
                let indent = if line.kind == Kind::Cause && at == last { INDENT.len() } else { 0 };
                *width = (*width).max(indent + label.width());
            }
        }
        if let [only] = self.labels.as_mut_slice() {
            *only = (*only).max(style.label_min);
        }
        self.columns.clear();
        self.columns.extend(0..table.columns.len());
    }

    /// Cuts the widest of some labels until the line fits, but not below `floor`.
    fn shorten(&mut self, table: &TableModel, room: usize, floor: usize, some: impl Fn(usize) -> bool) {
        loop {
            let over = self.width(table).saturating_sub(room);
            // A heading is never cut.
            let floor = |at: usize| floor.max(table.labels[at].width());
            let labels = self.labels.iter_mut().enumerate();
            let longer = labels.filter(|(at, width)| some(*at) && **width > floor(*at));
            match longer.max_by_key(|(_, width)| **width) {
                Some((at, width)) if over > 0 => *width = width.saturating_sub(over).max(floor(at)),
                _ => return,
            }
        }
    }

    fn width(&self, table: &TableModel) -> usize {
        self.labels.iter().map(|width| width + 1).sum::<usize>()
            + self.columns.iter().map(|at| table.columns[*at].width + 1).sum::<usize>()
    }
}

/// Appends text, then spaces up to the width and one more.
fn left(line: &mut String, text: &str, width: usize) {
    line.push_str(text);
    spaces(line, width.saturating_sub(text.width()) + 1);
}

/// Appends spaces up to the width, then text and one more.
fn right(line: &mut String, text: &str, width: usize) {
    spaces(line, width.saturating_sub(text.width()));
    line.push_str(text);
    line.push(' ');
}

fn spaces(line: &mut String, count: usize) {
    line.extend(std::iter::repeat_n(' ', count));
}

/// Shortens a label to `width` columns of the terminal: an ellipsis replaces its middle. A pid at its end
/// stays whole, since a part of a pid is another pid.
fn cut(text: &mut String, width: usize) {
    if text.width() <= width {
        return;
    }
    let pid = text.rfind('[').filter(|_| text.ends_with(']')).map_or(0, |at| text[at..].width());
    let room = width.saturating_sub(1);
    let tail = (room / 2).max(pid).min(room);
    // How many bytes fit into some columns.
    let fitting = |characters: &mut dyn Iterator<Item = char>, room: usize| {
        let mut taken = 0;
        let fits = |c: &char| {
            taken += c.width().unwrap_or(0);
            taken <= room
        };
        characters.take_while(fits).map(char::len_utf8).sum::<usize>()
    };
    let tail = text.len() - fitting(&mut text.chars().rev(), tail);
    // A string may be wider than its characters.
    let head = fitting(&mut text.chars(), room.saturating_sub(text[tail..].width())).min(tail);
    text.replace_range(head..tail, ELLIPSIS.encode_utf8(&mut [0; 4]));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter of an East Asian script takes two columns, an accent none.
    #[test]
    fn labels_are_cut_and_filled_by_columns_of_the_terminal() {
        let set = |text: &str, width| {
            let (mut text, mut line) = (text.to_owned(), String::new());
            cut(&mut text, width);
            left(&mut line, &text, width);
            line
        };
        assert_eq!(set("web01", 5), "web01 ");
        assert_eq!(set("web01", 4), "we…1 ");
        assert_eq!(set("仮想機械", 8), "仮想機械 ");
        assert_eq!(set("仮想機械", 7), "仮想…械 ");
        assert_eq!(set("仮想機械", 6), "仮…械  ");
        assert_eq!(set("sandbox-0123456789abcdef[4242]", 20), "sandbox-01…def[4242] ");
        assert_eq!(set("sandbox-0123456789abcdef[4242424]", 12), "sa…[4242424] ");
        assert_eq!(set("e\u{301}te\u{301}", 3), "e\u{301}te\u{301} ");
    }
}
