//! From a kernel's name to its files in the cache: fetched once, complete or not there at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::apt::{Package, Suite};
use super::kernels::{Arch, Cpu, Kernel};
use super::modules;
use crate::paths::{self, Scratch};
use crate::process::{Output, capture, run};

/// Changes when the layout of the cache does; an older one is fetched anew.
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
    /// What `uname -r` will say.
    release: String,
    /// For each vendor module the modules to load, in order.
    modules: BTreeMap<String, Vec<String>>,
    packages: Vec<Origin>,
}

/// Where the files came from.
#[derive(Debug, Serialize, Deserialize)]
struct Origin {
    suite: String,
    package: String,
    version: String,
    sha256: String,
}

impl Files {
    /// The kernel from the cache; fetches it when it is not there.
    pub fn get(kernel: &Kernel) -> Result<Self> {
        let dir = paths::cache()?.join("lab").join(kernel.full_name());
        match Self::cached(&dir).filter(|files| files.is_from(&kernel.suite)) {
            Some(files) => Ok(files),
            None => {
                eprintln!("lab: fetching kernel {} from {}", kernel.full_name(), kernel.suite);
                fetch(kernel, &dir).with_context(|| format!("cannot get kernel {}", kernel.full_name()))
            }
        }
    }

    fn cached(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(MANIFEST)).ok()?;
        let manifest = toml::from_str::<Manifest>(&text).ok()?;
        (manifest.layout == LAYOUT).then(|| Self { dir: dir.to_owned(), manifest })
    }

    /// Whether it is what the matrix asks for now.
    fn is_from(&self, suite: &str) -> bool {
        self.manifest.packages.iter().all(|package| package.suite == suite)
    }

    /// The compressed kernel image.
    pub fn image(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// A static busybox for the kernel's architecture, if that is not the host's.
    pub fn busybox(&self) -> Option<PathBuf> {
        Some(self.dir.join(FOREIGN_BUSYBOX)).filter(|path| path.exists())
    }

    /// The modules which that CPU's KVM needs, in the order to load them.
    pub fn modules(&self, cpu: Cpu) -> Vec<PathBuf> {
        let names = self.manifest.modules.get(cpu.module()).map(Vec::as_slice).unwrap_or_default();
        names.iter().map(|name| self.dir.join("modules").join(format!("{name}.ko"))).collect()
    }
}

/// Downloads, unpacks beside the cache, and moves the result into place in one step.
fn fetch(kernel: &Kernel, dir: &Path) -> Result<Files> {
    let work = Scratch::new(&paths::cache()?.join("work"), &kernel.full_name())?;
    let suite = Suite::open(&kernel.suite, kernel.arch, &work.path().join("apt"))?;
    let unpacked = work.path().join("unpacked");
    let mut packages = Vec::new();
    let mut names = suite.resolve(kernel)?;
    if kernel.arch != Arch::X86_64 {
        names.push(BUSYBOX_PACKAGE.to_owned());
    }
    for name in names {
        let package = suite.download(&name)?;
        eprintln!("lab: unpacking {} {}", package.name, package.version);
        run(Command::new("dpkg-deb").arg("-x").arg(&package.file).arg(&unpacked), Output::Terminal)?;
        packages.push(origin(&kernel.suite, &package)?);
    }

    let ready = work.path().join("ready");
    fs::create_dir_all(ready.join("modules")).context("cannot make the directory of modules")?;
    let tree = modules::find_tree(&unpacked)?;
    let release = tree.file_name().context("a module tree without a name")?.to_string_lossy().into_owned();
    let images = [unpacked.join(format!("boot/vmlinuz-{release}")), tree.join("vmlinuz")];
    let Some(image) = images.iter().find(|path| path.exists()) else {
        bail!("the packages have no kernel image at {} or {}", images[0].display(), images[1].display());
    };
    fs::copy(image, ready.join("vmlinuz")).with_context(|| format!("cannot copy {}", image.display()))?;

    if kernel.arch != Arch::X86_64 {
        let places = ["bin/busybox", "usr/bin/busybox"].map(|place| unpacked.join(place));
        let busybox = places.iter().find(|path| path.exists());
        let busybox = busybox.with_context(|| format!("{BUSYBOX_PACKAGE} has no bin/busybox"))?;
        fs::copy(busybox, ready.join(FOREIGN_BUSYBOX)).context("cannot copy busybox")?;
    }

    let mut orders = BTreeMap::new();
    for &cpu in kernel.arch.cpus() {
        let order = modules::closure(&tree, cpu.module(), &ready.join("modules"))?;
        orders.insert(cpu.module().to_owned(), order);
    }
    let manifest = Manifest { layout: LAYOUT, release, modules: orders, packages };
    fs::write(ready.join(MANIFEST), toml::to_string(&manifest)?).context("cannot write the manifest")?;
    put_in_place(&ready, dir)?;
    Ok(Files { dir: dir.to_owned(), manifest })
}

fn origin(suite: &str, package: &Package) -> Result<Origin> {
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
