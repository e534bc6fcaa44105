//! Fetching with the real apt-get, from repositories that the tests make. Some name files that they do not
//! have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Error;
use which::which;

use super::super::apt::Trust;
use super::super::elf::tests::module;
use super::super::kernel::Kernel;
use super::super::sources::Source;
use super::{Files, get};
use crate::process::{Output, capture};
use crate::target::Arch;

const META: &str = "linux-image-cloud-amd64";

/// A directory with a repository for each suite, and a cache.
struct World {
    dir: tempfile::TempDir,
    said: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), said: Vec::new() }
    }

    /// Nothing, and a line that says so, where there is no apt.
    fn with_apt(test: &str) -> Option<Self> {
        let missing = ["apt-get", "dpkg-deb"].into_iter().find(|program| which(program).is_err());
        if let Some(program) = missing {
            println!("SKIP fetch::tests::{test}: no {program} here");
        }
        missing.is_none().then(Self::new)
    }

    fn repository(&self, suite: &str) -> PathBuf {
        self.dir.path().join(suite)
    }

    /// Makes a suite with kernels of these releases, the newest one last; the meta package points at that.
    fn suite(&self, suite: &str, releases: &[&str]) {
        let root = self.repository(suite);
        let index = root.join(format!("dists/{suite}/main/binary-amd64"));
        fs::create_dir_all(&index).unwrap();
        let mut packages = String::new();
        for release in releases {
            let image = format!("linux-image-{release}");
            let tree = format!("lib/modules/{release}/kernel");
            let files = [
                (format!("boot/vmlinuz-{release}"), suite.as_bytes().to_vec()),
                (format!("{tree}/kvm.ko"), module(b"depends=\0")),
                (format!("{tree}/kvm-amd.ko"), module(b"depends=kvm\0")),
                (format!("{tree}/kvm-intel.ko"), module(b"depends=kvm\0")),
            ];
            packages += &deb(&root, &image, "", &files);
        }
        let newest = releases.last().map(|release| format!("Depends: linux-image-{release} (= 1)\n"));
        packages += &deb(&root, META, &newest.unwrap_or_default(), &[]);
        fs::write(index.join("Packages"), packages).unwrap();
    }

    /// Deletes a package's file, but not its entry in the index.
    fn lose(&self, suite: &str, release: &str) {
        fs::remove_file(self.repository(suite).join(format!("linux-image-{release}.deb"))).unwrap();
    }

    fn source(&self, suite: &str, last_resort: bool) -> Source {
        let repository = Some(format!("file://{}", self.repository(suite).display()));
        Source { suite: suite.to_owned(), meta: META.to_owned(), last_resort, repository }
    }

    fn get(&mut self, sources: Vec<Source>) -> Result<Files, Error> {
        let kernel = Kernel {
            name: "6.12".to_owned(),
            arch: Arch::X86_64,
            version: "6.12".to_owned(),
            sources,
            busybox: Vec::new(),
            default: false,
            special: false,
            expect_skips: Vec::new(),
        };
        let cache = self.dir.path().join("cache");
        get(&kernel, &cache, Trust::Unsigned, &mut |line| self.said.push(line.to_owned()))
    }

    fn said(&self) -> String {
        self.said.join("\n")
    }
}

/// Builds a package at the root of a repository; its entry for the index.
fn deb(root: &Path, name: &str, fields: &str, files: &[(String, Vec<u8>)]) -> String {
    let tree = root.join("tree");
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: 1\nArchitecture: amd64\nMaintainer: A Test <test@localhost>\n\
         {fields}Description: test\n"
    );
    fs::write(tree.join("DEBIAN/control"), &control).unwrap();
    for (path, contents) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    let file = root.join(format!("{name}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-b"]).arg(&tree).arg(&file);
    capture(&mut build, Output::Terminal).unwrap();
    fs::remove_dir_all(&tree).unwrap();
    let sum = capture(Command::new("sha256sum").arg(&file), Output::Terminal).unwrap();
    let (sum, size) = (sum.split(' ').next().unwrap(), fs::metadata(&file).unwrap().len());
    format!("{control}Filename: ./{name}.deb\nSize: {size}\nSHA256: {sum}\n\n")
}

