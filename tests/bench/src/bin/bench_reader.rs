//! `bench-reader`: what snapshots cost on this machine: time and memory of a snapshot with its table,
//! start-up time, size of a recording. The events are made up, by BPF_PROG_TEST_RUN. Needs root and KVM with
//! its tracepoints, but no guest. Prints Markdown. With `EXITLAT_BENCH_CPU` set it says on stderr how much
//! CPU time each step took, which other programs on the machine disturb less.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    programs::{RawTracePointRunOptions, TestRun as _},
    sys::{Stats, enable_stats},
};
use tracer_ebpf::{
    abi,
    histogram::{BUCKETS, bucket_of, midpoint_of},
    symbols,
};
use tracer_user::model::provenance::Header;
use tracer_user::{
    kernel::session::{OBJECT, Options, Session},
    model::{GroupBy, Interval, Rows},
    recording::Writer,
    render::{Printer as _, Span, View, table::Table},
};

const REASONS: u64 = 20;
const VCPUS: [u64; 6] = [1, 16, 64, 128, 256, 512];
/// Time from one exit to the next.
const STEP_NS: u64 = 2_000_000;
/// The process of all made-up threads. The programs trace no other, so they do not count this machine's
/// guests.
const PID: u64 = 1;
/// Above every tid that Linux gives out (PID_MAX_LIMIT), so no scheduler event of this machine is of such a
/// thread.
const FIRST_TID: u64 = 1 << 23;
/// Pairs of events for the programs' own run time, and the most vCPUs that have them.
const PAIRS: u64 = 100_000;
const MANY: u64 = 1_000;
/// Length of the longest bar of the curve, in characters.
const BAR: f64 = 30.0;
const READINGS: u32 = 5;

/// The cost of tracing a machine with `vcpus` vCPUs.
struct Figures {
    vcpus: u64,
    /// Size of the slot table.
    slots: u32,
    /// Time until all programs are attached.
    start_up: Duration,
    /// Time of a snapshot.
    reading: Duration,
    /// Time of a snapshot and its table.
    table: Duration,
    /// Memory of maps and programs in the kernel.
    locked_bytes: u64,
    /// Memory of the process.
    own_bytes: u64,
    /// Size of an hour's recording.
    dump_bytes: u64,
}

/// Status of a run in which a limit was missed.
const MISSED: u8 = 3;

