//! CSV: one line a row, one heading at the start. Times are integers in ns.

use std::io::{self, Write};

use crate::{
    decode::{Isa, subkey},
    model::{
        Counter, HostId, Row, Rows, VmId,
        columns::{COLUMNS, Value},
        row::Totals,
    },
    render::{Printer, Span, View, escape, sorted},
};

/// The columns before those of [`COLUMNS`].
const KEYS: [&str; 15] = [
    "span",
    "interval",
    "end_unix_ms",
    "host",
    "vm",
    "pid",
    "vcpu",
    "tid",
    "isa",
    "code",
    "reason",
    "part",
    "cause",
    "idle",
    "sum_ns",
];

/// The columns after them, of KVM's own counters.
const COUNTER: [&str; 7] = ["vm_fd", "counter", "counter_kind", "unit", "value", "delta", "over_ns"];

/// The last column.
const VM_ID: &str = "vm_id";

/// Prints CSV.
#[derive(Debug)]
pub struct Csv {
    view: View,
    headed: bool,
}

impl Csv {
    /// A printer for this view.
    pub fn new(view: View) -> Self {
        Self { view, headed: false }
    }
}

impl Printer for Csv {
    fn print(&mut self, out: &mut dyn Write, rows: &Rows, span: Span) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        if !self.headed {
            writer.write_record(
                KEYS.into_iter().chain(COLUMNS.iter().map(|column| column.id)).chain(COUNTER).chain([VM_ID]),
            )?;
            self.headed = true;
        }
        let totals = rows.wholes();
        for row in sorted(rows, &self.view) {
            writer.write_record(record(row, "", rows, &totals, span))?;
            for row in rows.causes_of(row) {
                let isa = row.reason.map_or(Isa(0), |(isa, _)| isa);
                let Some(label) = row.cause.and_then(|cause| subkey::label(isa, cause)) else { continue };
                writer.write_record(record(row, &label, rows, &totals, span))?;
            }
        }
        for row in rows.guests() {
            writer.write_record(record(row, "GUEST", rows, &Totals::default(), span))?;
        }
        for (host, counter) in rows.counters.iter() {
            writer.write_record(of_counter(host, counter, rows, span))?;
        }
        writer.flush()
    }
}

fn record(row: &Row, cause: &str, rows: &Rows, totals: &Totals, span: Span) -> Vec<String> {
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    let (vm, pid) = row.vm().map_or_else(Default::default, |vm| (&*vm.name, number(vm.pid)));
    let (vcpu, tid) =
        row.thread().map_or_else(Default::default, |thread| (thread.to_string(), number(thread.tid)));
    let (isa, code) =
        row.reason.map_or_else(Default::default, |(isa, code)| (isa.to_string(), code.to_string()));
    let mut fields = vec![
        span.name().to_owned(),
        rows.last.to_string(),
        rows.end_unix_ms.to_string(),
        row.host().map(escape::formula).unwrap_or_default().into_owned(),
        escape::formula(vm).into_owned(),
        pid,
        vcpu,
        tid,
        isa,
        code,
        row.reason_label(),
        row.slice.map_or_else(String::new, |slice| slice.id().to_owned()),
        cause.to_owned(),
        row.idle.to_string(),
        row.stats.sum_ns.to_string(),
    ];
    fields.extend(COLUMNS.iter().map(|column| match column.value(row, totals) {
        Value::Count(count) => count.to_string(),
        Value::Ns(ns) | Value::Part { ns, .. } => ns.map_or_else(String::new, |ns| ns.to_string()),
        Value::Share(number) | Value::Mean(number) | Value::Rate(number) | Value::Deviation(number) => {
            number.map_or_else(String::new, |number| format!("{number:.6}"))
        }
    }));
    fields.extend(COUNTER.map(|_| String::new()));
    fields.push(row.vm().and_then(VmId::key).unwrap_or_default());
    fields
}

fn of_counter(host: &HostId, counter: &Counter, rows: &Rows, span: Span) -> Vec<String> {
    let Counter { id, value, delta, over_ns, buckets: _ } = counter;
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    let name = |name: &str| escape::formula(name).into_owned();
    let mut fields = vec![
        span.name().to_owned(),
        rows.last.to_string(),
        rows.end_unix_ms.to_string(),
        host.name().map(name).unwrap_or_default(),
        name(&id.vm),
        id.pid.to_string(),
        number(id.vcpu.map(u64::from)),
    ];
    fields.resize(KEYS.len() + COLUMNS.len(), String::new());
    fields.extend([
        number(id.vm_fd.map(u64::from)),
        name(&id.name),
        id.kind.id().to_owned(),
        id.unit.id().to_owned(),
        value.map_or_else(String::new, |value| value.to_string()),
        number(*delta),
        over_ns.to_string(),
        String::new(),
    ]);
    fields
}
