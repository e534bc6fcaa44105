//! From a kernel's name to its files in the cache: fetched once, complete or not there at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::apt::{Package, Suite, Trust};
use super::kernel::Kernel;
use super::modules;
use super::sources::{Say, Source, first_that_works, in_order};
use crate::process::{Output, capture, run};
use crate::scratch;
use crate::target::{Arch, Machine};

/// The version of the cache's layout. A kernel with another one is fetched again.
const LAYOUT: u32 = 1;
const MANIFEST: &str = "manifest.toml";
/// The busybox of a foreign architecture; the host's is used for its own.
const FOREIGN_BUSYBOX: &str = "busybox";
const BUSYBOX_PACKAGE: &str = "busybox-static";

/// A kernel that can be booted.
#[derive(Debug)]
pub struct Files {
    dir: PathBuf,
    manifest: Manifest,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    layout: u32,
    /// The output of `uname -r`.
    release: String,
    /// For each vendor module the modules to load, in order.
    modules: BTreeMap<String, Vec<String>>,
    /// The kernel's packages, then that of busybox.
    packages: Vec<Origin>,
}

/// Where the files came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Origin {
    suite: String,
    package: String,
    version: String,
    sha256: String,
}

impl Files {
    /// The kernel from the cache, without a look at the network; fetches it when it is not there.
    ///
    /// # Errors
    /// If it is not in the cache and none of its sources has it; the error names everything that was tried.
    pub fn get(kernel: &Kernel, cache: &Path) -> Result<Self> {
        get(kernel, cache, Trust::Keyring, &mut |line| eprintln!("lab: {line}"))
    }

    fn cached(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(MANIFEST)).ok()?;
        let manifest = toml::from_str::<Manifest>(&text).ok()?;
        (manifest.layout == LAYOUT).then(|| Self { dir: dir.to_owned(), manifest })
    }

    /// The source it came from, if the matrix still lists it for this kernel.
    fn source<'a>(&self, kernel: &'a Kernel) -> Option<&'a Source> {
        let suite = &self.manifest.packages.first()?.suite;
        kernel.sources.iter().find(|source| source.suite == *suite)
    }

    /// The compressed kernel image.
    pub fn image(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// A static busybox for the kernel's architecture, if that is not the host's.
    pub fn busybox(&self) -> Option<PathBuf> {
        Some(self.dir.join(FOREIGN_BUSYBOX)).filter(|path| path.exists())
    }

    /// The modules which that machine's KVM needs, in the order to load them.
    pub fn modules(&self, machine: &Machine) -> Vec<PathBuf> {
        let names = self.manifest.modules.get(machine.module).map(Vec::as_slice).unwrap_or_default();
        names.iter().map(|name| self.dir.join("modules").join(format!("{name}.ko"))).collect()
    }
}

/// [`Files::get`] with all that a test has to choose.
fn get(kernel: &Kernel, cache: &Path, trust: Trust, say: Say<'_>) -> Result<Files> {
    let (name, dir) = (kernel.full_name(), cache.join("lab").join(kernel.full_name()));
    let cached = Files::cached(&dir);
    if let Some((files, source)) = cached.and_then(|files| files.source(kernel).map(|from| (files, from))) {
        if source.last_resort {
            say(&format!("kernel {name} is from {source}; remove {} to look for another", dir.display()));
        }
        return Ok(files);
    }
    let work = scratch(&cache.join("work"), &name)?;
    let mut fetch = Fetch { kernel, work: work.path(), trust, suites: BTreeMap::new() };
    fetch.run(&dir, say).with_context(|| format!("cannot get kernel {name}"))
}

/// A kernel that is being fetched into a directory beside the cache.
struct Fetch<'a> {
    kernel: &'a Kernel,
    work: &'a Path,
    trust: Trust,
    /// The suites whose indexes are here, by name.
    suites: BTreeMap<String, Suite>,
}

