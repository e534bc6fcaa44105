//! VMs of each stack as `tests/fixtures/identity` has them: what the kernel and the managers show of one, and
//! what must be found.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tracer_user::kernel::identify::{Outcome, VmProcess};

/// A VM.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// The file's name.
    #[serde(skip)]
    pub file: String,
    /// What runs the VM, for the manual.
    pub stack: String,
    /// What it shows.
    pub about: String,
    /// Where its forms were looked up: repository, file and commit, or the program that was looked at.
    pub sources: Vec<String>,
    /// Whether nobody could look them up.
    #[serde(default)]
    pub unverified: bool,
    /// Whether it is no stack, but a trick.
    #[serde(default)]
    pub made_up: bool,
    /// The process.
    pub process: Process,
    /// Its threads, and those of the kernel that work for it.
    pub thread: Vec<Thread>,
    /// Other files, by their path below the root.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// What must be found.
    pub expect: Expected,
}

/// What /proc shows of a process.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "named like the files")]
pub struct Process {
    pub pid: u32,
    pub comm: String,
    pub argv: Vec<String>,
    /// Lines.
    pub cgroup: Vec<String>,
    #[serde(default)]
    pub user: u32,
    #[serde(default)]
    pub fds: Vec<String>,
    #[serde(default)]
    pub mountinfo: String,
}

/// What /proc shows of a thread.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "named like the files")]
pub struct Thread {
    pub tid: u32,
    pub comm: String,
    #[serde(default)]
    pub cgroup: Vec<String>,
    pub schedstat: Option<String>,
    /// Whether it is no thread of the process.
    #[serde(default)]
    pub of_the_kernel: bool,
    /// What must be found: a role, and for a vCPU its number and who told it.
    pub is: String,
}

/// What must be found, and nothing else.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The displayed name.
    pub name: String,
    /// By key: the value, a comma, and who told it.
    pub facts: BTreeMap<String, String>,
    /// By source: what came of asking it.
    pub asked: BTreeMap<String, String>,
    /// vCPUs that are open.
    pub vcpus: Vec<u32>,
    /// Descriptors of VMs.
    #[serde(default)]
    pub vm_fds: Vec<u32>,
}

/// All fixtures, by file name.
///
/// # Errors
/// One cannot be read.
pub fn all() -> Result<Vec<Fixture>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/identity");
    let mut paths = fs::read_dir(&dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    let read = |path: &PathBuf| {
        let mut fixture: Fixture =
            toml::from_str(&fs::read_to_string(path)?).with_context(|| path.display().to_string())?;
        fixture.file = path.file_name().context("no name")?.to_string_lossy().into_owned();
        ensure!(!fixture.sources.is_empty(), "{}: no source is named", fixture.file);
        Ok(fixture)
    };
    paths.iter().map(read).collect()
}

impl Fixture {
    /// Start of each made-up process in clock ticks.
    pub const START_TICKS: u64 = 123_456;
    /// Start of the made-up system in seconds since 1970.
    pub const BOOT_UNIX_S: u64 = 1_700_000_000;

    /// Makes the files of the VM below a directory.
    ///
    /// # Errors
    /// A file cannot be made.
    pub fn put(&self, root: &Path) -> Result<()> {
        let Process { pid, comm, argv, cgroup, user, fds, mountinfo } = &self.process;
        let proc = root.join("proc");
        let process = proc.join(pid.to_string());
        let lines = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        put(&proc.join("stat"), &format!("cpu 1 2\nbtime {}\n", Self::BOOT_UNIX_S))?;
        let start = Self::START_TICKS;
        put(
            &process.join("stat"),
            &format!("{pid} ({comm}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0\n"),
        )?;
        put(&process.join("status"), &format!("Name:\t{comm}\nUid:\t{user}\t{user}\t{user}\t{user}\n"))?;
        put(&process.join("comm"), &format!("{comm}\n"))?;
        put(&process.join("cmdline"), &argv.iter().map(|word| format!("{word}\0")).collect::<String>())?;
        put(&process.join("cgroup"), &lines(cgroup))?;
        put(&process.join("mountinfo"), mountinfo)?;
        fs::create_dir_all(process.join("fd"))?;
        for (fd, link) in fds.iter().enumerate() {
            symlink(link, process.join(format!("fd/{fd}")))?;
        }
        for thread in &self.thread {
            let dir = if thread.of_the_kernel {
                proc.join(thread.tid.to_string())
            } else {
                process.join(format!("task/{}", thread.tid))
            };
            put(&dir.join("comm"), &format!("{}\n", thread.comm))?;
            put(&dir.join("cgroup"), &lines(&thread.cgroup))?;
            if let Some(schedstat) = &thread.schedstat {
                put(&dir.join("schedstat"), &format!("{schedstat}\n"))?;
            }
        }
        self.files.iter().try_for_each(|(path, text)| put(&root.join(path), text))
    }

    /// What was found, in the form of the files.
    pub fn found(vm: &VmProcess) -> (Expected, Vec<(u32, String)>) {
        let facts = vm.identity.facts().map(|(kind, fact)| {
            let source = fact.source.info().id;
            (kind.info().key.to_owned(), format!("{}, {source}", fact.value))
        });
        let outcome = |outcome: &Outcome| match outcome {
            Outcome::Told => "told".to_owned(),
            Outcome::Silent => "silent".to_owned(),
            Outcome::Absent => "absent".to_owned(),
            Outcome::Denied => "denied".to_owned(),
            Outcome::Failed(why) => why.clone(),
        };
        let asked = vm.asked.iter().map(|(source, came)| (source.info().id.to_owned(), outcome(came)));
        let threads = vm.threads.iter().map(|thread| {
            let vcpu = thread.vcpu.map(|(number, source)| format!(" {number} {}", source.info().id));
            (thread.tid, thread.role.id().to_owned() + &vcpu.unwrap_or_default())
        });
        let expected = Expected {
            name: vm.identity.name().into_owned(),
            facts: facts.collect(),
            asked: asked.collect(),
            vcpus: vm.vcpus.clone(),
            vm_fds: vm.vm_fds.clone(),
        };
        (expected, threads.collect())
    }
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("no directory")?)?;
    fs::write(path, text).with_context(|| path.display().to_string())
}