fn main() -> Result<ExitCode> {
    println!("## Reading side, on the machine that ran the bench\n");
    println!(
        "{REASONS} reasons for each vCPU, each with {} new samples between 1 us and 1 ms at each snapshot, no two in one \
         bucket.\nTimes are medians of {READINGS}, by a static program as exitlat is shipped. Memory is the kernel's own \
         count for maps and\nprograms, and the process's memory beside the maps, without its program text. Each snapshot \
         spends some 0.2 ms on\nthe unused places of the tables. Real samples have larger counts, which are longer in a \
         recording: docs/recording.md\nhas its size with those.\n",
        spread().len()
    );
    println!(
        "| vCPUs | --slots | start-up | snapshot | snapshot and table | of one CPU, at `-d 1` | memory: maps and programs | process | together | recording, an hour of `-d 1` |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut all = Vec::new();
    // Other numbers of vCPUs may be given, for a short run.
    let given = std::env::args().skip(1).map(|number| number.parse()).collect::<Result<Vec<u64>, _>>()?;
    for vcpus in if given.is_empty() { VCPUS.to_vec() } else { given } {
        let figures = measure(vcpus)?;
        println!("{}", row(&figures));
        all.push(figures);
    }
    println!("\nTime of a snapshot by vCPUs:\n\n```");
    let most = all.iter().map(|figures| figures.reading).max().expect("there are rows").as_secs_f64();
    for Figures { vcpus, reading, .. } in &all {
        let bar = "#".repeat((BAR * reading.as_secs_f64() / most).round() as usize);
        let each_us = reading.as_secs_f64() * 1e6 / *vcpus as f64;
        println!("{vcpus:>5} vCPUs {:>9} {each_us:>6.1} us each |{bar}", ms(*reading));
    }
    println!("```\n");
    let missed = budgets(all.last().expect("there are rows"));
    native()?;
    Ok(if missed { ExitCode::from(MISSED) } else { ExitCode::SUCCESS })
}

/// Prints the budgets of the largest machine beside its figures. Returns whether one was missed.
fn budgets(figures: &Figures) -> bool {
    let Figures { vcpus, slots, start_up, table, locked_bytes, own_bytes, dump_bytes, .. } = figures;
    println!("Budgets, {vcpus} vCPUs: limits and aims.\n\n| | must | aim | measured |\n|---|---:|---:|---:|");
    let memory_mib = (locked_bytes + own_bytes) as f64 / f64::from(1 << 20);
    let lines = exitlat_tests::bpf::lines_of_a_pair(OBJECT).map_or(f64::INFINITY, |lines| lines.len() as f64);
    let line_bytes = (dump_bytes / 3600 / (vcpus * REASONS)) as f64;
    let mut any_missed = false;
    for (what, unit, must, aim, measured) in [
        ("snapshot and table", "ms", 6.0, 4.0, table.as_secs_f64() * 1e3),
        ("memory", "MiB", 40.0, 24.0, memory_mib),
        ("start-up", "ms", 90.0, 50.0, start_up.as_secs_f64() * 1e3),
        ("lines of 64 bytes that a pair touches", "", 7.0, 6.0, lines),
        ("a slot's line in a recording", "bytes", 340.0, 250.0, line_bytes),
    ] {
        let missed = measured > must;
        any_missed |= missed;
        let mark = if missed { " (missed)" } else { "" };
        println!("| {what} | {must:.0} {unit} | {aim:.0} {unit} | {measured:.1} {unit}{mark} |");
    }
    let buckets = u64::from(*slots) * 4 * BUCKETS as u64;
    println!(
        "\nOf the memory {} are the {BUCKETS} buckets of each slot in the maps, which the quantiles' error bound \
         requires.\nThe process keeps a copy of each used bucket from the last snapshot. The time of a snapshot depends \
         on the buckets\nwith new samples: {} of them here.\n",
        mib(buckets),
        vcpus * REASONS * spread().len() as u64
    );
    any_missed
}

/// Prints the run time of the programs at this machine's own speed, by the kernel's count
/// (`BPF_ENABLE_STATS`), which includes the kernel's own work around each run.
fn native() -> Result<()> {
    let _counting =
        enable_stats(Stats::RunTime).context("the kernel does not count the programs' run time")?;
    println!(
        "Run time of the shared bodies at native speed, by the kernel's own count, where a thread's number tells its \
         entry.\nBetween two runs is a system call, which takes cache lines of its own.\n"
    );
    println!("| | runs of each | exit | entry |\n|---|---:|---:|---:|");
    let all: Vec<u64> = (0..MANY).collect();
    for (what, vcpus) in [
        ("one vCPU", &all[..1]),
        ("1,000 vCPUs in random order", &all),
        ("two vCPUs with one place for their hints, in turn", &[0, abi::HINTS as u64]),
    ] {
        let mut session = Session::load(&Options::default(), None)?;
        let (mut random, mut now_ns) = (1_u64, 1);
        let mut pair = |session: &mut Session, vcpu: u64| {
            let thread = 100 << 32 | (10_000 + vcpu);
            run(session, symbols::SYNTHETIC_EXIT, &[thread, now_ns, 2, 0x72, vcpu])?;
            now_ns += 1_000;
            run(session, symbols::SYNTHETIC_ENTRY, &[thread, now_ns - 500])
        };
        // Everything is there before it is measured.
        vcpus.iter().try_for_each(|vcpu| pair(&mut session, *vcpu))?;
        let before = run_times(&mut session)?;
        for round in 0..PAIRS {
            // Knuth's multiplier (MMIX); the upper bits are the random ones.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let next = if vcpus.len() > 2 { random >> 33 } else { round };
            pair(&mut session, vcpus[next as usize % vcpus.len()])?;
        }
        let after = run_times(&mut session)?;
        let [exit, entry] = [0, 1].map(|n| (after[n] - before[n]).as_nanos() as f64 / PAIRS as f64);
        println!("| {what} | {PAIRS} | {exit:.0} ns | {entry:.0} ns |");
    }
    println!(
        "\nBefore entries and slots were laid out by lines (commit 5bd8c93) the same measurement gave 51 and 61 ns for one\n\
         vCPU, and 64 and 83 ns for 1,000."
    );
    Ok(())
}

/// How long the programs of an exit and of an entry have run.
fn run_times(session: &mut Session) -> Result<[Duration; 2]> {
    let mut of = |name| anyhow::Ok(session.raw(name)?.info()?.run_time());
    Ok([of(symbols::SYNTHETIC_EXIT)?, of(symbols::SYNTHETIC_ENTRY)?])
}

fn measure(vcpus: u64) -> Result<Figures> {
    let slots = abi::DEFAULT_SLOTS.max((vcpus * REASONS) as u32);
    let options = Options { slots, filter: true, ..Options::default() };
    let (start, cpu_start) = (Instant::now(), cpu_time());
    let mut session =
        Session::start(&options, &[PID as u32]).context("exitlat cannot watch this machine's KVM")?;
    let start_up = start.elapsed();
    told("start-up", cpu_start);
    for program in [symbols::SYNTHETIC_EXIT, symbols::SYNTHETIC_ENTRY] {
        session.raw(program)?;
    }
    let mut interval = Interval::default();
    // As `live` does: the rows of a snapshot are those of the last one with other numbers.
    let mut rows = Rows::new(GroupBy::REASON);
    let (mut readings, mut tables, mut bytes) = (Vec::new(), Vec::new(), 0);
    for round in 0..READINGS {
        events(&mut session, vcpus, u64::from(round))?;
        let (start, cpu_start) = (Instant::now(), cpu_time());
        session.read(&mut interval)?;
        readings.push(start.elapsed());
        told("snapshot", cpu_start);
        assert_eq!(interval.cells.len() as u64, vcpus * REASONS);
        assert_eq!(interval.exits(), vcpus * REASONS * spread().len() as u64);
        rows.of_interval(interval.with(session.threads()));
        let view = View::default();
        let mut out = Vec::new();
        Table::new(view).print(&mut out, &rows, Span::Interval)?;
        tables.push(start.elapsed());
        told("snapshot and table", cpu_start);
        let mut writer = Writer::new(io::sink(), Header::default())?;
        let empty = writer.bytes();
        writer.interval(interval.with(session.threads()))?;
        bytes = writer.bytes() - empty;
    }
    Ok(Figures {
        vcpus,
        slots,
        start_up,
        reading: median(readings),
        table: median(tables),
        locked_bytes: locked_bytes()?,
        own_bytes: own_bytes()?,
        dump_bytes: bytes * 3600,
    })
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `now` alone.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn told(step: &str, start: Duration) {
    if std::env::var_os("EXITLAT_BENCH_CPU").is_some() {
        eprintln!("{step}: {}", ms(cpu_time() - start));
    }
}

fn row(figures: &Figures) -> String {
    let Figures { vcpus, slots, start_up, reading, table, locked_bytes, own_bytes, dump_bytes } = figures;
    format!(
        "| {vcpus} | {slots} | {} | {} | {} | {:.2} % | {} | {} | {} | {:.0} MiB |",
        ms(*start_up),
        ms(*reading),
        ms(*table),
        100.0 * table.as_secs_f64(),
        mib(*locked_bytes),
        mib(*own_bytes),
        mib(locked_bytes + own_bytes),
        *dump_bytes as f64 / f64::from(1 << 20),
    )
}

/// The buckets of one reason's samples between two snapshots: from 1 us to 1 ms, as for the size in
/// docs/recording.md.
fn spread() -> Range<usize> {
    bucket_of(1_000)..bucket_of(1_000_000)
}

/// New samples for every slot: one in each bucket of [`spread`].
fn events(session: &mut Session, vcpus: u64, round: u64) -> Result<()> {
    for vcpu in 0..vcpus {
        let thread = PID << 32 | (FIRST_TID + vcpu);
        // Times continue where the last round stopped.
        let mut now_ns = 1 + round * REASONS * spread().len() as u64 * STEP_NS;
        for reason in 0..REASONS {
            for bucket in spread() {
                run(session, symbols::SYNTHETIC_EXIT, &[thread, now_ns, 2, 0x60 + reason, vcpu])?;
                run(session, symbols::SYNTHETIC_ENTRY, &[thread, now_ns + midpoint_of(bucket)])?;
                now_ns += STEP_NS;
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

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Memory of this process's maps and programs, by the kernel's own count.
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

/// Memory of this process without the maps, which are mapped into it.
fn own_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
