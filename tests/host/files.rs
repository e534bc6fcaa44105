//! Dumps as files, made up for tests of the command line.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use exitlat_tests::synthetic::{Distribution, Effect, Load, intervals};
use fastrand::Rng;
use tempfile::TempDir;
use tracer_user::{
    model::{Loss, Roster, Thread},
    recording::{
        SCHEMA, Writer,
        lines::{Buckets, Header},
    },
};

/// The program. The test harness builds it beside itself.
pub fn exitlat() -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("exitlat");
    assert!(path.exists(), "{} is missing: cargo build -p tracer-user", path.display());
    let mut command = Command::new(path);
    command.env_remove("NO_COLOR");
    command
}

/// Runs it: status, standard output, standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = exitlat().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A header that says this host.
pub fn header(host: &str) -> Header {
    Header {
        schema: SCHEMA,
        tool: "exitlat 0.1.0".into(),
        host: host.into(),
        kernel: "6.1.0".into(),
        arch: "x86_64".into(),
        cpu: "a CPU".into(),
        backend: "kvm_intel".into(),
        path: "raw tracepoints".into(),
        options: vec!["record".into()],
        start_unix_ms: 1_700_000_000_000,
        sources: Vec::new(),
        buckets: Buckets::default(),
    }
}

/// Dumps of made-up guests in a directory of their own.
pub struct Files(TempDir);

impl Files {
    /// No file yet.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with this content.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        std::fs::write(self.path(name), content).unwrap();
        text(&self.path(name))
    }

    /// A dump of a VM with this name.
    pub fn dump(
        &self,
        name: &str,
        header: Header,
        vm: &str,
        (distributions, load, effect, seed): (&[Distribution], Load, Effect, u64),
    ) -> String {
        let thread = Thread { pid: 7, tid: 8, vcpu: Some(0), vm: vm.into(), host: None };
        let roster = Roster { threads: vec![thread] };
        let start = header.start_unix_ms;
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        for mut interval in intervals(distributions, load, effect, &mut Rng::with_seed(seed)) {
            interval.end_unix_ms += start;
            interval.losses.add(Loss::EarlyEntries, interval.number);
            writer.interval(&interval, &roster).unwrap();
        }
        self.file(name, &writer.end("elapsed").unwrap())
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
