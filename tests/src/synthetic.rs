//! A synthetic recording for the tests of exports: thirty intervals of three VMs, the same on every run.
//!
//! The names of its guests are as hostile as a tenant can choose them.

use tracer_ebpf::{
    histogram::bucket_of,
    part::Part,
    subkey::{kind, new},
};
use tracer_user::model::provenance::Header;
use tracer_user::{
    decode::Isa,
    model::{Account, Cell, Interval, Loss, MeasuredParts, OpenExit, Parts, Thread, Threads, VcpuAccount},
    recording::Writer,
};

/// Intervals of a recording.
pub const INTERVALS: u64 = 30;
/// Length of an interval: a little more than a second, as under load.
const LENGTH_NS: u64 = 1_000_300_000;
/// Wall clock at the start: 2026-11-21 09:15:00 UTC.
const START_UNIX_MS: u64 = 1_795_252_500_000;
/// When, and by what factor, the storage behind `io` and `npf` is slow.
const INCIDENT: std::ops::Range<u64> = 17..22;

/// Names of guests, by process.
pub const GUESTS: [(u32, &str); 3] = [
    (4101, "web01"),
    (4102, "<img src=x onerror=alert(1)>\"'&\u{202e}"),
    (4103, "=cmd|' /C calc'!A1, \"x\"\r\n# EOF\\"),
];

/// A reason: its code, exits per interval and vCPU, the median in ns, the length of the tail, and the share
/// of the VMM.
struct Load {
    code: u32,
    count: u64,
    middle: f64,
    tail: f64,
    user: f64,
    slow: bool,
}

const HLT: u32 = 0x78;

const LOADS: [Load; 8] = [
    Load { code: 0x7b, count: 240, middle: 14_000.0, tail: 0.55, user: 0.7, slow: true },
    Load { code: 0x400, count: 160, middle: 6_000.0, tail: 0.8, user: 0.3, slow: true },
    Load { code: 0x7c, count: 420, middle: 1_500.0, tail: 0.35, user: 0.0, slow: false },
    Load { code: 0x72, count: 300, middle: 1_100.0, tail: 0.3, user: 0.0, slow: false },
    Load { code: 0x60, count: 90, middle: 2_600.0, tail: 0.9, user: 0.0, slow: false },
    Load { code: 0x64, count: 25, middle: 1_900.0, tail: 0.4, user: 0.0, slow: false },
    Load { code: 0x81, count: 60, middle: 2_200.0, tail: 0.6, user: 0.0, slow: false },
    Load { code: HLT, count: 70, middle: 900_000.0, tail: 0.8, user: 0.0, slow: false },
];

/// Contents of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    /// Parts of exits, details, and the time of vCPUs, as a kernel that can tell them gives.
    pub split: bool,
    /// Storage is slow for a while.
    pub incident: bool,
}

/// The header of a recording.
pub fn header() -> Header {
    header_with(&[])
}

/// The header of a recording that knows these parts.
fn header_with(parts: &[Part]) -> Header {
    let options = "record -g web01 --duration 30 -o /home/eve/secret.exitlat -- virsh start web01";
    Header {
        tool: "exitlat 0.1.0".into(),
        host: "node-17".into(),
        kernel: "6.12.48-amd64".into(),
        arch: "x86_64".into(),
        cpu: "a CPU".into(),
        backend: "kvm_amd".into(),
        path: "raw tracepoints".into(),
        options: options.split(' ').map(str::to_owned).collect(),
        start_unix_ms: START_UNIX_MS,
        parts: MeasuredParts::of(parts).ids().map(str::to_owned).collect(),
        ..Header::default()
    }
}

/// The vCPU threads: two of the first VM, one of each other.
pub fn threads() -> Threads {
    let thread = |vm: usize, tid, vcpu| Thread {
        pid: GUESTS[vm].0,
        tid,
        vcpu,
        vm: GUESTS[vm].1.to_owned(),
        ..Thread::default()
    };
    let threads = vec![
        thread(0, 4111, Some(0)),
        thread(0, 4112, Some(1)),
        thread(1, 4121, Some(0)),
        thread(2, 4131, None),
    ];
    threads.into()
}

impl Synthetic {
    /// All intervals.
    pub fn intervals(self) -> Vec<Interval> {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        (1..=INTERVALS).map(|number| self.interval(number, &mut random)).collect()
    }

    /// The recording as a file.
    ///
    /// # Panics
    /// Never: memory does not fail.
    pub fn dump(self) -> Vec<u8> {
        let parts: &[Part] = if self.split { &Part::ALL } else { &[] };
        write(header_with(parts), &self.intervals())
    }

    /// Some intervals of a recording without parts, as a file.
    ///
    /// # Panics
    /// Never: memory does not fail.
    pub fn dump_of(intervals: &[Interval]) -> Vec<u8> {
        write(header(), intervals)
    }

    fn interval(self, number: u64, random: &mut Random) -> Interval {
        let start_ns = 5_000_000_000 + (number - 1) * LENGTH_NS;
        let known = if self.split { MeasuredParts::of(&Part::ALL) } else { MeasuredParts::default() };
        let mut interval = Interval {
            number,
            start_ns,
            end_ns: start_ns + LENGTH_NS,
            end_unix_ms: START_UNIX_MS + number * LENGTH_NS / 1_000_000,
            known,
            ..Interval::default()
        };
        for thread in 0..threads().list.len() {
            self.thread(thread, &mut interval, random);
        }
        interval.losses.add(Loss::EarlyEntries, u64::from(number == 1) * 4);
        interval.losses.add(Loss::UnpairedExits, u64::from(number == 12) * 3);
        interval.open.push(OpenExit { thread: 2, isa: Isa::SVM, code: HLT, age_ns: 5_300_000 });
        interval
    }

