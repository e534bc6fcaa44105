//! The files that cases name: fixtures, and made-up recordings.

use std::{
    fs::{self, File},
    io::Write as _,
    ops::RangeInclusive,
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use exitlat_tests::{
    noise::{self, DISTRIBUTIONS, Effect, Load},
    patched::Patched,
    program,
    synthetic::{Synthetic, header, threads},
};
use tracer_user::{
    decode::{
        Isa,
        counters::{Kind, meaning},
    },
    identity::{Identity, Kind as Fact, Source},
    model::{
        ClockChange, Counter, CounterId, Interval, LastExit, LastReason, Origin, Thread, Threads,
        losses::LOSSES, provenance::Header,
    },
    recording::{Reader, Writer},
};

use crate::perfdata::unpacked;

/// Writes the file of this name into a directory, if it is one of those below and not there yet.
pub fn place(dir: &Path, name: &str) {
    let path = dir.join(name);
    if path.exists() {
        return;
    }
    let content = match name {
        // Recorded in the labs; tests/fixtures/README.md says how.
        "lab.exitlat" => include_bytes!("../../fixtures/schema-1.exitlat").to_vec(),
        "parts.exitlat" => include_bytes!("../../fixtures/schema-2.exitlat").to_vec(),
        "two-hosts.exitlat" => include_bytes!("../../fixtures/schema-2-merged.exitlat").to_vec(),
        "s390x.exitlat" => include_bytes!("../../fixtures/lab-6.12-s390x.exitlat").to_vec(),
        "perf.data" => unpacked(include_bytes!("../../fixtures/perf-6.1-svm.data.zst")),
        "perf-empty.data" => patched().empty(),
        "perf-lost.data" => patched().lost(),
        "perf-pidns.data" => patched().pid_namespace(),
        "perf-sev-es.data" => patched().sev_es(),
        "perf-triple-fault.data" => patched().triple_fault(),
        "perf-s390x.data" => unpacked(include_bytes!("../../fixtures/perf-6.1-s390x.data.zst")),

        // Three VMs with parts, causes, time in the guest, losses, and an open exit.
        "fleet.exitlat" => fleet(11..=13),
        // Three such VMs later, on another host.
        "rack2.exitlat" => Made { host: "node-18", ..Made::FLEET }.write(14..=16, |_, _| ()),
        // Guest names as hostile as a tenant can choose them.
        "hostile.exitlat" => Made { names: None, ..Made::FLEET }.write(11..=12, |_, _| ()),
        // No part is known.
        "plain.exitlat" => Made { names: None, split: false, ..Made::FLEET }.write(11..=12, |_, _| ()),
        // A suspended machine, and every kind of loss.
        "losses.exitlat" => Made::FLEET.write(14..=14, |interval, _| add_losses(interval)),

        // KVM's own counters of two VMs and of a vCPU; one is set to zero in the second interval.
        "known.exitlat" => Made::FLEET.write(11..=13, |_, threads| add_facts(threads)),
        "counters.exitlat" => Made::FLEET.write(11..=13, |interval, _| add_counters(interval)),

        // One guest for 20 s each; in the second one every tenth exit is slow.
        "base.exitlat" => guest("one", 0, 20, Effect::default(), 1),
        "slow.exitlat" => guest("one", 0, 20, Effect { tenth_ns: 50_000.0, ..Effect::default() }, 2),
        // A guest with another load on another host, and too short a recording.
        "other.exitlat" => guest("two", 1, 20, Effect::default(), 3),
        "short.exitlat" => guest("one", 0, 3, Effect::default(), 4),

        "merged.exitlat" => return merged(dir),
        // As `perf record --threads` makes it.
        "perf.dir" => {
            fs::create_dir(&path).unwrap();
            return fs::write(path.join("data"), b"PERFILE2h\0\0\0\0\0\0\0").unwrap();
        }
        "torn.exitlat" => {
            let whole = fleet(11..=13);
            whole[..whole.len() / 2].to_vec()
        }
        "torn.data" => {
            let whole = unpacked(include_bytes!("../../fixtures/perf-6.1-svm.data.zst"));
            whole[..whole.len() / 2].to_vec()
        }
        "damaged.exitlat" => replaced(fleet(11..=11), "\"count\":", "\"count\":-"),
        // The sum is larger than the count times the maximum.
        "damaged-sum.exitlat" => replaced(fleet(11..=11), "\"ns\":[", "\"ns\":[9999999"),
        // Two VMs are gone: one vCPU died of a triple fault, one could not enter, two were halted.
        "killed.exitlat" => Made::FLEET.write(14..=14, add_last_exits),
        "newer.exitlat" => replaced(fleet(11..=11), "\"schema\":3", "\"schema\":99"),
        "idle.exitlat" => Made::FLEET.write(11..=11, |interval, _| interval.reset()),
        "header.exitlat" => {
            let mut whole = fleet(11..=11);
            let line = whole.iter().position(|byte| *byte == b'\n').expect("the header is a line");
            whole.truncate(line + 1);
            whole
        }
        // Files of other tools.
        "trace.dat" => b"\x17\x08\x44tracing6\0\0\x08\0\x10\0\0header_page\0".to_vec(),
        "script.txt" => {
            b" fc_vcpu 1  5200 [039] 1377662.550600: kvm:kvm_exit: reason HLT rip 0x0 info 0 0\n".to_vec()
        }
        "text.xz" => b"\xfd7zXZ\0\0\x04".to_vec(),
        "twice.gz" => gzip(&gzip(b"no recording\n")),

        // Compressed recordings.
        "fleet.gz" => gzip(&fleet(11..=13)),
        "perf.data.gz" => gzip(&unpacked(include_bytes!("../../fixtures/perf-6.1-svm.data.zst"))),
        "perf.data.zst" => include_bytes!("../../fixtures/perf-6.1-svm.data.zst").to_vec(),
        "torn.gz" => {
            let whole = gzip(&fleet(11..=13));
            whole[..whole.len() / 2].to_vec()
        }
        // Small files that decompress to very large ones.
        "bomb.zst" => zstd_zeros(b"", 1 << 31),
        "bomb.data.zst" => zstd_zeros(b"PERFILE2h\0\0\0\0\0\0\0", 1 << 31),
        "empty" => Vec::new(),
        "text" => b"no recording\n".to_vec(),
        "exists.html" => b"a page\n".to_vec(),
        _ => return,
    };
    let mut file = File::create(path).unwrap();
    file.write_all(&content).unwrap();
    // perf.data does not say when it was recorded; the file does: 2026-11-21 09:15:00 UTC.
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_795_252_500)).unwrap();
}

