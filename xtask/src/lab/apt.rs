//! Kernel packages from suites the host does not use: apt with a state directory of its own.
//!
//! Nothing of the host's apt is changed and nothing is installed. The address of the repository is the one the
//! host is set up with, and signatures are checked with the distribution's keyring as always.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::kernels::{Arch, Kernel};
use crate::process::{Output, capture, probe, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The way out for hosts whose apt knows no Debian repository.
const REPOSITORY_ENV: &str = "EXITLAT_DEBIAN_REPOSITORY";
/// A kernel's files are in one package or, since 6.19, in three.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// apt for one suite, with its index.
#[derive(Debug)]
pub struct Suite {
    name: String,
    arch: Arch,
    dir: PathBuf,
}

/// A package file that was downloaded and verified.
#[derive(Debug)]
pub struct Package {
    /// The `.deb`.
    pub file: PathBuf,
    /// The package's name.
    pub name: String,
    /// The package's version.
    pub version: String,
}

impl Suite {
    /// Fetches the index of a suite into `dir`.
    pub fn open(name: &str, arch: Arch, dir: &Path) -> Result<Self> {
        if !Path::new(KEYRING).exists() {
            bail!("{KEYRING} is missing, so kernels cannot be verified: install debian-archive-keyring");
        }
        let suite = Self { name: name.to_owned(), arch, dir: dir.to_owned() };
        for sub in ["state/lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("cannot make {}", dir.join(sub).display()))?;
        }
        let source =
            format!("deb [arch={} signed-by={KEYRING}] {} {name} main\n", arch.debian(), repository()?);
        for (file, contents) in [("sources.list", source.as_str()), ("status", "")] {
            let path = dir.join(file);
            fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
        }
        run(suite.apt("apt-get").args(["-qq", "update"]), Output::Terminal)
            .with_context(|| format!("cannot fetch the package index of {name}"))?;
        Ok(suite)
    }

    /// One of apt's programs, confined to our directory.
    fn apt(&self, program: &str) -> Command {
        let dir = self.dir.display();
        let mut command = Command::new(program);
        command.current_dir(self.dir.join("debs")).env("LC_ALL", "C");
        for option in [
            format!("Dir::State={dir}/state"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}/cache"),
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("APT::Architecture={}", self.arch.debian()),
            format!("APT::Architectures={}", self.arch.debian()),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    /// The packages that make up the kernel, e.g. `linux-image-6.1.0-50-cloud-amd64`, image first.
    pub fn resolve(&self, kernel: &Kernel) -> Result<Vec<String>> {
        let fields = self.query(&["show", "--no-all-versions", &kernel.meta])?;
        let current = depends(&fields).find(|name| is_image(name, kernel)).map(str::to_owned);
        let image = match current {
            Some(image) => image,
            None => self.newest(kernel)?,
        };
        let release = image.trim_start_matches(PARTS[0]);
        let parts = PARTS.map(|part| format!("{part}{release}"));
        let exists = |name: &String| {
            self.query(&["pkgnames", name]).is_ok_and(|names| names.lines().any(|n| n == name))
        };
        Ok(parts.into_iter().filter(exists).collect())
    }

    /// The newest image of the wanted version, for when the meta package has moved on.
    fn newest(&self, kernel: &Kernel) -> Result<String> {
        let names = self.query(&["pkgnames", &format!("{}{}", PARTS[0], kernel.version)])?;
        let newest = names.lines().filter(|name| is_image(name, kernel)).max_by_key(|name| numbers(name));
        newest.map(str::to_owned).with_context(|| {
            format!(
                "suite {} has no kernel {} any more: give kernel \"{}\" another suite in tests/kernels.toml",
                self.name, kernel.version, kernel.name
            )
        })
    }

    /// Downloads a package; apt checks it against the signed index.
    pub fn download(&self, name: &str) -> Result<Package> {
        run(self.apt("apt-get").args(["-qq", "download", name]), Output::Terminal)
            .with_context(|| format!("cannot download {name} from {}", self.name))?;
        let debs = self.dir.join("debs");
        let prefix = format!("{name}_");
        let listing = fs::read_dir(&debs).with_context(|| format!("cannot list {}", debs.display()))?;
        let file = listing
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&prefix)))
            .with_context(|| format!("apt said it downloaded {name}, but it is not in {}", debs.display()))?;
        let version =
            capture(Command::new("dpkg-deb").arg("-f").arg(&file).arg("Version"), Output::Terminal)?;
        Ok(Package { file, name: name.to_owned(), version: version.trim().to_owned() })
    }

    fn query(&self, args: &[&str]) -> Result<String> {
        capture(self.apt("apt-cache").args(args), Output::Terminal)
            .with_context(|| format!("cannot ask apt about suite {}", self.name))
    }
}

