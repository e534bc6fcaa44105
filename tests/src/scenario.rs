//! Scenarios: events as lines of text, and what must come of them. The same files are run through the pure
//! functions and through the BPF programs.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use tracer_user::{
    model::{Interval, Roster, losses::LOSSES},
    replay::Event,
};

/// The process of all threads that name none.
const PID: u64 = 10;

/// A scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name.
    #[serde(skip)]
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Lines such as `exit tid=1 t=100 svm:0x72`, `entry tid=1 t=600`, `death tid=1`; `pid=` and `vcpu=` may
    /// follow the tid.
    pub events: Vec<String>,
    /// Room for vCPUs and slots.
    #[serde(default)]
    pub limits: Limits,
    /// What comes of it.
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

/// What comes of events, in a form that can be written down.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// By `pid/tid/vcpu isa:code`, count, sum, min and max.
    #[serde(default)]
    pub cells: BTreeMap<String, [u64; 4]>,
    /// By name; those that are zero are left out.
    #[serde(default)]
    pub losses: BTreeMap<String, u64>,
    /// The open exits, as `pid/tid/vcpu isa:code`.
    #[serde(default)]
    pub open: Vec<String>,
}

impl Outcome {
    /// Of an interval. Cells of the same thread, isa and code are refused: they should be one.
    pub fn of(interval: &Interval, roster: &Roster) -> Self {
        let label = |thread: usize, isa: u32, code: u32| {
            let thread = &roster.threads[thread];
            let vcpu = thread.vcpu.map_or_else(|| "-".to_owned(), |vcpu| vcpu.to_string());
            format!("{}/{}/{vcpu} {isa}:{code:#x}", thread.pid, thread.tid)
        };
        let mut cells = BTreeMap::new();
        for cell in &interval.cells {
            let label = label(cell.thread, cell.isa.0, cell.code);
            let in_buckets: u64 = interval.buckets_of(cell).iter().map(|(_, count)| count).sum();
            assert_eq!(in_buckets, cell.count, "{label}");
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
        Self { cells, losses: losses.filter(|(_, count)| *count != 0).collect(), open }
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
/// If it makes no sense.
pub fn event(line: &str) -> Result<(u64, Event)> {
    let mut words = line.split_whitespace();
    let kind = words.next().context("an empty line")?;
    let (mut pid, mut tid, mut now_ns, mut vcpu, mut reason) = (PID, None, None, 0, None);
    for word in words {
        match word.split_once(['=', ':']).with_context(|| format!("`{word}` in `{line}`"))? {
            ("pid", value) => pid = value.parse()?,
            ("tid", value) => tid = Some(value.parse::<u64>()?),
            ("t", value) => now_ns = Some(value.parse::<u64>()?),
            ("vcpu", value) => vcpu = value.parse()?,
            ("vmx", code) => reason = Some((1, number(code)?)),
            ("svm", code) => reason = Some((2, number(code)?)),
            ("isa7", code) => reason = Some((7, number(code)?)),
            _ => bail!("`{word}` in `{line}`"),
        }
    }
    let thread = pid << 32 | tid.with_context(|| format!("no tid in `{line}`"))?;
    let event = match (kind, now_ns, reason) {
        ("exit", Some(now_ns), Some((isa, code))) => Event::Exit { now_ns, isa, code, vcpu },
        ("entry", Some(now_ns), None) => Event::Entry { now_ns },
        ("death", None, None) => Event::Death,
        _ => bail!("`{line}` makes no sense"),
    };
    Ok((thread, event))
}

fn number(text: &str) -> Result<u32> {
    Ok(match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16)?,
        None => text.parse()?,
    })
}
