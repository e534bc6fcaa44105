//! A table as data. Filled again with the same rows it allocates nothing.

use std::{borrow::Cow, cmp::Ordering, ops::Range};

use tracer_ebpf::part::Part;

use crate::{
    decode::{Isa, subkey},
    model::{
        Account, Row, Rows, VmAccount,
        columns::{COLUMNS, Column, Set, SortKey, Value},
        parts::{PARTS, PartInfo},
        row::Totals,
    },
    view::label::{self, Dimension, dimensions},
};

mod pivot;

/// Heading of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// Its words.
    pub title: Cow<'static, str>,
    /// Characters that its values need.
    pub width: usize,
    /// Where there is no room, the columns with the highest rank go first; 0 always stays.
    pub rank: u8,
}

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A row.
    Row,
    /// A row of idle time, which has no share of the handled time.
    Idle,
    /// A cause: part of the row above it. Its only label is the last.
    Cause,
    /// The sum of the rows above it.
    Total,
}

/// A line of a table.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Row, idle row or cause.
    pub kind: Kind,
    text: &'a str,
    labels: &'a [Range<usize>],
    /// The value of each column; [`None`] where a column means nothing for this line.
    pub cells: &'a [Option<Value>],
}

impl<'a> Line<'a> {
    /// The label of each dimension, harmless on a terminal.
    pub fn labels(self) -> impl Iterator<Item = &'a str> {
        self.labels.iter().map(move |range| &self.text[range.clone()])
    }
}

/// The columns of parts of an account have ranks up to this one.
const PARTS_RANKS: u8 = Part::COUNT as u8;

/// A table: labels, columns and the value of each line, in the order in which they are shown.
#[derive(Clone, Debug, Default)]
pub struct TableModel {
    /// Its title, "" for none.
    pub title: &'static str,
    /// Headings of the labels.
    pub labels: Vec<&'static str>,
    /// Headings of the columns.
    pub columns: Vec<Heading>,
    /// Sums over all lines, of which their shares are.
    pub totals: Totals,
    dimensions: Vec<Dimension>,
    chosen: Vec<&'static Column>,
    kinds: Vec<Kind>,
    cells: Vec<Option<Value>>,
    ranges: Vec<Range<usize>>,
    text: String,
    sorted: Vec<usize>,
    causes: Vec<usize>,
}

/// More causes of one row than this are one line: a guest can make thousands, and they are no longer read.
pub const CAUSES: usize = 10;

