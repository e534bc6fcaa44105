//! Packages from suites the host does not use: apt with a state directory of its own.
//!
//! The host's apt is not changed and nothing is installed. The address of the repository comes from the
//! host's apt, and signatures are checked with the distribution's keyring as always.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::kernel::Kernel;
use super::sources::Source;
use crate::process::{Output, capture, probe, run_quietly};
use crate::target::Arch;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Variables with the addresses of repositories, for hosts whose apt knows none.
const REPOSITORY_ENV: &str = "EXITLAT_DEBIAN_REPOSITORY";
const SECURITY_ENV: &str = "EXITLAT_DEBIAN_SECURITY_REPOSITORY";
/// Suites with this suffix are in the repository of security updates, which has an address of its own.
const SECURITY: &str = "-security";
/// A kernel's files are in one package or, since 6.19, in three.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];
/// How many kernels of one source are tried: the current one, then older ones.
const IMAGES: usize = 3;

/// How packages are verified.
#[derive(Debug, Clone, Copy)]
pub enum Trust {
    /// By the signatures of Debian's archive.
    Keyring,
    /// Not at all, for a repository that a test has made.
    #[cfg(test)]
    Unsigned,
}

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
    ///
    /// # Errors
    /// If the repository is not known or does not answer, or its index cannot be verified.
    pub fn open(name: &str, repository: Option<&str>, trust: Trust, arch: Arch, dir: &Path) -> Result<Self> {
        let options = match trust {
            Trust::Keyring => {
                ensure!(
                    Path::new(KEYRING).exists(),
                    "{KEYRING} is missing, so packages cannot be verified: install debian-archive-keyring"
                );
                format!("signed-by={KEYRING}")
            }
            #[cfg(test)]
            Trust::Unsigned => "trusted=yes".to_owned(),
        };
        let address = repository.map_or_else(|| address_of(name), |address| Ok(address.to_owned()))?;
        let suite = Self { name: name.to_owned(), arch, dir: dir.to_owned() };
        for sub in ["state/lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("cannot make {}", dir.join(sub).display()))?;
        }
        let source = format!("deb [arch={} {options}] {address} {name} main\n", arch.debian());
        for (file, contents) in [("sources.list", source.as_str()), ("status", "")] {
            let path = dir.join(file);
            fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
        }
        run_quietly(suite.apt("apt-get").args(["-qq", "update"]))
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
            // Without this, an index that cannot be fetched is a mere warning.
            "APT::Update::Error-Mode=any".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    /// The images of the kernel's series in this suite, e.g. `linux-image-6.1.0-50-cloud-amd64`. The current
    /// one comes first, then older ones, newest first. At most three.
    ///
    /// # Errors
    /// If the suite has no kernel of that series.
    pub fn images(&self, kernel: &Kernel, source: &Source) -> Result<Vec<String>> {
        let is_image = |name: &str| is_image(name, &kernel.version, source);
        let fields = self.query(&["show", "--no-all-versions", &source.meta]).unwrap_or_default();
        let names = self.query(&["pkgnames", &format!("{}{}", PARTS[0], kernel.version)])?;
        let mut older = names.lines().filter(|name| is_image(name)).collect::<Vec<_>>();
        older.sort_by_key(|name| std::cmp::Reverse(numbers(name)));
        let mut images = depends(&fields).filter(|name| is_image(name)).collect::<Vec<_>>();
        for name in older {
            if !images.contains(&name) {
                images.push(name);
            }
        }
        if images.is_empty() {
            bail!("the suite has no kernel {} any more", kernel.version);
        }
        Ok(images.into_iter().take(IMAGES).map(str::to_owned).collect())
    }

    /// The packages that make up a kernel, image first.
    pub fn parts(&self, image: &str) -> Vec<String> {
        let release = image.trim_start_matches(PARTS[0]);
        let parts = PARTS.map(|part| format!("{part}{release}"));
        let exists = |name: &String| {
            self.query(&["pkgnames", name]).is_ok_and(|names| names.lines().any(|n| n == name))
        };
        parts.into_iter().filter(exists).collect()
    }

    /// Downloads a package; apt checks it against the signed index.
    ///
    /// # Errors
    /// If the suite does not have it, or its file cannot be fetched or verified.
    pub fn download(&self, name: &str) -> Result<Package> {
        run_quietly(self.apt("apt-get").args(["-qq", "download", name]))
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

/// The address of the repository that has a suite: from the environment, else from the host's apt.
fn address_of(suite: &str) -> Result<String> {
    let (variable, label) = match suite.ends_with(SECURITY) {
        true => (SECURITY_ENV, "Debian-Security"),
        false => (REPOSITORY_ENV, "Debian"),
    };
    if let Ok(address) = std::env::var(variable) {
        return Ok(address);
    }
    let format = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(CREATED_BY)|$(REPO_URI)";
    let targets = probe("apt-get", &["indextargets", "--format", format]).unwrap_or_default();
    let prefix = format!("Debian|{label}|main|Packages|");
    let found = targets.lines().find_map(|line| line.strip_prefix(&prefix));
    found.map(str::to_owned).with_context(|| {
        format!(
            "apt here has no index of a {label} repository: run `apt-get update` on Debian, or set \
             {variable} to the address of a repository"
        )
    })
}

/// The names in the Depends line of `apt-cache show`.
fn depends(fields: &str) -> impl Iterator<Item = &str> {
    let line = fields.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    line.split(", ").filter_map(|clause| clause.split(' ').next())
}

/// Whether a package is a signed kernel of that series, without debug information. The source's meta package
/// names the flavour.
fn is_image(package: &str, version: &str, source: &Source) -> bool {
    let flavour = source.meta.trim_start_matches("linux-image");
    let release = package.strip_prefix(PARTS[0]).and_then(|rest| rest.strip_prefix(version));
    release.is_some_and(|rest| {
        rest.starts_with(['.', '-', '+']) && rest.len() > flavour.len() && rest.ends_with(flavour)
    })
}

/// The numbers in a name, which order versions well enough.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(meta: &str) -> Source {
        let suite = "any".to_owned();
        Source { suite, meta: meta.to_owned(), last_resort: false, repository: None }
    }

    const META: &str = "linux-image-cloud-amd64";

    #[test]
    fn the_meta_package_leads_to_the_image() {
        let fields = "Package: linux-image-cloud-amd64\nDepends: linux-base-cloud-amd64 (= 7.2.12-1), \
                      linux-image-7.2.12+deb13-cloud-amd64 (= 7.2.12-1)\n";
        let names = depends(fields).filter(|name| is_image(name, "7.2", &source(META))).collect::<Vec<_>>();
        assert_eq!(names, ["linux-image-7.2.12+deb13-cloud-amd64"]);
        assert!(!depends(fields).any(|name| is_image(name, "7.3", &source(META))));
    }

    #[test]
    fn only_signed_images_of_the_very_version_count() {
        let cloud = source(META);
        assert!(is_image("linux-image-6.1.0-50-cloud-amd64", "6.1", &cloud));
        assert!(!is_image("linux-image-6.12.1-cloud-amd64", "6.1", &cloud));
        assert!(!is_image("linux-image-6.1.0-50-cloud-amd64-unsigned", "6.1", &cloud));
        assert!(!is_image("linux-image-6.1.0-50-amd64", "6.1", &cloud));
        assert!(!is_image("linux-image-6.1-cloud-amd64", "6.1", &cloud), "it is a meta package");
        let s390x = source("linux-image-s390x");
        assert!(is_image("linux-image-6.1.0-50-s390x", "6.1", &s390x));
        assert!(!is_image("linux-image-6.1.0-50-s390x-dbg", "6.1", &s390x));
        assert!(numbers("linux-image-7.2.12+deb13") > numbers("linux-image-7.2.9+deb13"));
    }
}