impl Fetch<'_> {
    /// Downloads, unpacks, and moves the result into place in one step.
    fn run(&mut self, dir: &Path, say: Say<'_>) -> Result<Files> {
        let kernel = self.kernel;
        let (unpacked, mut packages) = first_that_works(&in_order(&kernel.sources), say, |source, say| {
            say(&format!("fetching kernel {} from {source}", kernel.full_name()));
            self.kernel_from(source, say)
        })?;
        let ready = self.work.join("ready");
        fs::create_dir_all(ready.join("modules")).context("cannot make the directory of modules")?;
        let tree = modules::find_tree(&unpacked)?;
        let release =
            tree.file_name().context("a module tree without a name")?.to_string_lossy().into_owned();
        let images = [unpacked.join(format!("boot/vmlinuz-{release}")), tree.join("vmlinuz")];
        let Some(image) = images.iter().find(|path| path.exists()) else {
            bail!("the packages have no kernel image at {} or {}", images[0].display(), images[1].display());
        };
        fs::copy(image, ready.join("vmlinuz")).with_context(|| format!("cannot copy {}", image.display()))?;

        if kernel.arch != Arch::X86_64 {
            let (busybox, origin) = first_that_works(&kernel.busybox, say, |suite, _| self.busybox(suite))
                .with_context(|| format!("cannot get {BUSYBOX_PACKAGE} for {}", kernel.arch.debian()))?;
            fs::copy(busybox, ready.join(FOREIGN_BUSYBOX)).context("cannot copy busybox")?;
            packages.push(origin);
        }

        let mut orders = BTreeMap::new();
        for machine in kernel.arch.machines() {
            let order = modules::closure(&tree, machine.module, &ready.join("modules"))?;
            orders.insert(machine.module.to_owned(), order);
        }
        let manifest = Manifest { layout: LAYOUT, release, modules: orders, packages };
        fs::write(ready.join(MANIFEST), toml::to_string(&manifest)?).context("cannot write the manifest")?;
        put_in_place(&ready, dir)?;
        Ok(Files { dir: dir.to_owned(), manifest })
    }

    /// Downloads and unpacks a kernel of the series from one source: the current one, else an older one.
    fn kernel_from(&mut self, source: &Source, say: Say<'_>) -> Result<(PathBuf, Vec<Origin>)> {
        let kernel = self.kernel;
        let suite = self.suite(&source.suite, source.repository.as_deref())?;
        let images = suite.images(kernel, source)?;
        let packages = first_that_works(&images, say, |image, _| {
            suite.parts(image).iter().map(|name| suite.download(name)).collect::<Result<Vec<_>>>()
        })?;
        let unpacked = self.work.join("unpacked").join(&source.suite);
        let mut origins = Vec::new();
        for package in &packages {
            say(&format!("unpacking {} {} from {}", package.name, package.version, source.suite));
            origins.push(unpack(&source.suite, package, &unpacked)?);
        }
        Ok((unpacked, origins))
    }

    /// A static busybox from one suite.
    fn busybox(&mut self, name: &str) -> Result<(PathBuf, Origin)> {
        let package = self.suite(name, None)?.download(BUSYBOX_PACKAGE)?;
        let unpacked = self.work.join(BUSYBOX_PACKAGE);
        let origin = unpack(name, &package, &unpacked)?;
        let places = ["bin/busybox", "usr/bin/busybox"].map(|place| unpacked.join(place));
        let busybox = places.into_iter().find(|path| path.exists());
        Ok((busybox.with_context(|| format!("{BUSYBOX_PACKAGE} has no bin/busybox"))?, origin))
    }

    /// apt for a suite; its index is fetched at the first use.
    fn suite(&mut self, name: &str, repository: Option<&str>) -> Result<&Suite> {
        if !self.suites.contains_key(name) {
            let dir = self.work.join("apt").join(name);
            let suite = Suite::open(name, repository, self.trust, self.kernel.arch, &dir)?;
            self.suites.insert(name.to_owned(), suite);
        }
        Ok(&self.suites[name])
    }
}

/// Unpacks a package into a directory and notes where it came from.
fn unpack(suite: &str, package: &Package, to: &Path) -> Result<Origin> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    run(Command::new("dpkg-deb").arg("-x").arg(&package.file).arg(to), Output::Terminal)?;
    let sum = capture(Command::new("sha256sum").arg(&package.file), Output::Terminal)?;
    Ok(Origin {
        suite: suite.to_owned(),
        package: package.name.clone(),
        version: package.version.clone(),
        sha256: sum.split(' ').next().unwrap_or_default().to_owned(),
    })
}

/// Replaces the cached kernel. Another run that was faster is as good as ours.
fn put_in_place(ready: &Path, dir: &Path) -> Result<()> {
    let parent = dir.parent().context("the cache has no parent directory")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    match fs::rename(ready, dir) {
        Err(_) if Files::cached(dir).is_some() => Ok(()),
        result => result.with_context(|| format!("cannot move the kernel to {}", dir.display())),
    }
}

#[cfg(test)]
mod tests;