impl TableModel {
    /// Its lines.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let (labels, columns) = (self.labels.len(), self.columns.len());
        self.kinds.iter().enumerate().map(move |(at, kind)| Line {
            kind: *kind,
            text: &self.text,
            labels: &self.ranges[at * labels..(at + 1) * labels],
            cells: &self.cells[at * columns..(at + 1) * columns],
        })
    }

    /// Indices for [`Rows::at`] of the rows of exits or of guest time, one for each line that is no cause;
    /// none of a table of rates.
    pub fn row_indices(&self) -> &[usize] {
        &self.sorted
    }

    /// Whether a label is a name that people chose, of a host or a VM; others are the field's words.
    pub fn is_name(&self, label: usize) -> bool {
        let dimension = self.dimensions.get(label);
        dimension.is_none_or(|dimension| matches!(dimension, Dimension::Host | Dimension::Vm { .. }))
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Becomes the table of exits and their causes, or of their time by part. `columns` are those asked for,
    /// else those that suit the rows.
    pub fn exits(&mut self, rows: &Rows, key: SortKey, columns: Option<&[&'static Column]>) {
        self.fill(rows, key, columns, true);
    }

    /// As [`TableModel::exits`], without the causes.
    pub fn exits_alone(&mut self, rows: &Rows, key: SortKey, columns: Option<&[&'static Column]>) {
        self.fill(rows, key, columns, false);
    }

    fn fill(&mut self, rows: &Rows, key: SortKey, columns: Option<&[&'static Column]>, with_causes: bool) {
        self.begin("", dimensions(rows.by()), rows.wholes());
        self.sort(rows, rows.exit_indices(), |a, b| key.order(a, b));
        self.choose(rows, rows.by().part, columns);
        for at in 0..self.sorted.len() {
            let row = rows.at(self.sorted[at]);
            self.row(row, if row.idle { Kind::Idle } else { Kind::Row });
            if !with_causes {
                continue;
            }
            let mut causes = std::mem::take(&mut self.causes);
            let named = |index: &usize| cause_label(rows.at(*index)).is_some();
            causes.clear();
            causes.extend(rows.cause_indices(row).filter(named));
            let shown = largest_first(rows, &mut causes);
            causes[..shown].iter().for_each(|index| self.cause(rows.at(*index)));
            self.more_causes(rows, row, &causes[shown..]);
            self.causes = causes;
        }
    }

    /// Becomes the table of how long the guests ran undisturbed; empty where that was not measured.
    pub fn guests(&mut self, rows: &Rows, columns: Option<&[&'static Column]>) {
        let inapplicable = [Dimension::Reason, Dimension::Part, Dimension::Idle];
        let by = dimensions(rows.by()).filter(|dimension| !inapplicable.contains(dimension));
        self.begin("Guest time", by, Totals::default());
        if self.dimensions.is_empty() {
            self.begin("Guest time", [Dimension::Guests].into_iter(), Totals::default());
        }
        self.sorted.extend(rows.guest_indices());
        self.choose(rows, false, columns);
        // These columns mean something for exits only.
        self.chosen.retain(|column| !matches!(column.id, "samples_share" | "time_share" | "idle_ns"));
        self.head();
        for at in 0..self.sorted.len() {
            self.row(rows.at(self.sorted[at]), Kind::Row);
        }
    }

    /// Becomes the table of where the wall time of the VMs' vCPUs went, the one with most overhead first, and
    /// of `most` VMs at most. Says how many VMs there are.
    pub fn accounts(
        &mut self,
        rows: &Rows,
        most: usize,
        shown: impl Fn(&PartInfo, &[&VmAccount]) -> bool,
    ) -> usize {
        self.begin("", std::iter::empty(), Totals::default());
        let mut vms: Vec<&VmAccount> = rows.vms().filter(|vm| vm.account.elapsed_ns != 0).collect();
        let overhead_ns = |vm: &VmAccount| vm.account.overhead_ns();
        vms.sort_by(|a, b| overhead_ns(b).cmp(&overhead_ns(a)).then_with(|| a.vm.cmp(&b.vm)));
        self.labels.push("Of the vCPUs' wall time");
        let parts: Vec<&PartInfo> = PARTS.iter().filter(|info| shown(info, &vms)).collect();
        let heading = |title: &'static str, width, rank| Heading { title: title.into(), width, rank };
        self.columns.clear();
        self.columns.extend([heading("vCPUs", 5, PARTS_RANKS + 1), heading("Guest", 8, 0)]);
        // On a narrow terminal the parts with the least time go first; the largest stays.
        let sum_ns = |info: &PartInfo| -> u64 {
            vms.iter().fold(0, |sum: u64, vm| sum.saturating_add(vm.account.part_ns(info.part).unwrap_or(0)))
        };
        let larger =
            |info: &PartInfo| parts.iter().filter(|other| sum_ns(other) > sum_ns(info)).count() as u8;
        let columns = parts.iter().map(|info| heading(info.title, info.title.len().max(7), larger(info)));
        self.columns.extend(columns);
        self.columns.push(heading("Accounted", 10, PARTS_RANKS + 2));
        for VmAccount { vm, ended, vcpus, account } in vms.iter().take(most) {
            self.kinds.push(Kind::Row);
            let start = self.text.len();
            // Writing to a string does not fail.
            let _ = label::write_vm(&mut self.text, vm.host.name(), vm, *ended);
            self.ranges.push(start..self.text.len());
            let &Account { elapsed_ns: of_ns, guest_ns, .. } = account;
            let share = |ns| Some(Value::Part { ns, of_ns });
            self.cells.extend([Some(Value::Count(*vcpus)), share(Some(guest_ns))]);
            self.cells.extend(parts.iter().map(|info| share(account.part_ns(info.part))));
            self.cells.push(share(Some(of_ns - account.unaccounted_ns())));
        }
        vms.len()
    }

    fn begin(&mut self, title: &'static str, by: impl Iterator<Item = Dimension>, totals: Totals) {
        (self.title, self.totals) = (title, totals);
        self.dimensions.clear();
        self.dimensions.extend(by);
        self.labels.clear();
        self.labels.extend(self.dimensions.iter().map(|dimension| dimension.title()));
        self.kinds.clear();
        self.cells.clear();
        self.ranges.clear();
        self.text.clear();
        self.sorted.clear();
    }

    fn sort(
        &mut self,
        rows: &Rows,
        indices: impl Iterator<Item = usize>,
        by: impl Fn(&Row, &Row) -> Ordering,
    ) {
        self.sorted.extend(indices);
        // Lines that compare as equal stay in the order of their keys. A stable sort would do that too, but
        // allocates.
        let rank = |index: usize| rows.rank_of(index);
        self.sorted
            .sort_unstable_by(|a, b| by(rows.at(*a), rows.at(*b)).then_with(|| rank(*a).cmp(&rank(*b))));
    }

    /// The columns that were asked for, or that suit the sorted rows.
    fn choose(&mut self, rows: &Rows, by_part: bool, columns: Option<&[&'static Column]>) {
        self.chosen.clear();
        match columns {
            Some(columns) => self.chosen.extend(columns),
            None => {
                let totals = Totals::default();
                let any = |column: &Column| {
                    let value = |index: &usize| column.value(rows.at(*index), &totals);
                    self.sorted.iter().any(|index| !matches!(value(index), Value::Ns(None | Some(0))))
                };
                let suits = |column: &&Column| {
                    if by_part {
                        return column.set == Set::OfParts || column.id == "time_share";
                    }
                    column.set == Set::Usual || (column.set == Set::IfAny && any(column))
                };
                self.chosen.extend(COLUMNS.iter().filter(suits));
            }
        }
        self.head();
    }

    fn head(&mut self) {
        self.columns.clear();
        let heading =
            |column: &&Column| Heading { title: column.title.into(), width: column.width, rank: column.rank };
        self.columns.extend(self.chosen.iter().map(heading));
    }

    fn row(&mut self, row: &Row, kind: Kind) {
        self.kinds.push(kind);
        for dimension in &self.dimensions {
            let start = self.text.len();
            // Writing to a string does not fail.
            let _ = dimension.write(&mut self.text, row);
            self.ranges.push(start..self.text.len());
        }
        let totals = self.totals;
        self.cells.extend(self.chosen.iter().map(|column| {
            let value = column.value(row, &totals);
            let nothing = column.set == Set::IfAny && value == Value::Ns(Some(0));
            Some(if nothing { Value::Ns(None) } else { value })
        }));
    }

    /// A cause has a value in the columns that mean something for it.
    fn cause(&mut self, row: &Row) {
        self.line_of_cause(&cause_label(row).unwrap_or_default(), row);
    }

    /// One line for the causes that are left.
    fn more_causes(&mut self, rows: &Rows, row: &Row, left: &[usize]) {
        if left.is_empty() {
            return;
        }
        let mut together = row.clone();
        together.stats.clear();
        left.iter().for_each(|index| together.stats.merge(&rows.at(*index).stats));
        self.line_of_cause(&format!("{} more causes", left.len()), &together);
    }

    fn line_of_cause(&mut self, label: &str, row: &Row) {
        self.kinds.push(Kind::Cause);
        let start = self.text.len();
        self.text.push_str(label);
        let last = self.labels.len() - 1;
        self.ranges.extend((0..last).map(|_| start..start));
        self.ranges.push(start..self.text.len());
        let totals = self.totals;
        let own = |column: &&&Column| column.set == Set::Usual;
        self.cells.extend(
            self.chosen
                .iter()
                .map(|column| Some(column).filter(own).map(|column| column.value(row, &totals))),
        );
    }
}

/// Puts the causes that are shown first, the one with most time at the top, and says how many they are. Of
/// one more than [`CAUSES`] none is left out: it would take the same line.
pub fn largest_first(rows: &Rows, causes: &mut [usize]) -> usize {
    let order = |a: &usize, b: &usize| {
        let (a, b) = (rows.at(*a), rows.at(*b));
        b.stats.sum_ns.cmp(&a.stats.sum_ns).then_with(|| cause_label(a).cmp(&cause_label(b)))
    };
    let shown = if causes.len() <= CAUSES + 1 { causes.len() } else { CAUSES };
    // Sorting all of thousands would compare most of their names.
    if shown < causes.len() {
        causes.select_nth_unstable_by(shown, order);
    }
    causes[..shown].sort_unstable_by(order);
    shown
}

/// The name of a cause; [`None`] for samples that are no cause with a name.
pub fn cause_label(row: &Row) -> Option<Cow<'static, str>> {
    subkey::label(row.reason.map_or(Isa(0), |(isa, _)| isa), row.cause?)
}
