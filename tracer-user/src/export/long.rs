//! The long form: one line for each thing that was counted in each interval, with everything known about it.
//!
//! CSV (RFC 4180) and JSON lines have the same columns, the list `COLUMNS`. The column `kind` says what a
//! line is:
//!
//! | `kind` | a line is |
//! |---|---|
//! | `exit` | the exits of a reason. The only kind whose times may be added up |
//! | `whole`, `user_exit`, `instruction`, ... | a cause below the reason, `detail` says which ([`crate::model::kinds`]); the same time once more |
//! | `guest` | time in the guest between two exits |
//! | `vcpu` | where a vCPU thread's time went: `sum_ns` is the time that passed, `guest_ns` and the parts what it went to |
//! | `open` | an exit that had not ended; `sum_ns` is its age |
//! | `last_exit` | threads that ended in exits of a reason; `detail` is what KVM_RUN had returned with |
//! | `counter` | one of KVM's own counters; `detail` is its name, `value` its number since the VM began, `delta` its growth within `over_ns` |
//! | `loss` | a loss; `detail` is its name, `count` how often |

use std::io::{self, Write};

use serde_json::{Map, Value as Json, json};
use tracer_ebpf::part::Part;

use crate::{
    decode::{Isa, decode},
    export::Export,
    model::provenance::Header,
    model::{
        Counter, GroupBy, Interval, MeasuredParts, NamedInterval, Parts, Row, Rows, Stats, Thread, VmId,
        kinds, parts::PARTS, quantiles::QUANTILES,
    },
    render::{
        escape,
        json::{buckets, counter_buckets, whole},
    },
};

/// Shape of the JSON objects.
pub const SCHEMA: &str = "exitlat.export/1";

/// CSV or JSON lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// RFC 4180, with a heading.
    Csv,
    /// One object a line; the first is the recording's header.
    Json,
}

/// One line of the output.
struct Line<'a> {
    interval: &'a Interval,
    kind: String,
    vm: Option<&'a str>,
    pid: Option<u32>,
    vcpu: Option<u32>,
    tid: Option<u32>,
    reason: Option<(Isa, u32)>,
    subkey: String,
    idle: bool,
    count: u64,
    sum_ns: Option<u64>,
    stats: Option<&'a Stats>,
    guest_ns: Option<u64>,
    parts: Option<Parts>,
    known: MeasuredParts,
    counter: Option<&'a Counter>,
    vm_id: Option<String>,
}

impl<'a> Line<'a> {
    fn new(interval: &'a Interval, kind: &str) -> Self {
        Self {
            interval,
            kind: kind.to_owned(),
            vm: None,
            pid: None,
            vcpu: None,
            tid: None,
            reason: None,
            subkey: String::new(),
            idle: false,
            count: 0,
            sum_ns: None,
            stats: None,
            guest_ns: None,
            parts: None,
            known: interval.known,
            counter: None,
            vm_id: None,
        }
    }

    /// Fills in host, VM and vCPU of a thread, as far as rows are grouped by them.
    fn of_thread(self, thread: &'a Thread, by: GroupBy) -> Self {
        let Thread { pid, tid, vcpu, vm, .. } = thread;
        Self {
            vm: by.vm.then_some(vm),
            pid: by.vm.then_some(*pid),
            tid: by.vcpu.then_some(*tid),
            vcpu: vcpu.filter(|_| by.vcpu),
            vm_id: thread.vm_id().key().filter(|_| by.vm),
            ..self
        }
    }

    fn of_group(self, row: &'a Row) -> Self {
        let (vm, thread) = (row.vm(), row.thread());
        let exit = row.cause.is_none();
        Self {
            vm: vm.map(|vm| &*vm.name),
            pid: vm.and_then(|vm| vm.pid),
            vm_id: vm.and_then(VmId::key),
            tid: thread.and_then(|thread| thread.tid),
            vcpu: thread.and_then(|thread| thread.vcpu),
            reason: row.reason,
            subkey: row.cause_label(),
            idle: row.idle && exit,
            count: row.stats.count,
            sum_ns: Some(row.stats.sum_ns),
            stats: Some(&row.stats),
            // A cause has no parts of its own.
            parts: (exit || row.parts != Parts::default()).then_some(row.parts),
            ..self
        }
    }

    fn extremes_ns(&self) -> Option<(u64, u64)> {
        self.stats.and_then(Stats::extremes_ns)
    }

    fn part(&self, part: Part) -> Field {
        Field::Number(self.parts.filter(|_| self.known.has(part)).map(|parts| parts.get(part)))
    }
}

/// A value of a line.
enum Field {
    Number(Option<u64>),
    /// A number of 64 bits, with or without a sign.
    Whole(Option<i128>),
    Mean(Option<f64>),
    Flag(bool),
    /// A word of this program, safe in all formats; empty for none.
    Word(String),
    /// A name from outside, which may hold any character.
    Name(Option<String>),
}

