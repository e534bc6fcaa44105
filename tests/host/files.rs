//! Dumps as files, made up for tests of the command line.

use std::path::{Path, PathBuf};

pub use exitlat_tests::noise::header;
use exitlat_tests::{
    noise::{self, Distribution, Effect, Load},
    program,
};
use tempfile::TempDir;
use tracer_user::{
    model::Interval,
    model::provenance::Header,
    recording::{Reader, Writer},
};

/// Runs exitlat; returns status, standard output and standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = program::exitlat().args(arguments).output().unwrap();
    let (status, stdout, stderr) = program::text(output);
    (status.unwrap(), stdout, stderr)
}

/// Dumps of made-up guests in a directory of their own.
pub struct Files(TempDir);

impl Files {
    /// An empty directory.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file with this content; returns its path.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        std::fs::write(self.path(name), content).unwrap();
        text(&self.path(name))
    }

    /// Writes a recording of a VM with this name; returns its path.
    pub fn dump(
        &self,
        name: &str,
        header: Header,
        vm: &str,
        (distributions, load, effect, seed): (&[Distribution], Load, Effect, u64),
    ) -> String {
        let dump = noise::dump(header, vm, distributions, load, effect, seed).unwrap();
        self.file(name, &dump)
    }

    /// Merges recordings into one file; returns its path.
    pub fn merged(&self, name: &str, dumps: &[&str]) -> String {
        let all = text(&self.path(name));
        let (status, _, err) = run(&[&["merge", "-o", &all], dumps].concat());
        assert_eq!(status, 0, "{err}");
        all
    }

    /// Writes a copy of a recording with `change` applied to each interval; returns its path.
    pub fn rewritten(&self, name: &str, dump: &str, mut change: impl FnMut(&mut Interval)) -> String {
        let bytes = std::fs::read(dump).unwrap();
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        let mut writer = Writer::new(Vec::new(), reader.header().clone()).unwrap();
        let mut interval = Interval::default();
        while reader.next_interval(&mut interval).unwrap() {
            change(&mut interval);
            writer.interval(interval.with(reader.threads())).unwrap();
        }
        self.file(name, &writer.end("elapsed").unwrap())
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
