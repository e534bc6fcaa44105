//! Scenarios: events as lines of text, and the expected outcome. The pure functions and the BPF programs run
//! the same files.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use tracer_ebpf::breakdown::Off;
use tracer_ebpf::{part::Part, subkey};
use tracer_user::{
    model::{Interval, Threads, losses::LOSSES, parts::PARTS},
    replay::Event,
};

/// The process of threads without a `pid=`.
const PID: u64 = 10;

/// A scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name.
    #[serde(skip)]
    pub name: String,
    /// Purpose of the scenario.
    pub about: String,
    /// Lines such as `exit tid=1 t=100 svm:0x72`, `entry tid=1 t=600`, `death tid=1`; `pid=` and `vcpu=` may
    /// follow the tid, and `of=` says which of the thread's vCPUs it is. Between exit and entry: `left t=1
    /// reason=2 errno=0`, `call t=1`, `halted t=1 ns=5 waited=1`, `out t=1 why=asleep`, `in t=1`, `woken
    /// t=1`, `cause kind=6 value=68`. Before an exit: `stamp t=1`.
    pub events: Vec<String>,
    /// Room for vCPUs and slots.
    #[serde(default)]
    pub limits: Limits,
    /// The expected outcome.
    pub expect: Outcome,
}

/// Table sizes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "named like the options")]
pub struct Limits {
    pub vcpus: u32,
    pub slots: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { vcpus: 8, slots: 64 }
    }
}

/// The outcome of events, in the form of the files.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// By `pid/tid/vcpu isa:code`, and `+kind:value` where there is a detail: count, sum, min and max.
    #[serde(default)]
    pub cells: BTreeMap<String, [u64; 4]>,
    /// By the same labels, the parts of those that have others than `kernel`.
    #[serde(default)]
    pub parts: BTreeMap<String, BTreeMap<String, u64>>,
    /// By name; those that are zero are left out.
    #[serde(default)]
    pub losses: BTreeMap<String, u64>,
    /// The open exits, as `pid/tid/vcpu isa:code`.
    #[serde(default)]
    pub open: Vec<String>,
}

impl Outcome {
    /// The outcome of an interval.
    pub fn of(interval: &Interval, threads: &Threads) -> Self {
        let label = |thread: usize, isa: u32, code: u32| {
            let thread = &threads.list[thread];
            let vcpu = thread.vcpu.map_or_else(|| "-".to_owned(), |vcpu| vcpu.to_string());
            format!("{}/{}/{vcpu} {isa}:{code:#x}", thread.pid, thread.tid)
        };
        let (mut cells, mut parts) = (BTreeMap::new(), BTreeMap::new());
        for cell in &interval.cells {
            let mut label = label(cell.thread, cell.isa.0, cell.code);
            if cell.subkey != 0 {
                let (kind, value) = (subkey::kind_of(cell.subkey), subkey::value_of(cell.subkey));
                label.push_str(&format!(" +{kind}:{value}"));
            }
            if cell.parts.total_ns() != cell.parts.get(Part::Kernel) {
                let told = PARTS.iter().map(|info| (info.id.to_owned(), cell.parts.get(info.part)));
                parts.insert(label.clone(), told.filter(|(_, ns)| *ns != 0).collect());
            }
            let in_buckets: u64 = interval.buckets_of(cell).iter().map(|(_, count)| u64::from(count)).sum();
            if !subkey::is_thin(cell.subkey) {
                assert_eq!(in_buckets, cell.count, "{label}");
            }
            // A reused thread has two lives in one interval.
            let total = cells.entry(label).or_insert([0, 0, u64::MAX, 0]);
            total[0] += cell.count;
            total[1] += cell.sum_ns;
            total[2] = total[2].min(cell.min_ns);
            total[3] = total[3].max(cell.max_ns);
        }
        let losses = LOSSES.iter().map(|info| (info.name.to_owned(), interval.losses.get(info.loss)));
        let mut open: Vec<_> =
            interval.open.iter().map(|open| label(open.thread, open.isa.0, open.code)).collect();
        open.sort_unstable();
        Self { cells, parts, losses: losses.filter(|(_, count)| *count != 0).collect(), open }
    }
}

