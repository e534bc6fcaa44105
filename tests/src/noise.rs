//! Synthetic recordings for the tests of `diff`: with and without a change, the same for the same seed.

use std::{collections::BTreeMap, f64::consts::TAU, io};

use fastrand::Rng;
use tracer_ebpf::histogram::bucket_of;
use tracer_user::model::provenance::Header;
use tracer_user::{
    decode::Isa,
    model::{
        Cell, GroupBy, Interval, Loss, Parts, Selection, Thread, Threads,
        compare::{RecordingSummary, Summarizer},
    },
    recording::Writer,
};

/// How long exits of a reason take.
#[derive(Clone, Copy, Debug)]
pub struct Distribution {
    /// Name for people.
    pub name: &'static str,
    /// The VMX reason that stands for it.
    pub code: u32,
    /// A duration in ns. The number is the share of the slow mode in a bimodal one.
    pub sample: fn(&mut Rng, f64) -> f64,
}

/// The distributions of the tests.
pub const DISTRIBUTIONS: [Distribution; 5] = [
    Distribution { name: "10 to 30 us", code: 1, sample: |rng, _| 10_000.0 + 20_000.0 * rng.f64() },
    Distribution { name: "exponential", code: 10, sample: |rng, _| 20_000.0 * exponential(rng) },
    Distribution { name: "lognormal", code: 28, sample: |rng, _| 15_000.0 * (0.7 * normal(rng)).exp() },
    Distribution {
        name: "bimodal",
        code: 30,
        sample: |rng, slow| {
            let mode = if rng.f64() < slow { 60_000.0 } else { 5_000.0 };
            mode * (0.1 * normal(rng)).exp()
        },
    },
    Distribution {
        name: "heavy-tailed (Pareto 1.5)",
        code: 32,
        sample: |rng, _| 4_000.0 * uniform(rng).powf(-1.0 / 1.5),
    },
];

/// How a guest behaves over time.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Intervals of 1 s.
    pub intervals: u64,
    /// Exits of each reason in an interval, on average.
    pub exits: f64,
    /// How much rates fluctuate from interval to interval: the standard deviation of their logarithm.
    pub rate: f64,
    /// How much durations and the share of the slow mode fluctuate, in that unit.
    pub duration: f64,
    /// How much of a fluctuation is left after an interval, 0 to 1.
    pub memory: f64,
}

/// A change of all reasons of a recording.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effect {
    /// Every tenth sample takes this much longer, in ns.
    pub tenth_ns: f64,
    /// All durations grow by this share.
    pub longer: f64,
    /// Rates grow by this share.
    pub more: f64,
    /// What took 18 to 60 us takes 18 or 60 us: no usual quantile moves.
    pub hollow: bool,
}

/// A recording of one vCPU, with a reason for each distribution.
pub fn record(distributions: &[Distribution], load: Load, effect: Effect, rng: &mut Rng) -> RecordingSummary {
    let thread = Thread { pid: 1, tid: 1, vcpu: Some(0), vm: "guest".into(), ..Thread::default() };
    let threads = Threads::from(vec![thread]);
    let mut side = Summarizer::new(GroupBy::REASON, Selection::default());
    for interval in intervals(distributions, load, effect, rng) {
        side.add(interval.with(&threads));
    }
    side.finish()
}

