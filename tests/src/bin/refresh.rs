//! `refresh`: what the reading side costs on this machine, from events made up for BPF_PROG_TEST_RUN: time and
//! memory of a reading with its table, start-up, size of a dump. Needs root, no guest. Prints Markdown.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    programs::{RawTracePointRunOptions, TestRun as _},
    sys::{Stats, enable_stats},
};
use tracer_ebpf::{histogram::BUCKETS, names};
use tracer_user::{
    kernel::session::{Options, Session},
    model::{By, Interval, Rows, Selection, columns::SortKey},
    recording::{
        Writer,
        lines::{Buckets, Header},
    },
    render::{Printer as _, Span, View, table::Table},
};

const REASONS: u64 = 20;
const VCPUS: [u64; 6] = [1, 16, 64, 128, 256, 512];
/// Pairs of events for the programs' own run time.
const PAIRS: u64 = 100_000;
/// Length of the longest bar of the curve.
const BAR: f64 = 30.0;
const SAMPLES_PER_SLOT: u64 = 3;
const READINGS: u32 = 10;

/// What one machine of so many vCPUs takes.
struct Figures {
    vcpus: u64,
    start_up: Duration,
    reading: Duration,
    /// A reading and its table.
    table: Duration,
    /// In the kernel, bytes.
    locked: u64,
    /// In the process, bytes.
    own: u64,
    /// An hour of dump, bytes.
    dump: u64,
}

