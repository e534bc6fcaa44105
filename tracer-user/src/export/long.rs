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
//! | `loss` | a loss; `detail` is its name, `count` how often |

use std::io::{self, Write};

use serde_json::{Map, Value as Json, json};
use tracer_ebpf::part::Part;

use crate::{
    decode::{Isa, decode},
    export::Export,
    model::provenance::Header,
    model::{
        Group, GroupBy, Groups, Interval, Loss, MeasuredParts, Parts, Selection, Stats, Thread, Threads,
        kinds, losses::LOSSES, parts::PARTS,
    },
    render::{escape, json::buckets},
};

/// Shape of the JSON objects.
pub const SCHEMA: &str = "exitlat.export/1";

/// Which of the two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// RFC 4180, with a heading.
    Csv,
    /// One object a line; the first is the recording's header.
    Json,
}

/// A line.
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
        }
    }

    /// Says of a thread what groups are told apart by.
    fn of_thread(self, thread: &'a Thread, by: GroupBy) -> Self {
        let Thread { pid, tid, vcpu, vm, host: _ } = thread;
        Self {
            vm: by.vm.then_some(vm),
            pid: by.vm.then_some(*pid),
            tid: by.vcpu.then_some(*tid),
            vcpu: vcpu.filter(|_| by.vcpu),
            ..self
        }
    }

    fn of_group(self, group: &'a Group) -> Self {
        let (vm, thread) = (group.key.vm.as_ref(), group.thread.as_ref());
        let exit = group.key.cause.is_none();
        Self {
            vm: vm.map(|(_, vm)| vm.as_str()),
            pid: vm.map(|(pid, _)| *pid),
            tid: thread.map(|thread| thread.tid),
            vcpu: thread.and_then(|thread| thread.vcpu),
            reason: group.key.reason,
            subkey: group.cause_label(),
            idle: group.key.idle,
            count: group.stats.count,
            sum_ns: Some(group.stats.sum_ns),
            stats: Some(&group.stats),
            // Causes have none of their own.
            parts: (exit || group.parts != Parts::default()).then_some(group.parts),
            ..self
        }
    }

    fn part(&self, part: Part) -> Field {
        Field::Number(self.parts.filter(|_| self.known.has(part)).map(|parts| parts.get(part)))
    }
}

/// A value of a line.
enum Field {
    Number(Option<u64>),
    Mean(Option<f64>),
    Flag(bool),
    /// Our own word; empty for none.
    Word(String),
    /// A name that others chose.
    Name(Option<String>),
}

struct Column {
    id: &'static str,
    get: fn(&Line<'_>) -> Field,
}

const fn column(id: &'static str, get: fn(&Line<'_>) -> Field) -> Column {
    Column { id, get }
}

fn quantile(line: &Line<'_>, q: f64) -> Field {
    Field::Number(line.stats.and_then(|stats| stats.quantile_ns(q)))
}

/// The columns before the parts.
static COLUMNS: [Column; 25] = [
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
    column("min_ns", |line| Field::Number(line.stats.map(|stats| stats.min_ns))),
    column("max_ns", |line| Field::Number(line.stats.map(|stats| stats.max_ns))),
    column("mean_ns", |line| Field::Mean(line.stats.and_then(Stats::mean_ns))),
    column("p50_ns", |line| quantile(line, 0.5)),
    column("p90_ns", |line| quantile(line, 0.9)),
    column("p99_ns", |line| quantile(line, 0.99)),
    column("p999_ns", |line| quantile(line, 0.999)),
    column("guest_ns", |line| Field::Number(line.guest_ns)),
];

/// Writes the long form.
#[derive(Debug)]
pub struct Long {
    form: Form,
    header: Header,
    groups: Groups,
    begun: bool,
}