/// The intervals of such a recording, with a clock that starts at 0.
pub fn intervals(
    distributions: &[Distribution],
    load: Load,
    effect: Effect,
    rng: &mut Rng,
) -> impl Iterator<Item = Interval> {
    let mut states = vec![[0.0; 2]; distributions.len()];
    (1..=load.intervals).map(move |number| {
        let mut interval = Interval {
            number,
            start_ns: (number - 1) * 1_000_000_000,
            end_ns: number * 1_000_000_000,
            end_unix_ms: number * 1000,
            ..Interval::default()
        };
        for (distribution, state) in distributions.iter().zip(&mut states) {
            for value in state.iter_mut() {
                let fresh = (1.0 - load.memory * load.memory).sqrt();
                *value = load.memory * *value + fresh * normal(rng);
            }
            let (rate, duration) = ((load.rate * state[0]).exp(), (load.duration * state[1]).exp());
            let count = poisson(rng, load.exits * rate * (1.0 + effect.more));
            let samples = (0..count).map(|_| {
                let ns = duration * (distribution.sample)(rng, (0.3 * duration).min(1.0));
                effect.apply(ns, rng) as u64
            });
            push(&mut interval, distribution.code, samples);
        }
        interval
    })
}

/// A recording as a file, of one VM with this name.
pub fn dump(
    header: Header,
    vm: &str,
    distributions: &[Distribution],
    load: Load,
    effect: Effect,
    seed: u64,
) -> io::Result<Vec<u8>> {
    let thread = Thread { pid: 7, tid: 8, vcpu: Some(0), vm: vm.into(), ..Thread::default() };
    let threads = Threads::from(vec![thread]);
    let start = header.start_unix_ms;
    let mut writer = Writer::new(Vec::new(), header)?;
    for mut interval in intervals(distributions, load, effect, &mut Rng::with_seed(seed)) {
        interval.end_unix_ms += start;
        interval.losses.add(Loss::EarlyEntries, interval.number);
        writer.interval(interval.with(&threads))?;
    }
    writer.end("elapsed")
}

/// A header that names this host.
pub fn header(host: &str) -> Header {
    Header {
        tool: "exitlat 0.1.0".into(),
        host: host.into(),
        kernel: "6.1.0".into(),
        arch: "x86_64".into(),
        cpu: "a CPU".into(),
        backend: "kvm_intel".into(),
        path: "raw tracepoints".into(),
        options: vec!["record".into()],
        start_unix_ms: 1_700_000_000_000,
        ..Header::default()
    }
}

impl Effect {
    fn apply(&self, ns: f64, rng: &mut Rng) -> f64 {
        let extra = if self.tenth_ns > 0.0 && rng.u8(..10) == 0 { self.tenth_ns } else { 0.0 };
        let ns = match ns {
            18_000.0..33_000.0 if self.hollow => 18_000.0,
            33_000.0..60_000.0 if self.hollow => 60_000.0,
            _ => ns,
        };
        ns * (1.0 + self.longer) + extra
    }
}

/// Adds a cell with these samples, if there are any.
fn push(interval: &mut Interval, code: u32, samples: impl Iterator<Item = u64>) {
    let (mut count, mut sum_ns, mut min_ns, mut max_ns) = (0, 0, u64::MAX, 0);
    let mut buckets: BTreeMap<u16, u32> = BTreeMap::new();
    for ns in samples {
        count += 1;
        sum_ns += ns;
        min_ns = min_ns.min(ns);
        max_ns = max_ns.max(ns);
        *buckets.entry(bucket_of(ns) as u16).or_default() += 1;
    }
    if count == 0 {
        return;
    }
    let (thread, subkey, parts) = (0, 0, Parts::default());
    let buckets = interval.buckets.add_pairs(&buckets.into_iter().collect::<Vec<_>>());
    let isa = Isa::VMX;
    interval.cells.push(Cell { thread, isa, code, subkey, count, sum_ns, min_ns, max_ns, parts, buckets });
}

/// A uniform number above 0 and up to 1.
fn uniform(rng: &mut Rng) -> f64 {
    1.0 - rng.f64()
}

fn exponential(rng: &mut Rng) -> f64 {
    -uniform(rng).ln()
}

/// A standard normal number, by the method of Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    (2.0 * exponential(rng)).sqrt() * (TAU * rng.f64()).cos()
}

/// A Poisson number, by the normal approximation: good enough for means of hundreds.
fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    (mean + mean.sqrt() * normal(rng)).round().max(0.0) as u64
}