fn main() -> Result<()> {
    println!("## Reading side, on the machine that ran the bench\n");
    println!(
        "{REASONS} reasons for each vCPU, every one of them with new samples at each reading; medians of \
         {READINGS}, by a static program as exitlat is shipped. Memory is the kernel's own count of what the maps and programs take, and what the process has \
         beside the maps, which it has mapped.\n"
    );
    println!(
        "| vCPUs | start-up | reading | reading and table | of one CPU, at `-d 1` | memory: maps and programs | process | together | dump, an hour of `-d 1` |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut all = Vec::new();
    for vcpus in VCPUS {
        let figures = measure(vcpus)?;
        println!("{}", row(&figures));
        all.push(figures);
    }
    println!("\nHow a reading grows with the vCPUs:\n\n```");
    let most = all.iter().map(|figures| figures.reading).max().expect("there are rows").as_secs_f64();
    for Figures { vcpus, reading, .. } in &all {
        let bar = "#".repeat((BAR * reading.as_secs_f64() / most).round() as usize);
        let each_us = reading.as_secs_f64() * 1e6 / *vcpus as f64;
        println!("{vcpus:>5} vCPUs {:>9} {each_us:>6.1} us each |{bar}", ms(*reading));
    }
    println!("```\n");
    budgets(all.last().expect("there are rows"));
    native()
}

/// The budgets for the largest machine beside what was measured.
fn budgets(figures: &Figures) {
    let Figures { vcpus, start_up, table, locked, own, .. } = figures;
    println!("Budgets, {vcpus} vCPUs:\n\n| | must | aim | measured |\n|---|---:|---:|---:|");
    println!("| reading and table | 20 ms | 5 ms | {} |", ms(*table));
    println!("| memory | 64 MiB | 32 MiB | {} |", mib(locked + own));
    println!("| start-up | 500 ms | 200 ms | {} |", ms(*start_up));
    let buckets = vcpus * REASONS * 4 * BUCKETS as u64;
    println!(
        "\nOf the memory {} are the {BUCKETS} buckets of each slot, which the quantiles' error bound asks for.\n",
        mib(buckets)
    );
}

/// What the programs' bodies take at this machine's own speed, by the kernel's count (`BPF_ENABLE_STATS`). It counts
/// what is around the programs too.
fn native() -> Result<()> {
    let _counting =
        enable_stats(Stats::RunTime).context("the kernel does not count the programs' run time")?;
    let mut session = Session::load(&Options::default(), None)?;
    let thread = 100 << 32 | 10_000;
    for pair in 0..PAIRS {
        run(&mut session, names::SYNTHETIC_EXIT, &[thread, pair * 1_000 + 1, 2, 0x72, 0])?;
        run(&mut session, names::SYNTHETIC_ENTRY, &[thread, pair * 1_000 + 501])?;
    }
    println!("Run time of the shared bodies at native speed, by the kernel's own count:\n");
    println!("| program | runs | each |\n|---|---:|---:|");
    for name in [names::SYNTHETIC_EXIT, names::SYNTHETIC_ENTRY] {
        let info = session.raw(name)?.info()?;
        let (runs, time) = (info.run_count(), info.run_time());
        println!("| {name} | {runs} | {:.0} ns |", time.as_nanos() as f64 / runs.max(1) as f64);
    }
    Ok(())
}

fn measure(vcpus: u64) -> Result<Figures> {
    let slots = (vcpus * REASONS).max(64) as u32;
    let options = Options { slots, vcpus: vcpus as u32, ..Options::default() };
    let start = Instant::now();
    let mut session = Session::load(&options, None)?;
    for program in [names::SYNTHETIC_EXIT, names::SYNTHETIC_ENTRY] {
        session.raw(program)?;
    }
    let start_up = start.elapsed();
    let mut interval = Interval::default();
    let (mut readings, mut tables, mut bytes) = (Vec::new(), Vec::new(), 0);
    for round in 0..READINGS {
        events(&mut session, vcpus, u64::from(round))?;
        let start = Instant::now();
        session.read(&mut interval)?;
        readings.push(start.elapsed());
        assert_eq!(interval.cells.len() as u64, vcpus * REASONS);
        let mut rows = Rows::new(By::REASON);
        rows.add(&interval, session.roster(), &Selection::default());
        let view =
            View { key: SortKey::Time, idle: false, width: None, color: false, hist: None, columns: None };
        let mut out = Vec::new();
        Table::new(view).print(&mut out, &rows, session.roster(), Span::Interval)?;
        tables.push(start.elapsed());
        let mut writer = Writer::new(std::io::sink(), header())?;
        let empty = writer.bytes();
        writer.interval(&interval, session.roster())?;
        bytes = writer.bytes() - empty;
    }
    Ok(Figures {
        vcpus,
        start_up,
        reading: median(readings),
        table: median(tables),
        locked: locked_bytes()?,
        own: own_bytes()?,
        dump: bytes * 3600,
    })
}

fn row(figures: &Figures) -> String {
    let Figures { vcpus, start_up, reading, table, locked, own, dump } = figures;
    format!(
        "| {vcpus} | {} | {} | {} | {:.2} % | {} | {} | {} | {:.0} MiB |",
        ms(*start_up),
        ms(*reading),
        ms(*table),
        100.0 * table.as_secs_f64(),
        mib(*locked),
        mib(*own),
        mib(locked + own),
        *dump as f64 / f64::from(1 << 20),
    )
}

/// New samples for every slot, spread over buckets as real exits are.
fn events(session: &mut Session, vcpus: u64, round: u64) -> Result<()> {
    for vcpu in 0..vcpus {
        let thread = (vcpu / 8 + 100) << 32 | (vcpu + 10_000);
        for reason in 0..REASONS {
            for sample in 0..SAMPLES_PER_SLOT {
                let ns = (900 + 37 * reason + 211 * round) << sample;
                run(session, names::SYNTHETIC_EXIT, &[thread, 1_000_000, 2, 0x60 + reason, vcpu % 8])?;
                run(session, names::SYNTHETIC_ENTRY, &[thread, 1_000_000 + ns])?;
            }
        }
    }
    Ok(())
}

fn run(session: &mut Session, name: &'static str, arguments: &[u64]) -> Result<()> {
    let mut options = RawTracePointRunOptions::new();
    options.args[..arguments.len()].copy_from_slice(arguments);
    session.raw(name)?.test_run(options)?;
    Ok(())
}

fn header() -> Header {
    let text = String::new;
    Header {
        schema: 1,
        tool: text(),
        host: text(),
        kernel: text(),
        arch: text(),
        cpu: text(),
        backend: text(),
        path: text(),
        options: Vec::new(),
        start_unix_ms: 0,
        sources: Vec::new(),
        buckets: Buckets::default(),
        parts: Vec::new(),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Memory of our maps and programs, by the kernel's own count.
fn locked_bytes() -> Result<u64> {
    let mut objects = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // The directory's own descriptor is gone by now.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        if let Some(bytes) = field("memlock") {
            // Several descriptors may be of one object.
            objects
                .insert([field("map_id"), field("prog_id")].map(|id| id.map(str::to_owned)), bytes.parse()?);
        }
    }
    Ok(objects.values().sum())
}

/// Memory of this process beside the maps, which it has mapped.
fn own_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
