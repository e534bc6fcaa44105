//! `refresh`: what the reading side costs on this machine, from events made up for BPF_PROG_TEST_RUN: time and
//! memory of a reading with its table, start-up, size of a dump. Needs root, no guest. Prints Markdown.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    programs::{RawTracePointRunOptions, TestRun as _},
    sys::{Stats, enable_stats},
};
use tracer_ebpf::names;
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

fn main() -> Result<()> {
    println!("## Reading side, on the machine that ran the bench\n");
    println!(
        "{REASONS} reasons for each vCPU, every one of them with new samples at each reading; medians of {READINGS}.\n"
    );
    println!(
        "| vCPUs | start-up | reading | reading and table | of one CPU, at `-d 1` | memory: maps | memory: process | dump, an hour of `-d 1` |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut curve = Vec::new();
    for vcpus in VCPUS {
        let (row, reading) = row(vcpus)?;
        println!("{row}");
        curve.push((vcpus, reading.as_secs_f64() * 1e3));
    }
    println!("\nHow a reading grows with the vCPUs:\n\n```");
    let most = curve.iter().map(|(_, ms)| *ms).fold(f64::MIN_POSITIVE, f64::max);
    for (vcpus, ms) in &curve {
        let bar = "#".repeat((BAR * ms / most).round() as usize);
        println!("{vcpus:>5} vCPUs {ms:>8.2} ms {:>6.1} us each |{bar}", 1e3 * ms / *vcpus as f64);
    }
    println!("```\n");
    native()
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

fn row(vcpus: u64) -> Result<(String, Duration)> {
    let slots = (vcpus * REASONS).max(64) as u32;
    let options = Options { slots, vcpus: vcpus as u32, ..Options::default() };
    let before = resident_kib()?;
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
        let mut writer = Writer::new(Vec::new(), header())?;
        let empty = writer.bytes();
        writer.interval(&interval, session.roster())?;
        bytes = writer.bytes() - empty;
    }
    let maps = u64::from(slots) * size_of::<tracer_ebpf::abi::Slot>() as u64
        + vcpus * size_of::<tracer_ebpf::abi::Vcpu>() as u64;
    let (reading, table) = (median(readings), median(tables));
    let row = format!(
        "| {vcpus} | {} | {} | {} | {:.2} % | {:.1} MiB | {:.1} MiB | {:.0} MiB |",
        ms(start_up),
        ms(reading),
        ms(table),
        100.0 * table.as_secs_f64(),
        maps as f64 / f64::from(1 << 20),
        (resident_kib()?.saturating_sub(before)) as f64 / 1024.0,
        bytes as f64 * 3600.0 / f64::from(1 << 20),
    );
    Ok((row, reading))
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

/// Memory of this process that is in RAM. The mapped tables count once they are touched.
fn resident_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