fn image(files: &Files) -> String {
    fs::read_to_string(files.image()).unwrap()
}

#[test]
fn a_missing_file_leads_to_the_next_source() {
    let Some(mut world) = World::with_apt("a_missing_file_leads_to_the_next_source") else { return };
    world.suite("first", &["6.12.117+deb13-cloud-amd64"]);
    world.suite("second", &["6.12.95+deb12-cloud-amd64"]);
    world.lose("first", "6.12.117+deb13-cloud-amd64");
    let sources = vec![world.source("first", false), world.source("second", false)];
    let files = world.get(sources.clone()).unwrap();
    assert_eq!(image(&files), "second");
    let said = world.said();
    let failed = said.lines().find(|line| line.starts_with("first (linux-image-cloud-amd64) failed"));
    let failed = failed.unwrap_or_else(|| panic!("{said}"));
    assert!(failed.contains("linux-image-6.12.117+deb13-cloud-amd64"), "{failed}");
    assert!(failed.ends_with("trying second (linux-image-cloud-amd64)"), "{failed}");
    assert!(said.contains("unpacking linux-image-6.12.95+deb12-cloud-amd64 1 from second"), "{said}");

    // The cached kernel is used although no repository is left, and nothing is printed.
    for suite in ["first", "second"] {
        fs::remove_dir_all(world.repository(suite)).unwrap();
    }
    world.said.clear();
    assert_eq!(image(&world.get(sources).unwrap()), "second");
    assert_eq!(world.said(), "");
}

#[test]
fn an_older_kernel_of_the_same_source_comes_before_the_next_source() {
    let name = "an_older_kernel_of_the_same_source_comes_before_the_next_source";
    let Some(mut world) = World::with_apt(name) else { return };
    world.suite("first", &["6.11.1-cloud-amd64", "6.12.107-cloud-amd64", "6.12.117-cloud-amd64"]);
    world.lose("first", "6.12.117-cloud-amd64");
    let sources = vec![world.source("first", false), world.source("second", false)];
    let files = world.get(sources).unwrap();
    assert_eq!(files.manifest.release, "6.12.107-cloud-amd64");
    let said = world.said();
    assert!(said.contains("linux-image-6.12.117-cloud-amd64 failed"), "{said}");
    assert!(said.contains("trying linux-image-6.12.107-cloud-amd64"), "{said}");
    assert!(!said.contains("second"), "{said}");
}

#[test]
fn the_last_resort_is_used_last_and_named_at_each_use() {
    let Some(mut world) = World::with_apt("the_last_resort_is_used_last_and_named_at_each_use") else {
        return;
    };
    world.suite("crashing", &["6.12.1-cloud-amd64"]);
    world.suite("moved-on", &["6.13.1-cloud-amd64"]);
    let sources = vec![world.source("crashing", true), world.source("moved-on", false)];
    assert_eq!(image(&world.get(sources.clone()).unwrap()), "crashing");
    let said = world.said();
    let cause = "failed (the suite has no kernel 6.12 any more); trying crashing";
    assert!(said.contains(&format!("moved-on (linux-image-cloud-amd64) {cause}")), "{said}");
    world.said.clear();
    world.get(sources).unwrap();
    assert!(world.said().starts_with("kernel 6.12 is from crashing (linux-image-cloud-amd64, last resort)"));
}

#[test]
fn the_error_names_everything_that_was_tried() {
    let Some(mut world) = World::with_apt("the_error_names_everything_that_was_tried") else { return };
    world.suite("first", &["6.12.107-cloud-amd64", "6.12.117-cloud-amd64"]);
    world.lose("first", "6.12.107-cloud-amd64");
    world.lose("first", "6.12.117-cloud-amd64");
    let sources = vec![world.source("first", false), world.source("gone", false)];
    let error = format!("{:#}", world.get(sources).unwrap_err());
    for name in ["kernel 6.12", "first (", "6.12.107-cloud-amd64", "6.12.117-cloud-amd64", "gone ("] {
        assert!(error.contains(name), "{name} is not in: {error}");
    }
    assert!(!world.dir.path().join("cache/lab/6.12").exists());
    assert_eq!(fs::read_dir(world.dir.path().join("cache/work")).unwrap().count(), 0);
}
