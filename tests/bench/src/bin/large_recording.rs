//! `large-recording FILE [CAUSES]`: writes the recording by which the time of `exitlat report` is measured,
//! the same at every run. 512 vCPUs in 128 VMs have samples of 20 reasons in each of 30 intervals. With a
//! number of causes it is one vCPU with so many below one reason.

use std::{
    env,
    fs::{self, File},
    io::BufWriter,
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use exitlat_tests::{causes, noise::header, synthetic::push};
use fastrand::Rng;
use tracer_user::{
    model::{Interval, Parts, Thread, Threads},
    recording::Writer,
};

const VMS: u32 = 128;
const VCPUS: u32 = 4;
const REASONS: u32 = 20;
const INTERVALS: u64 = 30;
const SECOND_NS: u64 = 1_000_000_000;
/// Samples of a reason in an interval.
const SAMPLES: usize = 100;
/// Length of the shortest sample in ns. The longest has as many octaves above it as [`OCTAVES`].
const SHORTEST_NS: f64 = 1_000.0;
const OCTAVES: f64 = 5.0;
/// The first of the exit codes.
const FIRST_CODE: u32 = 0x60;

fn main() -> Result<()> {
    let path: PathBuf = env::args_os().nth(1).context("name the file to write")?.into();
    if let Some(number) = env::args().nth(2) {
        let number = number.parse().with_context(|| format!("{number} is no number of causes"))?;
        let whole = causes::recording(number, INTERVALS);
        println!("{}: {number} causes, {} bytes", path.display(), whole.len());
        return fs::write(&path, whole).with_context(|| format!("cannot write {}", path.display()));
    }
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut writer = Writer::new(BufWriter::new(file), header("host"))?;
    let threads = threads();
    let mut random = Rng::with_seed(1);
    let mut interval = Interval::default();
    for number in 1..=INTERVALS {
        fill(&mut interval, number, threads.list.len(), &mut random);
        writer.interval(interval.with(&threads))?;
    }
    writer.finish("elapsed")?;
    println!("{}: {} slots, {} bytes", path.display(), INTERVALS * slots(), writer.bytes());
    Ok(())
}

/// Slots of an interval.
const fn slots() -> u64 {
    VMS as u64 * VCPUS as u64 * REASONS as u64
}

fn threads() -> Threads {
    let thread = |index: u32| {
        let (vm, vcpu) = (index / VCPUS, index % VCPUS);
        let pid = 10_000 + 16 * vm;
        Thread { pid, tid: pid + 8 + vcpu, vcpu: Some(vcpu), vm: format!("web-{vm:03}"), ..Thread::default() }
    };
    (0..VMS * VCPUS).map(thread).collect::<Vec<_>>().into()
}

fn fill(interval: &mut Interval, number: u64, threads: usize, random: &mut Rng) {
    interval.cells.clear();
    interval.buckets.clear();
    interval.number = number;
    interval.start_ns = number * SECOND_NS;
    interval.end_ns = interval.start_ns + SECOND_NS;
    interval.end_unix_ms = interval.end_ns / 1_000_000;
    for thread in 0..threads {
        for reason in 0..REASONS {
            let sample = |_| (SHORTEST_NS * (OCTAVES * random.f64()).exp2()) as u64;
            let samples: [u64; SAMPLES] = std::array::from_fn(sample);
            push(interval, thread, FIRST_CODE + reason, 0, &samples, Parts::default());
        }
    }
}
