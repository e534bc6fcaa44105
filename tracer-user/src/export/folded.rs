//! Folded stacks, the input of flame graphs: one line per row and part, `frame;frame;... nanoseconds`.
//!
//! The frames are those of the row (host, VM, vCPU, reason) and the part of its time. All lines together are
//! the whole time of the exits, idle time included. Without measured parts a row is one line.

use std::io::{self, Write};

use crate::{
    export::Export,
    model::{NamedInterval, Row, Rows, Store, parts::PARTS},
    render::escape,
};

/// Writes folded stacks at the end.
#[derive(Debug)]
pub struct Folded {
    rows: Rows,
    store: Store,
}

impl Folded {
    /// Stacks of these rows.
    pub fn new(rows: Rows) -> Self {
        Self { rows, store: Store::keeping(usize::MAX) }
    }
}

impl Export for Folded {
    fn interval(&mut self, _out: &mut dyn Write, of: NamedInterval<'_>) -> io::Result<()> {
        self.store.add(of);
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.rows.of_store(&self.store);
        self.rows.exits().try_for_each(|row| stacks(out, row))
    }
}

fn stacks(out: &mut dyn Write, row: &Row) -> io::Result<()> {
    let labels = row.labels();
    let frames: Vec<_> = labels.iter().map(|label| frame(label)).collect();
    if row.parts.total_ns() == 0 {
        return line(out, &frames, row.stats.sum_ns);
    }
    PARTS.iter().try_for_each(|info| {
        let ns = row.parts.get(info.part);
        if ns == 0 {
            return Ok(());
        }
        line(out, &[&frames[..], &[info.id.to_owned()]].concat(), ns)
    })
}

fn line(out: &mut dyn Write, frames: &[String], ns: u64) -> io::Result<()> {
    let stack = if frames.is_empty() { "all".to_owned() } else { frames.join(";") };
    writeln!(out, "{stack} {ns}")
}

/// A frame ends at a semicolon, and names of guests come from tenants.
fn frame(label: &str) -> String {
    escape::terminal(label).replace(';', ":")
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::part::Part;

    use super::*;
    use crate::{
        decode::Isa,
        model::{Cell, GroupBy, Interval, MeasuredParts, Parts, Thread, Threads},
    };

    #[test]
    fn lines_are_the_whole_time_of_exits() {
        let mut parts = Parts::default();
        parts.add(Part::Kernel, 300);
        parts.add(Part::Halt, 700);
        let cell = Cell {
            isa: Isa::SVM,
            code: 0x78,
            count: 1,
            sum_ns: 300,
            min_ns: 300,
            max_ns: 300,
            parts,
            ..Cell::default()
        };
        let measured = MeasuredParts::of(&Part::ALL);
        let interval = Interval { cells: vec![cell], known: measured, ..Interval::default() };
        let thread = Thread { pid: 7, vm: "a;b\n".to_owned(), ..Thread::default() };
        let threads = Threads::from(vec![thread]);
        let mut folded = Folded::new(Rows::new(GroupBy { vm: true, ..GroupBy::REASON }));
        let mut out = Vec::new();
        folded.interval(&mut out, interval.with(&threads)).unwrap();
        folded.finish(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "a:b\\n[7];hlt;kernel 300\na:b\\n[7];hlt;halt 700\n");
    }
}