struct Column {
    id: &'static str,
    get: fn(&Line<'_>) -> Field,
}

const fn column(id: &'static str, get: fn(&Line<'_>) -> Field) -> Column {
    Column { id, get }
}

/// The columns before the quantiles.
static COLUMNS: [Column; 20] = [
    column("interval", |line| Field::Number(Some(line.interval.number))),
    column("start_ns", |line| Field::Number(Some(line.interval.start_ns))),
    column("end_ns", |line| Field::Number(Some(line.interval.end_ns))),
    column("end_unix_ms", |line| Field::Number(Some(line.interval.end_unix_ms))),
    column("kind", |line| Field::Word(line.kind.clone())),
    // All lines of an interval are of one host.
    column("host", |line| Field::Name(line.interval.host.clone())),
    column("vm", |line| Field::Name(line.vm.map(str::to_owned))),
    column("pid", |line| Field::Number(line.pid.map(u64::from))),
    column("vcpu", |line| Field::Number(line.vcpu.map(u64::from))),
    column("tid", |line| Field::Number(line.tid.map(u64::from))),
    column("isa", |line| Field::Word(line.reason.map(|(isa, _)| isa.to_string()).unwrap_or_default())),
    column("code", |line| Field::Number(line.reason.map(|(_, code)| u64::from(code)))),
    column("reason", |line| {
        Field::Word(line.reason.map(|(isa, code)| decode(isa, code).to_string()).unwrap_or_default())
    }),
    column("detail", |line| Field::Word(line.subkey.clone())),
    column("idle", |line| Field::Flag(line.idle)),
    column("count", |line| Field::Number(Some(line.count))),
    column("sum_ns", |line| Field::Number(line.sum_ns)),
    column("min_ns", |line| Field::Number(line.extremes_ns().map(|(min_ns, _)| min_ns))),
    column("max_ns", |line| Field::Number(line.extremes_ns().map(|(_, max_ns)| max_ns))),
    column("mean_ns", |line| Field::Mean(line.stats.and_then(Stats::mean_ns))),
];

/// The column between the quantiles and the parts.
static GUEST: Column = column("guest_ns", |line| Field::Number(line.guest_ns));

/// The columns after the parts.
static COUNTER: [Column; 6] = [
    column("vm_fd", |line| Field::Number(line.counter.and_then(|it| it.id.vm_fd).map(u64::from))),
    column("counter_kind", |line| {
        Field::Word(line.counter.map(|it| it.id.kind.id()).unwrap_or_default().into())
    }),
    column("unit", |line| Field::Word(line.counter.map(|it| it.id.unit.id()).unwrap_or_default().into())),
    column("value", |line| Field::Whole(line.counter.and_then(|it| it.value))),
    column("delta", |line| Field::Number(line.counter.and_then(|it| it.delta))),
    column("over_ns", |line| Field::Number(line.counter.map(|it| it.over_ns))),
];

/// The last column.
static VM_ID: Column = column("vm_id", |line| Field::Word(line.vm_id.clone().unwrap_or_default()));

/// All columns of a line, by name.
fn fields<'a>(line: &'a Line<'_>) -> impl Iterator<Item = (&'static str, Field)> + 'a {
    let own = |column: &Column| (column.id, (column.get)(line));
    let quantile = |q: f64| Field::Number(line.stats.and_then(|stats| stats.quantile_ns(q)));
    let quantiles = QUANTILES.iter().map(move |of| (of.id, quantile(of.q)));
    let parts = PARTS.iter().map(|info| (info.column, line.part(info.part)));
    let counter = COUNTER.iter().map(own);
    COLUMNS
        .iter()
        .map(own)
        .chain(quantiles)
        .chain([own(&GUEST)])
        .chain(parts)
        .chain(counter)
        .chain([own(&VM_ID)])
}

/// Writes the long form.
#[derive(Debug)]
pub struct Long {
    form: Form,
    header: Header,
    rows: Rows,
    begun: bool,
}

impl Long {
    /// Lines grouped as `rows` are.
    pub fn new(header: Header, rows: Rows, form: Form) -> Self {
        Self { form, header, rows, begun: false }
    }

    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        match self.form {
            Form::Csv => {
                let ids = |columns: &'static [Column]| columns.iter().map(|column| column.id);
                let quantiles = QUANTILES.iter().map(|quantile| quantile.id);
                let parts = PARTS.iter().map(|info| info.column);
                let mut writer = csv(out);
                writer.write_record(
                    ids(&COLUMNS)
                        .chain(quantiles)
                        .chain([GUEST.id])
                        .chain(parts)
                        .chain(ids(&COUNTER))
                        .chain([VM_ID.id]),
                )?;
                writer.flush()
            }
            Form::Json => {
                let mut header = serde_json::to_value(&self.header)?;
                if let Json::Object(fields) = &mut header {
                    fields.insert("schema".into(), json!(SCHEMA));
                    fields.insert("kind".into(), json!("header"));
                }
                serde_json::to_writer(&mut *out, &header)?;
                writeln!(out)
            }
        }
    }
}

