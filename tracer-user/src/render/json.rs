//! One JSON object a line and block. Times are integers in ns; `schema` names the shape.

use std::io::{self, Write};

use serde_json::{Map, Value as Json, json};
use tracer_ebpf::subkey::is_user_exit;

use crate::{
    decode::{Isa, counters, decode, subkey},
    identity::{Identity, Kind},
    model::{
        Counter, Crowded, Disagreement, LastReason, Row, Rows, Stats, Unseen, VmAccount, VmId,
        columns::{COLUMNS, Set, Value},
        parts::PARTS,
        row::{OpenRow, Totals},
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
    fn print(&mut self, out: &mut dyn Write, rows: &Rows, span: Span) -> io::Result<()> {
        let (totals, wholes) = (rows.totals(), rows.wholes());
        let mut block = json!({
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
            "in_flight": rows.open.iter().map(in_flight).collect::<Vec<_>>(),
            "ended_in_exit": rows.last_exits.iter().map(ended_in_exit).collect::<Vec<_>>(),
            "vms": rows.vms().map(vm_account).collect::<Vec<_>>(),
            "guests": rows.guests().map(|row| self.row(rows, row, &Totals::default())).collect::<Vec<_>>(),
            "rows": sorted(rows, &self.view).iter().map(|row| self.row(rows, row, &wholes)).collect::<Vec<_>>(),
        });
        if !rows.unseen.is_empty() {
            block["unseen"] = rows.unseen.iter().map(unseen).collect();
        }
        if !rows.crowded.is_empty() {
            block["crowded"] = rows.crowded.iter().map(crowded).collect();
        }
        if !rows.disagreements.is_empty() {
            block["disagreements"] = rows.disagreements.iter().map(disagreement).collect();
        }
        if !rows.counters.is_empty() {
            block["counters"] = rows.counters.iter().map(|(host, it)| counter(host.name(), it)).collect();
        }
        let notes: Vec<_> = rows.notes().collect();
        if !notes.is_empty() {
            block["notes"] = json!(notes);
        }
        serde_json::to_writer(&mut *out, &block)?;
        writeln!(out)
    }
}

impl JsonLines {
    fn row(&self, rows: &Rows, row: &Row, totals: &Totals) -> Json {
        let mut object = Map::new();
        if let Some(host) = row.host() {
            object.insert("host".into(), json!(host));
        }
        if let Some(vm) = row.vm() {
            object.insert("vm_id".into(), json!(vm.key()));
            object.insert("vm".into(), json!(&*vm.name));
            object.insert("pid".into(), json!(vm.pid));
        }
        if row.ended != 0 {
            object.insert("ended".into(), json!(row.ended));
        }
        if let Some(thread) = row.thread() {
            object.insert("vcpu".into(), json!(thread.vcpu));
            object.insert("tid".into(), json!(thread.tid));
        }
        if let Some((isa, code)) = row.reason {
            object.insert("isa".into(), json!(isa.to_string()));
            object.insert("code".into(), json!(code));
            object.insert("reason".into(), json!(row.reason_label()));
        }
        if let Some(slice) = row.slice {
            object.insert("part".into(), json!(slice.id()));
        }
        object.insert("idle".into(), json!(row.idle));
        object.insert("sum_ns".into(), json!(row.stats.sum_ns));
        for column in COLUMNS.iter() {
            let value = match column.value(row, totals) {
                Value::Count(count) => json!(count),
                Value::Ns(ns) | Value::Part { ns, .. } => json!(ns),
                Value::Share(number)
                | Value::Mean(number)
                | Value::Rate(number)
                | Value::Deviation(number) => {
                    json!(number)
                }
            };
            object.insert(column.id.into(), value);
        }
        if self.view.hist.as_ref().is_some_and(|pattern| pattern.is_match(&row.reason_label())) {
            object.insert("buckets".into(), buckets(&row.stats));
        }
        // Returns to the VMM are a part of the exit's time and overlap the other causes.
        for (name, to_vmm) in [("causes", false), ("user_exits", true)] {
            let of_kind = rows
                .causes_of(row)
                .filter_map(|row| Some((row, row.cause?)))
                .filter(|(_, cause)| is_user_exit(*cause) == to_vmm)
                .filter_map(|(row, cause)| self.cause(rows, row, cause));
            let array: Vec<Json> = of_kind.collect();
            if !array.is_empty() {
                object.insert(name.into(), Json::Array(array));
            }
        }
        Json::Object(object)
    }

    fn cause(&self, rows: &Rows, row: &Row, cause: u64) -> Option<Json> {
        let label = subkey::label(row.reason.map_or(Isa(0), |(isa, _)| isa), cause)?;
        let Json::Object(object) = self.row(rows, row, &Totals::default()) else { return None };
        let own = |id: &str| COLUMNS.iter().any(|column| column.set == Set::Usual && column.id == id);
        let mut kept: Map<String, Json> =
            object.into_iter().filter(|(id, _)| own(id) || id == "sum_ns" || id == "buckets").collect();
        kept.retain(|id, _| !id.ends_with("_share"));
        kept.insert("cause".into(), json!(label));
        kept.insert("detail".into(), json!(cause));
        Some(Json::Object(kept))
    }
}

/// Where a VM's time went; parts that were not measured are `null`.
fn vm_account(VmAccount { vm, ended, vcpus, account }: &VmAccount) -> Json {
    let mut object = Map::new();
    for info in &PARTS {
        object.insert(info.column.into(), json!(account.part_ns(info.part)));
    }
    let mut whole = json!({
        "host": vm.host.name(), "vm_id": vm.key(), "vm": &*vm.name, "pid": vm.pid, "vcpus": vcpus,
        "elapsed_ns": account.elapsed_ns, "guest_ns": account.guest_ns, "parts": object,
        "unaccounted_ns": account.unaccounted_ns(),
    });
    if let Some(start_unix_ms) = vm.origin.start_unix_ms {
        whole["start_unix_ms"] = json!(start_unix_ms);
    }
    facts(&vm.known, &mut whole);
    if *ended != 0 {
        whole["ended"] = json!(ended);
    }
    whole
}

/// Adds what is known about a VM beside its name, and which source told it.
pub(crate) fn facts(known: &Identity, to: &mut Json) {
    let mut sources = Map::new();
    for (kind, fact) in known.facts() {
        let key = kind.info().key;
        if kind != Kind::Name {
            to[key] = json!(fact.value);
        }
        sources.insert(key.into(), json!(fact.source.info().id));
    }
    if sources.len() > 1 {
        to["sources"] = Json::Object(sources);
    }
}

/// `[from_ns, to_ns, count]` of each bucket that is not empty; `to_ns` is `null` in the open last one.
pub(crate) fn buckets(stats: &Stats) -> Json {
    let filled = stats.buckets.iter().enumerate().filter(|(_, count)| **count != 0);
    filled
        .map(|(bucket, count)| {
            let (low, high) = tracer_ebpf::histogram::bounds_of(bucket);
            json!([low, (high != u64::MAX).then_some(high), count])
        })
        .collect()
}

/// A reading of one of KVM's own counters. What is not known is `null`, as is the unit of what has none.
fn counter(host: Option<&str>, counter: &Counter) -> Json {
    let Counter { id, value, delta, over_ns, buckets } = counter;
    let unit = Some(id.unit.id()).filter(|unit| !unit.is_empty());
    let mut object = json!({
        "vm": id.vm, "pid": id.pid, "vm_fd": id.vm_fd, "vcpu": id.vcpu, "name": id.name, "kind": id.kind.id(),
        "unit": unit, "value": value.map(whole), "delta": delta, "over_ns": over_ns,
    });
    if let Some(host) = host {
        object["host"] = json!(host);
    }
    if !buckets.is_empty() {
        object["buckets"] = counter_buckets(counter);
    }
    object
}

/// `[from, to, count]` of each bucket; `to` is `null` in the open last one.
pub(crate) fn counter_buckets(Counter { id, buckets, .. }: &Counter) -> Json {
    let bucket = |(at, count): (usize, &u64)| {
        let (low, high) = counters::range(id.kind, at, buckets.len(), id.bucket_size);
        json!([low, high, count])
    };
    buckets.iter().enumerate().map(bucket).collect()
}

/// A number of 64 bits, with or without a sign.
pub(crate) fn whole(value: i128) -> Json {
    u64::try_from(value).map_or_else(|_| json!(i64::try_from(value).ok()), |value| json!(value))
}

fn in_flight(OpenRow { thread, exit }: &OpenRow) -> Json {
    json!({
        "host": thread.vm.host.name(), "vm_id": thread.vm.key(), "vm": &*thread.vm.name, "pid": thread.vm.pid,
        "tid": thread.tid,
        "vcpu": thread.vcpu, "isa": exit.isa.to_string(), "code": exit.code,
        "reason": decode(exit.isa, exit.code).to_string(), "age_ns": exit.age_ns,
    })
}

fn unseen(Unseen { pid, vm, open, seen, vcpus }: &Unseen) -> Json {
    json!({ "vm": vm, "pid": pid, "open": open, "seen": seen, "vcpus": vcpus })
}

fn disagreement(it: &Disagreement) -> Json {
    let Disagreement { pid, vm, counter, ours, kvm_low, kvm_high, lost, slack } = it;
    json!({
        "vm": vm, "pid": pid, "counter": counter, "ours": ours, "kvm_low": kvm_low, "kvm_high": kvm_high,
        "lost": lost, "slack": slack,
    })
}

fn crowded(Crowded { table, places, holder, hit }: &Crowded) -> Json {
    let hit: Vec<_> = hit.iter().map(|it| json!({ "vm": it.vm, "pid": it.pid, "lost": it.count })).collect();
    let holder = json!({ "vm": holder.vm, "pid": holder.pid, "places": holder.count });
    json!({ "table": table.id(), "places": places, "holder": holder, "hit": hit })
}

fn ended_in_exit(((vm, reason), count): (&(VmId, LastReason), &u64)) -> Json {
    json!({
        "host": vm.host.name(), "vm_id": vm.key(), "vm": &*vm.name, "pid": vm.pid, "isa": reason.isa.to_string(),
        "code": reason.code, "reason": decode(reason.isa, reason.code).to_string(),
        "user_exit": reason.user_exit_label(), "count": count,
    })
}

struct Object(Map<String, Json>);

impl FromIterator<(&'static str, Json)> for Object {
    fn from_iter<I: IntoIterator<Item = (&'static str, Json)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}
