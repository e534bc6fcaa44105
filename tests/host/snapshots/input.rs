//! The files that cases name: fixtures, and made-up recordings.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::OnceLock,
    time::{Duration, UNIX_EPOCH},
};

use exitlat_tests::{
    noise::{self, DISTRIBUTIONS, Effect, Load},
    patched::Patched,
    program,
    synthetic::{GUESTS, Synthetic},
};
use tracer_user::model::losses::LOSSES;

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
        "fleet.exitlat" => fleet(11..=13).into_bytes(),
        // Three such VMs later, on another host.
        "rack2.exitlat" => fleet(14..=16).replace("node-17", "node-18").into_bytes(),
        // Guest names as hostile as a tenant can choose them.
        "hostile.exitlat" => cut(made(true), 11..=12).into_bytes(),
        // No part is known.
        "plain.exitlat" => cut(made(false), 11..=12).into_bytes(),
        // A suspended machine, and every kind of loss.
        "losses.exitlat" => with_losses(&fleet(14..=14)).into_bytes(),

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
            whole.as_bytes()[..whole.len() / 2].to_vec()
        }
        "torn.data" => {
            let whole = unpacked(include_bytes!("../../fixtures/perf-6.1-svm.data.zst"));
            whole[..whole.len() / 2].to_vec()
        }
        "damaged.exitlat" => fleet(11..=11).replacen("\"count\":", "\"count\":-", 1).into_bytes(),
        // The sum is larger than the count times the maximum.
        "damaged-sum.exitlat" => fleet(11..=11).replacen("\"sum_ns\":", "\"sum_ns\":9999999", 1).into_bytes(),
        // Two VMs are gone: one vCPU died of a triple fault, one could not enter, two were halted.
        "killed.exitlat" => with_last_exits(&fleet(14..=14)).into_bytes(),
        "newer.exitlat" => fleet(11..=11).replacen("\"schema\":2", "\"schema\":99", 1).into_bytes(),
        "idle.exitlat" => only(&fleet(11..=11), &["header", "interval", "end"]).into_bytes(),
        "header.exitlat" => only(&fleet(11..=11), &["header"]).into_bytes(),
        // Files of other tools.
        "trace.dat" => b"\x17\x08\x44tracing6\0\0\x08\0\x10\0\0header_page\0".to_vec(),
        "script.txt" => {
            b" fc_vcpu 1  5200 [039] 1377662.550600: kvm:kvm_exit: reason HLT rip 0x0 info 0 0\n".to_vec()
        }
        "text.xz" => b"\xfd7zXZ\0\0\x04".to_vec(),
        "twice.gz" => gzip(&gzip(b"no recording\n")),

        // Compressed recordings.
        "fleet.gz" => gzip(fleet(11..=13).as_bytes()),
        "perf.data.gz" => gzip(&unpacked(include_bytes!("../../fixtures/perf-6.1-svm.data.zst"))),
        "perf.data.zst" => include_bytes!("../../fixtures/perf-6.1-svm.data.zst").to_vec(),
        "torn.gz" => {
            let whole = gzip(fleet(11..=13).as_bytes());
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

/// A recording of three guests, with parts of exits or without.
fn made(split: bool) -> &'static str {
    static MADE: [OnceLock<String>; 2] = [OnceLock::new(), OnceLock::new()];
    let make = || String::from_utf8(Synthetic { split, incident: false }.dump()).unwrap();
    MADE[usize::from(split)].get_or_init(make)
}

/// These intervals of it, with names as people choose them.
fn fleet(intervals: std::ops::RangeInclusive<u64>) -> String {
    let names = ["web01", "web02", "db01"];
    let json = |name: &str| serde_json::to_string(name).unwrap();
    GUESTS.iter().zip(names).fold(cut(made(true), intervals), |text, ((_, bad), good)| {
        text.replace(&format!("\"vm\":{}", json(bad)), &format!("\"vm\":{}", json(good)))
    })
}

/// A copy of a recording with only these intervals.
fn cut(recording: &str, intervals: std::ops::RangeInclusive<u64>) -> String {
    let number = |line: &str| line.split_once("\"interval\":")?.1.split([',', '}']).next()?.parse().ok();
    lines(recording, |line| number(line).is_none_or(|number| intervals.contains(&number)))
}

/// A copy of a recording with only the lines of these types.
fn only(recording: &str, types: &[&str]) -> String {
    lines(recording, |line| types.iter().any(|name| line.starts_with(&format!("{{\"type\":\"{name}\""))))
}

fn lines(recording: &str, keep: impl Fn(&str) -> bool) -> String {
    recording.lines().filter(|line| keep(line)).map(|line| format!("{line}\n")).collect()
}

/// A recording whose first interval also has every kind of loss, and a suspended machine.
fn with_losses(recording: &str) -> String {
    let losses = LOSSES.iter().zip(1u64..).map(|(info, number)| {
        format!(
            "{{\"type\":\"loss\",\"interval\":14,\"cause\":\"{}\",\"count\":{}}}\n",
            info.name,
            number * 101
        )
    });
    let clock = "{\"type\":\"clock\",\"interval\":14,\"suspended_ms\":28800000,\"stepped_ms\":-1500}\n";
    let end = recording.find("{\"type\":\"interval\"").expect("a recording has an interval");
    let (before, after) = recording.split_at(end);
    format!("{before}{}{clock}{after}", losses.collect::<String>())
}

/// A recording in whose first interval threads ended.
fn with_last_exits(recording: &str) -> String {
    let lines = [
        ("web01", 4101, 0, 0x7f, "shutdown", r#""user_exit":8,"#),
        ("web01", 4101, 1, 0x78, "hlt", ""),
        ("db01", 4103, 0, 0xffff_ffff_u32, "invalid_guest_state", r#""user_exit":9,"#),
        // A VMM may write any number to the reason.
        ("db01", 4103, 1, 0x78, "hlt", r#""user_exit":123456,"#),
    ];
    let lines = lines.map(|(vm, pid, vcpu, reason, name, user_exit)| {
        let tid = pid + 1 + vcpu;
        format!(
            "{{\"type\":\"last_exit\",\"interval\":14,\"vm\":\"{vm}\",\"pid\":{pid},\"tid\":{tid},\
             \"vcpu\":{vcpu},\"isa\":2,\"reason\":{reason},\"name\":\"{name}\",{user_exit}\"count\":1}}\n"
        )
    });
    let end = recording.find("{\"type\":\"interval\"").expect("a recording has an interval");
    let (before, after) = recording.split_at(end);
    format!("{before}{}{after}", lines.concat())
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