impl Export for Long {
    fn interval(&mut self, out: &mut dyn Write, of: NamedInterval<'_>) -> io::Result<()> {
        self.begin(out)?;
        self.rows.of_interval(of);
        let lines = lines(&self.rows, of);
        match self.form {
            Form::Csv => {
                let mut writer = csv(out);
                lines.iter().try_for_each(|line| writer.write_record(record(line)))?;
                writer.flush()
            }
            Form::Json => lines.iter().try_for_each(|line| {
                serde_json::to_writer(&mut *out, &object(line))?;
                writeln!(out)
            }),
        }
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.begin(out)
    }
}

fn lines<'a>(rows: &'a Rows, of: NamedInterval<'a>) -> Vec<Line<'a>> {
    let (by, selection, interval) = (rows.by(), rows.selection(), of.interval);
    let thread = |index: usize| Some(of.thread(index)).filter(|thread| selection.wants_thread(thread));
    let line = |row: &'a Row| {
        let kind = row.cause.map_or_else(|| "exit".to_owned(), kinds::id);
        Line::new(interval, &kind).of_group(row)
    };
    let vcpus = interval.vcpus.iter().filter_map(|vcpu| {
        let line = Line::new(interval, "vcpu").of_thread(thread(vcpu.thread)?, by);
        let account = &vcpu.account;
        let (guest_ns, parts) = (Some(account.guest_ns), Some(account.parts));
        Some(Line { sum_ns: Some(account.elapsed_ns), guest_ns, parts, count: 1, ..line })
    });
    let open = interval.open.iter().filter(|open| selection.wants_open(open, of)).map(|open| {
        let line = Line::new(interval, "open").of_thread(of.thread(open.thread), by);
        Line { reason: Some((open.isa, open.code)), sum_ns: Some(open.age_ns), count: 1, ..line }
    });
    let last = interval.last_exits.iter().filter(|last| {
        selection.wants_thread(of.thread(last.thread))
            && selection.wants_reason(last.reason.isa, last.reason.code)
    });
    let last = last.map(|last| {
        let line = Line::new(interval, "last_exit").of_thread(of.thread(last.thread), by);
        let subkey = last.reason.user_exit_label().unwrap_or_default();
        Line { reason: Some((last.reason.isa, last.reason.code)), subkey, count: last.count, ..line }
    });
    let losses = rows.losses.nonzero().map(|(info, count)| Line {
        subkey: info.name.to_owned(),
        count,
        ..Line::new(interval, "loss")
    });
    let counters = rows.counters.iter().map(|(_, counter)| Line {
        vm: Some(&counter.id.vm),
        pid: Some(counter.id.pid),
        vcpu: counter.id.vcpu,
        subkey: escape::terminal(&counter.id.name).into_owned(),
        counter: Some(counter),
        ..Line::new(interval, "counter")
    });
    rows.samples().map(line).chain(vcpus).chain(open).chain(last).chain(losses).chain(counters).collect()
}

fn csv(out: &mut dyn Write) -> csv::Writer<&mut dyn Write> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out)
}

fn record(line: &Line<'_>) -> Vec<String> {
    let field = |field: Field| match field {
        Field::Number(number) => number.map(|number| number.to_string()).unwrap_or_default(),
        Field::Whole(number) => number.map(|number| number.to_string()).unwrap_or_default(),
        Field::Mean(mean) => mean.map(|mean| format!("{mean:.3}")).unwrap_or_default(),
        Field::Flag(flag) => flag.to_string(),
        Field::Word(word) => word,
        Field::Name(name) => escape::formula(&name.unwrap_or_default()).into_owned(),
    };
    fields(line).map(|(_, value)| field(value)).collect()
}

fn object(line: &Line<'_>) -> Json {
    let field = |field: Field| match field {
        Field::Number(number) => json!(number),
        Field::Whole(number) => json!(number.map(whole)),
        Field::Mean(mean) => json!(mean),
        Field::Flag(flag) => json!(flag),
        Field::Word(word) => json!((!word.is_empty()).then_some(word)),
        Field::Name(name) => json!(name),
    };
    let mut object: Map<String, Json> =
        fields(line).map(|(id, value)| (id.to_owned(), field(value))).collect();
    if let Some(stats) = line.stats {
        object.insert("buckets".into(), buckets(stats));
    }
    if let Some(counter) = line.counter.filter(|counter| !counter.buckets.is_empty()) {
        object.insert("buckets".into(), counter_buckets(counter));
    }
    Json::Object(object)
}