/// All scenario files, by name.
///
/// # Errors
/// If one cannot be read or understood.
pub fn all() -> Result<Vec<Scenario>> {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios"));
    let mut scenarios = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let mut scenario: Scenario = toml::from_str(&text).with_context(|| path.display().to_string())?;
        scenario.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        scenarios.push(scenario);
    }
    ensure!(!scenarios.is_empty(), "no scenarios in {}", directory.display());
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenarios)
}

/// Reads one event line.
///
/// # Errors
/// If the line is not an event.
pub fn event(line: &str) -> Result<(u64, Event)> {
    let mut words = line.split_whitespace();
    let kind = words.next().context("an empty line")?;
    let (mut pid, mut tid, mut now_ns, mut vcpu, mut reason) = (PID, None, None, 0, None);
    let mut identity = None;
    let mut numbers = BTreeMap::new();
    for word in words {
        match word.split_once(['=', ':']).with_context(|| format!("`{word}` in `{line}`"))? {
            ("why", value) => {
                let all = ["running", "runnable", "interruptible", "asleep", "stopped"];
                let why = all.iter().position(|why| *why == value);
                numbers.insert("why", why.with_context(|| format!("`{word}` in `{line}`"))? as i64);
            }
            (name @ ("reason" | "errno" | "ns" | "waited" | "kind" | "value"), value) => {
                numbers.insert(name, value.parse()?);
            }
            ("pid", value) => pid = value.parse()?,
            ("tid", value) => tid = Some(value.parse::<u64>()?),
            ("t", value) => now_ns = Some(value.parse::<u64>()?),
            ("vcpu", value) => vcpu = value.parse()?,
            ("of", value) => identity = Some(value.parse()?),
            ("vmx", code) => reason = Some((1, code_of(code)?)),
            ("svm", code) => reason = Some((2, code_of(code)?)),
            ("isa7", code) => reason = Some((7, code_of(code)?)),
            _ => bail!("`{word}` in `{line}`"),
        }
    }
    let thread = pid << 32 | tid.with_context(|| format!("no tid in `{line}`"))?;
    let number = |name: &str| numbers.get(name).copied().with_context(|| format!("no {name} in `{line}`"));
    let event = match (kind, now_ns, reason) {
        ("left", Some(now_ns), None) => Event::LeftKvm {
            now_ns,
            reason: number("reason")? as u32,
            errno: numbers.get("errno").map_or(0, |errno| *errno as i32),
        },
        ("call", Some(now_ns), None) => Event::EnteredKvm { now_ns },
        ("halted", Some(now_ns), None) => {
            Event::Halted { now_ns, ns: number("ns")? as u64, waited: number("waited")? != 0 }
        }
        ("out", Some(now_ns), None) => Event::SwitchedOut { now_ns, why: Off(number("why")? as u32) },
        ("in", Some(now_ns), None) => Event::SwitchedIn { now_ns },
        ("stamp", Some(now_ns), None) => Event::Stamped { now_ns },
        ("woken", Some(now_ns), None) => Event::Woken { now_ns },
        ("cause", None, None) => {
            Event::Cause { subkey: subkey::new(number("kind")? as u8, number("value")? as u64) }
        }
        ("exit", Some(now_ns), Some((isa, code))) => {
            Event::Exit { now_ns, isa, code, vcpu, identity: identity.unwrap_or(0) }
        }
        ("entry", Some(now_ns), None) => Event::Entry { now_ns, identity },
        ("death", None, None) => Event::Death,
        _ => bail!("`{line}` makes no sense"),
    };
    Ok((thread, event))
}

fn code_of(text: &str) -> Result<u32> {
    Ok(match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16)?,
        None => text.parse()?,
    })
}
