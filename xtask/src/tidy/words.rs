//! Refuses paths that a part of the sources must not name.

use std::path::{Path, PathBuf};

use super::rust::Source;

/// The rooms that read no clock, environment, terminal or file, and know nothing of the command line.
const PURE: &[&str] = &[
    "tracer-user/src/identity",
    "tracer-user/src/decode",
    "tracer-user/src/model",
    "tracer-user/src/recording",
    "tracer-user/src/render",
    "tracer-user/src/export",
    "tracer-user/src/replay",
    "tracer-user/src/snapshot",
    "tracer-user/src/perfdata",
    "tracer-user/src/tracepoint",
    "tracer-user/src/view",
];

/// The sources in which a path is refused.
enum Where {
    /// In these files and directories.
    In(&'static [&'static str]),
    /// In all of the directory but these.
    Outside { of: &'static str, but: &'static [&'static str] },
}

/// Refused paths, the sources in which they are refused, and the reason.
struct Ban {
    paths: &'static [&'static str],
    place: Where,
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        paths: &[
            "std::env",
            "std::fs",
            "std::io::IsTerminal",
            "std::io::stderr",
            "std::io::stdin",
            "std::io::stdout",
            "std::net",
            "std::os",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
            "std::time::UNIX_EPOCH",
            "env!",
            "std::env!",
            "print!",
            "println!",
            "eprint!",
            "eprintln!",
            "say!",
            "libc",
            "memmap2",
            "terminal_size",
            "tokio",
        ],
        place: Where::In(PURE),
        why: "this room is pure: the same input gives the same output",
    },
    Ban { paths: &["clap"], place: Where::In(PURE), why: "this room knows nothing of the command line" },
    Ban {
        paths: &["aya", "aya_log"],
        place: Where::Outside { of: "tracer-user/src", but: &["tracer-user/src/kernel"] },
        why: "only kernel/ knows how BPF is loaded",
    },
    Ban {
        paths: &["std", "alloc", "aya_ebpf", "aya_log_ebpf"],
        place: Where::Outside {
            of: "tracer-ebpf/src",
            but: &["tracer-ebpf/src/bpf", "tracer-ebpf/src/null", "tracer-ebpf/src/burn"],
        },
        why: "the shared library uses core alone",
    },
];

/// Complains of refused paths, and of entries (file, path) of `known` that are no longer needed.
pub fn check(sources: &[(PathBuf, Source)], known: &[(&str, &str)]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut met = Vec::new();
    for (path, source) in sources {
        for ban in BANS.iter().filter(|ban| ban.place.holds(path)) {
            for named in &source.named {
                let full = source.in_full(named).join("::");
                let Some(word) = ban.paths.iter().find(|word| is_below(&full, word)) else { continue };
                let entry = known.iter().find(|(file, known)| path == Path::new(file) && known == word);
                match entry {
                    Some(entry) => met.push(entry),
                    None => complaints.push(format!(
                        "{}:{} names {full}: {}",
                        path.display(),
                        named.line,
                        ban.why
                    )),
                }
            }
        }
    }
    let mended = known.iter().filter(|entry| !met.contains(entry));
    complaints.extend(mended.map(|(file, word)| {
        format!("{file} does not name {word} any more; take it off the list of known ones")
    }));
    complaints
}

impl Where {
    fn holds(&self, path: &Path) -> bool {
        let within = |places: &[&str]| {
            places
                .iter()
                .any(|place| path.starts_with(place) || path == Path::new(place).with_extension("rs"))
        };
        match self {
            Self::In(places) => within(places),
            Self::Outside { of, but } => within(&[of]) && !within(but),
        }
    }
}

fn is_below(path: &str, word: &str) -> bool {
    path.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, text: &str) -> Vec<String> {
        check(&[(path.into(), Source::read(text).unwrap())], &[])
    }

    #[test]
    fn pure_rooms_read_nothing() {
        for bad in [
            "use std::fs;",
            "use std::{env, fmt};",
            "use std::io; fn f() { io::stdout(); }",
            "fn f() { println!(\"x\"); }",
            "fn f() { std::time::Instant::now(); }",
            "#[derive(clap::ValueEnum)] enum A {}",
            "use tokio::time;",
        ] {
            for path in ["tracer-user/src/model/rows.rs", "tracer-user/src/replay.rs"] {
                assert_eq!(told(path, bad).len(), 1, "{bad}");
            }
            assert!(told("tracer-user/src/cmd/mod.rs", bad).is_empty(), "{bad}");
        }
        let good =
            "use std::{fmt, io::Write, time::Duration}; // std::fs\n#[cfg(test)] mod tests { use std::fs; }";
        assert!(told("tracer-user/src/model/rows.rs", good).is_empty());
    }

    #[test]
    fn aya_is_named_by_the_kernel_side_only() {
        assert!(
            told("tracer-user/src/kernel/session.rs", "use aya::Ebpf; use aya_log::EbpfLogger;").is_empty()
        );
        assert_eq!(told("tracer-user/src/cmd/live.rs", "use aya::Ebpf;").len(), 1);
        assert!(!told("tracer-user/src/cmd/live.rs", "use aya_log::EbpfLogger;").is_empty());
        assert_eq!(told("tracer-user/src/cmd/live.rs", "fn f(x: aya_log::EbpfLogger) {}").len(), 1);
    }

    #[test]
    fn the_shared_library_uses_core() {
        assert_eq!(told("tracer-ebpf/src/slot.rs", "use std::mem;").len(), 1);
        assert!(told("tracer-ebpf/src/slot.rs", "use core::mem;").is_empty());
        assert!(told("tracer-ebpf/src/bpf/maps.rs", "use aya_ebpf::maps::Array;").is_empty());
    }

    #[test]
    fn a_known_one_passes_until_it_is_mended() {
        let file = "tracer-user/src/model/by.rs";
        let known = [(file, "std::fs")];
        let sources = |text| [(PathBuf::from(file), Source::read(text).unwrap())];
        assert!(check(&sources("use std::fs;"), &known).is_empty());
        assert_eq!(check(&sources("use std::fs; use std::env;"), &known).len(), 1);
        assert_eq!(check(&sources(""), &known).len(), 1);
    }
}
