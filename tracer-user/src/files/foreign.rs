//! Files of other tools that users pass by mistake: their names, and how to get an input that exitlat reads.

use std::path::Path;

use anyhow::{Error, anyhow};

use crate::perfdata;

/// A format that is not read.
struct Foreign {
    /// Its files begin with one of these.
    beginnings: &'static [&'static [u8]],
    name: &'static str,
    advice: &'static str,
}

const RECORD: &str = "record with `perf kvm stat record` or `exitlat record`";

static FOREIGN: [Foreign; 6] = [
    Foreign { beginnings: &[b"\x17\x08\x44tracing"], name: "a trace.dat of trace-cmd", advice: RECORD },
    Foreign { beginnings: &[b"# tracer:"], name: "a text of ftrace", advice: RECORD },
    Foreign { beginnings: &[b"\xfd7zXZ\0"], name: "packed by xz", advice: "unpack it first: `xz -d`" },
    Foreign { beginnings: &[b"BZh"], name: "packed by bzip2", advice: "unpack it first: `bzip2 -d`" },
    Foreign {
        beginnings: &[b"\x04\x22\x4d\x18"],
        name: "packed by lz4",
        advice: "unpack it first: `lz4 -d`",
    },
    Foreign {
        beginnings: &[b"\x1f\x8b", b"\x28\xb5\x2f\xfd"],
        name: "packed twice",
        advice: "unpack it once by hand",
    },
];

/// Lines of events contain these: the names of KVM's tracepoints before their fields.
const EVENTS: [&str; 4] = ["kvm_exit: ", "kvm_entry: ", "kvm_s390_sie_exit: ", "kvm_s390_sie_enter: "];

/// Explains why a file with this beginning cannot be read, if it is in a format listed here.
pub(super) fn explain(beginning: &[u8]) -> Option<Error> {
    let begins = |foreign: &&Foreign| foreign.beginnings.iter().any(|begin| beginning.starts_with(begin));
    if let Some(Foreign { name, advice, .. }) = FOREIGN.iter().find(begins) {
        return Some(anyhow!("it is {name}; {advice}"));
    }
    // A recording is one object a line.
    let text = String::from_utf8_lossy(beginning);
    let events = !text.starts_with('{') && EVENTS.iter().any(|event| text.contains(event));
    events.then(|| {
        anyhow!(
            "it is a text of events, as `perf script` and `trace-cmd report` print it; give the perf.data itself, \
             or {RECORD}"
        )
    })
}

/// Explains why a directory cannot be read, if perf made it.
pub(super) fn explain_directory(path: &Path) -> Option<Error> {
    use std::{fs::File, io::Read as _};
    let mut beginning = Vec::new();
    File::open(path.join("data")).ok()?.take(8).read_to_end(&mut beginning).ok()?;
    perfdata::is_perf(&beginning)
        .then(|| anyhow!("it is a directory, as `perf record --threads` makes it; record without --threads"))
}