    fn thread(self, thread: usize, interval: &mut Interval, random: &mut Random) {
        let mut spent = Parts::default();
        for (index, load) in LOADS.iter().enumerate() {
            // Some reasons occur in some VMs only.
            if (thread + index).is_multiple_of(5) {
                continue;
            }
            let slow = self.incident && load.slow && INCIDENT.contains(&interval.number);
            let factor = if slow { 9.0 } else { 1.0 + 0.3 * thread as f64 };
            let samples: Vec<u64> = (0..load.count + random.next() % 20)
                .map(|_| random.duration(load.middle * factor, load.tail * if slow { 1.6 } else { 1.0 }))
                .collect();
            if load.code == HLT && self.split {
                let handled: Vec<u64> = samples.iter().map(|ns| ns / 14).collect();
                let handled_ns = handled.iter().sum::<u64>();
                let mut parts = split(handled_ns, &[(Part::Poll, 0.7), (Part::Runqueue, 0.1)]);
                parts.add(Part::Halt, samples.iter().sum::<u64>() - handled_ns);
                push(interval, thread, HLT, new(kind::HALTED, 0), &handled, parts);
                push(interval, thread, HLT, new(kind::WHOLE, 0), &samples, Parts::default());
                spent.merge(&parts);
                continue;
            }
            let total = samples.iter().sum::<u64>();
            let waiting = if slow { 0.35 } else { 0.08 };
            let parts = split(
                total,
                &[
                    (Part::User, load.user * (1.0 - waiting)),
                    (Part::UserBlocked, load.user * waiting),
                    (Part::Runqueue, 0.07),
                    (Part::Blocked, 0.02),
                ],
            );
            let known = if self.split { parts } else { Parts::default() };
            push(interval, thread, load.code, 0, &samples, known);
            spent.merge(&known);
            if self.split && load.user > 0.0 {
                let inside: Vec<u64> = samples.iter().map(|ns| ns * 6 / 10).collect();
                let reason = if load.code == 0x7b { 2 } else { 6 };
                push(interval, thread, load.code, new(kind::USER_EXIT, reason), &inside, Parts::default());
            }
        }
        if self.split {
            let elapsed_ns = LENGTH_NS;
            let unaccounted = if interval.number == 12 { 2_000_000 } else { 0 };
            let guest_ns = elapsed_ns.saturating_sub(spent.total_ns() + unaccounted);
            let account = Account { elapsed_ns, guest_ns, parts: spent, ..Account::default() };
            interval.vcpus.push(VcpuAccount { thread, account });
            push(
                interval,
                thread,
                0,
                new(kind::GUEST, 0),
                &[guest_ns / 2, guest_ns - guest_ns / 2],
                Parts::default(),
            );
        }
    }
}

fn write(header: Header, intervals: &[Interval]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header).expect("memory does not fail");
    for interval in intervals {
        writer.interval(interval.with(&threads())).expect("memory does not fail");
    }
    writer.end("elapsed").expect("memory does not fail")
}

/// Divides a time into parts; the rest is the kernel's.
fn split(total: u64, shares: &[(Part, f64)]) -> Parts {
    let mut parts = Parts::default();
    shares.iter().for_each(|(part, share)| parts.add(*part, (total as f64 * share) as u64));
    parts.add(Part::Kernel, total - parts.total_ns());
    parts
}

/// Adds a cell with these samples.
///
/// # Panics
/// If there is none.
pub fn push(interval: &mut Interval, thread: usize, code: u32, subkey: u64, samples: &[u64], parts: Parts) {
    let mut pairs: Vec<(u16, u32)> = Vec::new();
    let mut buckets: Vec<u16> = samples.iter().map(|ns| bucket_of(*ns) as u16).collect();
    buckets.sort_unstable();
    for bucket in buckets {
        match pairs.last_mut() {
            Some((last, count)) if *last == bucket => *count += 1,
            _ => pairs.push((bucket, 1)),
        }
    }
    let (min_ns, max_ns) = (samples.iter().min().copied(), samples.iter().max().copied());
    interval.cells.push(Cell {
        thread,
        isa: Isa::SVM,
        code,
        subkey,
        count: samples.len() as u64,
        sum_ns: samples.iter().sum(),
        min_ns: min_ns.expect("there are samples"),
        max_ns: max_ns.expect("there are samples"),
        parts,
        buckets: interval.buckets.add_pairs(&pairs),
    });
}

/// Marsaglia's xorshift: the same numbers on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// About log-normal, with an exit in a hundred that takes far longer.
    fn duration(&mut self, middle: f64, tail: f64) -> u64 {
        let mut unit = || (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let bell = (0..6).map(|_| unit()).sum::<f64>() - 3.0;
        let rare = if unit() > 0.99 { 4.0 + 20.0 * unit() } else { 1.0 };
        (middle * (bell * tail).exp() * rare) as u64 + 300
    }
}