/// The address of the Debian repository this host is set up with.
fn repository() -> Result<String> {
    if let Ok(address) = std::env::var(REPOSITORY_ENV) {
        return Ok(address);
    }
    let format = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(CREATED_BY)|$(REPO_URI)";
    let targets = probe("apt-get", &["indextargets", "--format", format]).unwrap_or_default();
    let found = targets.lines().find_map(|line| line.strip_prefix("Debian|Debian|main|Packages|"));
    found.map(str::to_owned).with_context(|| {
        format!(
            "apt here has no index of a Debian repository to take lab kernels from: run `apt-get update` on Debian, \
             or set {REPOSITORY_ENV} to the address of a repository"
        )
    })
}

/// The names in the Depends line of `apt-cache show`.
fn depends(fields: &str) -> impl Iterator<Item = &str> {
    let line = fields.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    line.split(", ").filter_map(|clause| clause.split(' ').next())
}

/// Whether a package is a kernel of that version and flavour, signed, without debug information.
fn is_image(package: &str, kernel: &Kernel) -> bool {
    let release = package.strip_prefix(PARTS[0]).and_then(|rest| rest.strip_prefix(&kernel.version));
    release.is_some_and(|rest| rest.starts_with(['.', '-', '+']) && rest.ends_with(kernel.flavour()))
}

/// The numbers in a name, which order versions well enough.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(version: &str, meta: &str) -> Kernel {
        let (name, suite) = (version.to_owned(), "any".to_owned());
        let (version, meta) = (version.to_owned(), meta.to_owned());
        Kernel { name, arch: Arch::X86_64, version, suite, meta, default: false, expect_skips: Vec::new() }
    }

    const META: &str = "linux-image-cloud-amd64";

    #[test]
    fn the_meta_package_leads_to_the_image() {
        let fields = "Package: linux-image-cloud-amd64\nDepends: linux-base-cloud-amd64 (= 7.2.12-1), \
                      linux-image-7.2.12+deb13-cloud-amd64 (= 7.2.12-1)\n";
        let names = depends(fields).filter(|name| is_image(name, &kernel("7.2", META))).collect::<Vec<_>>();
        assert_eq!(names, ["linux-image-7.2.12+deb13-cloud-amd64"]);
        assert!(!depends(fields).any(|name| is_image(name, &kernel("7.3", META))));
    }

    #[test]
    fn only_signed_images_of_the_very_version_count() {
        let cloud = kernel("6.1", META);
        assert!(is_image("linux-image-6.1.0-50-cloud-amd64", &cloud));
        assert!(!is_image("linux-image-6.12.1-cloud-amd64", &cloud));
        assert!(!is_image("linux-image-6.1.0-50-cloud-amd64-unsigned", &cloud));
        assert!(!is_image("linux-image-6.1.0-50-amd64", &cloud));
        let s390x = kernel("6.1", "linux-image-s390x");
        assert!(is_image("linux-image-6.1.0-50-s390x", &s390x));
        assert!(!is_image("linux-image-6.1.0-50-s390x-dbg", &s390x));
        assert!(numbers("linux-image-7.2.12+deb13") > numbers("linux-image-7.2.9+deb13"));
    }
}
