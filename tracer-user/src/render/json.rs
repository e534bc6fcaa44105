//! One JSON object a line and block. Times are integers in ns; `schema` names the shape.

use std::io::{self, Write};

use serde_json::{Map, Value as Json, json};

use crate::{
    decode::decode,
    model::{
        OpenExit, Roster, Row, Rows,
        columns::{COLUMNS, Value},
        rows::Totals,
    },
    render::{Printer, Span, View, sorted},
};

/// Shape of the objects.
pub const SCHEMA: &str = "exitlat.table/1";

/// Prints JSON lines.
#[derive(Debug)]
pub struct JsonLines {
    view: View,
}

impl JsonLines {
    /// A printer for this view.
    pub fn new(view: View) -> Self {
        Self { view }
    }
}

impl Printer for JsonLines {
    fn print(&mut self, out: &mut dyn Write, rows: &Rows, roster: &Roster, span: Span) -> io::Result<()> {
        let totals = rows.totals();
        let block = json!({
            "schema": SCHEMA,
            "span": span.name(),
            "interval": rows.last,
            "first_interval": rows.first,
            "end_unix_ms": rows.end_unix_ms,
            "elapsed_ns": rows.elapsed_ns,
            "by": rows.by().to_string(),
            "samples": totals.count(),
            "handled_ns": totals.handled_ns,
            "idle_ns": totals.idle_ns,
            "losses": rows.losses.nonzero().map(|(info, count)| (info.name, json!(count))).collect::<Object>().0,
            "in_flight": rows.open.iter().map(|open| in_flight(open, roster)).collect::<Vec<_>>(),
            "rows": sorted(rows, &self.view).iter().map(|r| self.row(r, &totals)).collect::<Vec<_>>(),
        });
        serde_json::to_writer(&mut *out, &block)?;
        writeln!(out)
    }
}

impl JsonLines {
    fn row(&self, row: &Row, totals: &Totals) -> Json {
        let mut object = Map::new();
        if let Some((vm, pid)) = &row.vm {
            object.insert("vm".into(), json!(vm));
            object.insert("pid".into(), json!(pid));
        }
        if let Some((vcpu, tid)) = &row.vcpu {
            object.insert("vcpu".into(), vcpu.parse::<u32>().map_or(Json::Null, Json::from));
            object.insert("tid".into(), json!(tid));
        }
        if let Some((isa, code)) = row.reason {
            object.insert("isa".into(), json!(isa.name()));
            object.insert("code".into(), json!(code));
            object.insert("reason".into(), json!(row.reason_label()));
        }
        object.insert("idle".into(), json!(row.idle));
        object.insert("sum_ns".into(), json!(row.stats.sum_ns));
        for column in &COLUMNS {
            let value = match (column.get)(row, totals) {
                Value::Count(count) => json!(count),
                Value::Ns(ns) => json!(ns),
                Value::Share(number) | Value::Mean(number) | Value::Deviation(number) => json!(number),
            };
            object.insert(column.id.into(), value);
        }
        if self.view.hist.as_ref().is_some_and(|pattern| pattern.is_match(&row.reason_label())) {
            object.insert("buckets".into(), buckets(row));
        }
        Json::Object(object)
    }
}

/// `[from_ns, to_ns, count]` of each bucket that is not empty; `to_ns` is `null` in the open last one.
fn buckets(row: &Row) -> Json {
    let filled = row.stats.buckets.iter().enumerate().filter(|(_, count)| **count != 0);
    filled
        .map(|(bucket, count)| {
            let (low, high) = tracer_ebpf::histogram::bounds_of(bucket);
            json!([low, (high != u64::MAX).then_some(high), count])
        })
        .collect()
}

fn in_flight(open: &OpenExit, roster: &Roster) -> Json {
    let thread = &roster.threads[open.thread];
    json!({
        "vm": thread.vm, "pid": thread.pid, "tid": thread.tid, "vcpu": thread.vcpu,
        "isa": open.isa.name(), "code": open.code, "reason": decode(open.isa, open.code).to_string(),
        "age_ns": open.age_ns,
    })
}

struct Object(Map<String, Json>);

impl FromIterator<(&'static str, Json)> for Object {
    fn from_iter<I: IntoIterator<Item = (&'static str, Json)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}