/// The lab's recording of perf, to be changed.
fn patched() -> Patched {
    Patched::new(unpacked(include_bytes!("../../fixtures/perf-6.1-svm.data.zst")))
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A zstd frame: these bytes, then at least `zeros` zero bytes, at four bytes of frame for each 128 KiB.
fn zstd_zeros(beginning: &[u8], zeros: usize) -> Vec<u8> {
    const MOST: usize = 1 << 17;
    let block = |size: usize, kind: u32, last: u32| (last | kind << 1 | (size as u32) << 3).to_le_bytes();
    // A window of 128 KiB.
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    out.extend(&block(beginning.len(), 0, 0)[..3]);
    out.extend_from_slice(beginning);
    for at in (0..zeros).step_by(MOST) {
        out.extend(&block(MOST, 1, u32::from(at + MOST >= zeros))[..3]);
        out.push(0);
    }
    out
}

/// A recording of three guests.
struct Made {
    host: &'static str,
    /// Names of the guests, in place of the hostile ones.
    names: Option<[&'static str; 3]>,
    /// With parts of exits.
    split: bool,
}

impl Made {
    const FLEET: Self = Self { host: "node-17", names: Some(["web01", "web02", "db01"]), split: true };

    /// These intervals of it, each changed.
    fn write(self, of: RangeInclusive<u64>, change: impl Fn(&mut Interval, &mut Threads)) -> Vec<u8> {
        let made = Synthetic { split: self.split, incident: false };
        let whole = made.dump();
        let known = Reader::new(whole.as_slice()).unwrap().header().clone();
        let header = Header { host: self.host.to_owned(), parts: known.parts, ..header() };
        let mut threads = threads();
        if let Some(names) = self.names {
            let name = |thread: &mut Thread| thread.vm = names[(thread.pid - 4101) as usize].to_owned();
            threads.list.iter_mut().for_each(name);
        }
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        for mut interval in made.intervals().into_iter().filter(|interval| of.contains(&interval.number)) {
            change(&mut interval, &mut threads);
            writer.interval(interval.with(&threads)).unwrap();
        }
        writer.end("elapsed").unwrap()
    }
}

/// These intervals of three guests with names as people choose them.
fn fleet(intervals: RangeInclusive<u64>) -> Vec<u8> {
    Made::FLEET.write(intervals, |_, _| ())
}

/// A recording with another text in the first place that has this one.
fn replaced(recording: Vec<u8>, text: &str, other: &str) -> Vec<u8> {
    String::from_utf8(recording).unwrap().replacen(text, other, 1).into_bytes()
}

/// Every kind of loss, and a suspended machine.
fn add_losses(interval: &mut Interval) {
    for (info, number) in LOSSES.iter().zip(1..) {
        interval.losses.add(info.loss, number * 101);
    }
    interval.clock = Some(ClockChange { suspended_ms: 28_800_000, stepped_ms: -1500 });
}

/// What is known about VMs of libvirt, KubeVirt and Firecracker. The second is the second VM of its process.
fn add_facts(threads: &mut Threads) {
    let of_libvirt = [
        (Fact::Name, Source::CommandLine, "web01"),
        (Fact::Uuid, Source::CommandLine, "12c6e5a0-1111-4222-8333-444455556666"),
        (Fact::Vmm, Source::CommandLine, "qemu"),
        (Fact::Domain, Source::StatusXml, "web01"),
        (Fact::DomainId, Source::Cgroup, "7"),
    ];
    let of_kubevirt = [
        (Fact::Name, Source::CommandLine, "prod_web02"),
        (Fact::Namespace, Source::CommandLine, "prod"),
        (Fact::Pod, Source::CommandLine, "web02"),
        (Fact::PodUid, Source::Cgroup, "12345678-1234-1234-1234-123456789abc"),
        (Fact::Vmm, Source::CommandLine, "qemu"),
    ];
    let of_firecracker =
        [(Fact::Id, Source::CommandLine, "fc-7"), (Fact::Vmm, Source::CommandLine, "firecracker")];
    for thread in &mut threads.list {
        let facts: &[_] = match thread.pid {
            4101 => &of_libvirt,
            4102 => &of_kubevirt,
            _ => &of_firecracker,
        };
        let mut identity = Identity::default();
        facts.iter().for_each(|(kind, source, value)| identity.offer(*kind, *source, value));
        thread.vm = identity.name().into_owned();
        thread.known = identity.into();
        thread.origin =
            Origin { start_unix_ms: Some(1_700_000_000_000), number: u32::from(thread.pid == 4102) };
    }
}

/// KVM's own counters, as `record --counters=vcpu` has them.
fn add_counters(interval: &mut Interval) {
    let number = interval.number;
    let all: [(&str, Option<u32>, u64); 12] = [
        ("blocking", None, 0),
        ("exits", None, 1_000_000),
        ("halt_poll_fail_ns", None, 4_000_000),
        ("halt_poll_success_ns", None, 200_000_000),
        ("halt_wait_hist", None, 0),
        ("halt_wait_ns", None, 6_000_000_000),
        ("io_exits", None, 3),
        ("mmu_rmaps_stat", None, 0),
        ("of_a_later_kernel", None, 77),
        ("pages_4k", None, 5000),
        ("exits", Some(0), 600_000),
        ("halt_wait_hist", Some(0), 1000),
    ];
    for (pid, vm) in [(4101, "web01"), (4103, "db01")] {
        for (name, vcpu, each) in all.into_iter().filter(|(_, vcpu, _)| pid == 4101 || vcpu.is_none()) {
            let (kind, unit) = meaning(name);
            let (vm, name) = (vm.to_owned(), name.to_owned());
            let id = CounterId { vm, pid, vm_fd: Some(11), vcpu, name, kind, unit, bucket_size: 0 };
            let buckets =
                if vcpu.is_some() && kind.is_hist() { vec![each, 20 * number, 3] } else { Vec::new() };
            let set_back = number == 12 && id.name == "io_exits";
            let value = (!kind.is_hist() && kind != Kind::Text)
                .then(|| if set_back { 1 } else { i128::from(each * number) });
            let delta = (kind == Kind::Cumulative && number != 11 && !set_back).then_some(each);
            let over_ns = delta.map_or(0, |_| interval.elapsed_ns());
            interval.counters.push(Counter { id: Arc::new(id), value, delta, over_ns, buckets });
        }
    }
}

/// Threads that ended in an exit.
fn add_last_exits(interval: &mut Interval, threads: &mut Threads) {
    let ended = [
        ("web01", 4101, 0, 0x7f, Some(8)),
        ("web01", 4101, 1, 0x78, None),
        ("db01", 4103, 0, 0xffff_ffff_u32, Some(9)),
        // A VMM may write any number to the reason.
        ("db01", 4103, 1, 0x78, Some(123_456)),
    ];
    for (vm, pid, vcpu, code, user_exit) in ended {
        let tid = pid + 1 + vcpu;
        let thread =
            threads.add(Thread { pid, tid, vcpu: Some(vcpu), vm: vm.to_owned(), ..Thread::default() });
        let reason = LastReason::new(Isa::SVM, code, user_exit);
        interval.last_exits.push(LastExit { thread, reason, count: 1 });
    }
}

/// A recording of one guest with two reasons, from the list of distributions.
fn guest(host: &str, first: usize, intervals: u64, effect: Effect, seed: u64) -> Vec<u8> {
    let load = Load { intervals, exits: 100.0, rate: 0.0, duration: 0.0, memory: 0.0 };
    noise::dump(noise::header(host), "web", &DISTRIBUTIONS[first..first + 2], load, effect, seed).unwrap()
}

fn merged(dir: &Path) {
    let files = ["fleet.exitlat", "rack2.exitlat"];
    files.iter().for_each(|name| place(dir, name));
    let mut merge = program::exitlat();
    let status = merge.args(["merge", "-o", "merged.exitlat"]).args(files).current_dir(dir).status().unwrap();
    assert!(status.success());
}