impl Long {
    /// One line for each of these groups.
    pub fn new(header: Header, by: GroupBy, form: Form) -> Self {
        Self { form, header, groups: Groups::new(by), begun: false }
    }

    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        match self.form {
            Form::Csv => {
                let parts = PARTS.iter().map(|info| format!("{}_ns", info.id));
                let ids = COLUMNS.iter().map(|column| column.id.to_owned());
                let mut writer = csv(out);
                writer.write_record(ids.chain(parts))?;
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
    fn interval(
        &mut self,
        out: &mut dyn Write,
        interval: &Interval,
        threads: &Threads,
        selection: &Selection,
    ) -> io::Result<()> {
        self.begin(out)?;
        self.groups.clear();
        self.groups.add(interval, threads, selection);
        let lines = lines(&self.groups, interval, threads, selection);
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

fn lines<'a>(
    groups: &'a Groups,
    interval: &'a Interval,
    threads: &'a Threads,
    selection: &Selection,
) -> Vec<Line<'a>> {
    let by = groups.by();
    let thread = |index: usize| Some(&threads.list[index]).filter(|thread| selection.wants_thread(thread));
    let group = |group: &'a Group| {
        let kind = group.key.cause.map_or_else(|| "exit".to_owned(), kinds::id);
        Line::new(interval, &kind).of_group(group)
    };
    let vcpus = interval.vcpus.iter().filter_map(|vcpu| {
        let line = Line::new(interval, "vcpu").of_thread(thread(vcpu.thread)?, by);
        let (guest_ns, parts) = (Some(vcpu.guest_ns), Some(vcpu.parts));
        Some(Line { sum_ns: Some(vcpu.elapsed_ns), guest_ns, parts, count: 1, ..line })
    });
    let open = interval.open.iter().filter(|open| selection.wants_open(open, threads)).map(|open| {
        let line = Line::new(interval, "open").of_thread(&threads.list[open.thread], by);
        Line { reason: Some((open.isa, open.code)), sum_ns: Some(open.age_ns), count: 1, ..line }
    });
    let mut losses = interval.losses;
    losses.add(Loss::UnknownCodes, groups.unknown);
    let losses =
        LOSSES.iter().map(move |info| (info, losses.get(info.loss))).filter(|(_, count)| *count != 0);
    let losses = losses.map(|(info, count)| Line {
        subkey: info.name.to_owned(),
        count,
        ..Line::new(interval, "loss")
    });
    groups.iter().map(group).chain(vcpus).chain(open).chain(losses).collect()
}

fn csv(out: &mut dyn Write) -> csv::Writer<&mut dyn Write> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out)
}

fn record(line: &Line<'_>) -> Vec<String> {
    let field = |field: Field| match field {
        Field::Number(number) => number.map(|number| number.to_string()).unwrap_or_default(),
        Field::Mean(mean) => mean.map(|mean| format!("{mean:.3}")).unwrap_or_default(),
        Field::Flag(flag) => flag.to_string(),
        Field::Word(word) => word,
        Field::Name(name) => escape::formula(&name.unwrap_or_default()).into_owned(),
    };
    let parts = PARTS.iter().map(|info| field(line.part(info.part)));
    COLUMNS.iter().map(|column| field((column.get)(line))).chain(parts).collect()
}

fn object(line: &Line<'_>) -> Json {
    let field = |field: Field| match field {
        Field::Number(number) => json!(number),
        Field::Mean(mean) => json!(mean),
        Field::Flag(flag) => json!(flag),
        Field::Word(word) => json!((!word.is_empty()).then_some(word)),
        Field::Name(name) => json!(name),
    };
    let mut object: Map<String, Json> =
        COLUMNS.iter().map(|column| (column.id.to_owned(), field((column.get)(line)))).collect();
    for info in &PARTS {
        object.insert(format!("{}_ns", info.id), field(line.part(info.part)));
    }
    if let Some(stats) = line.stats {
        object.insert("buckets".into(), buckets(stats));
    }
    Json::Object(object)
}
