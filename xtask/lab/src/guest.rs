//! The guest's root file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use shell_words::quote;

use super::elf::{is_elf, is_static};
use super::fetch::Files;
use super::initramfs::Initramfs;
use super::{Spec, libs, linux_guest, sie};
use crate::process::{Output, capture, run};
use crate::target::{Arch, Emulator, Machine};

/// The first process.
const INIT: &str = include_str!("../guest/init.sh");
/// Where a static busybox is.
pub const BUSYBOX: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox.static", "/bin/busybox.static"];
/// The module that calls SIE.
const SIE_MODULE: &str = "kvm.ko";
/// Where things get mounted or written.
const DIRS: [&str; 9] = ["dev", "lib/modules", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin"];

/// Puts the guest's files together.
pub fn root(spec: &Spec, kernel: &Files, scratch: &Path) -> Result<Initramfs> {
    let mut fs = Initramfs::default();
    DIRS.iter().for_each(|dir| fs.dir(dir));
    // The kernel opens the console before anything is mounted.
    fs.device("dev/console", 5, 1);
    fs.device("dev/null", 1, 3);
    match kernel.busybox() {
        // It does not run on this host, so init asks it for its applets.
        Some(foreign) => fs.copy(&foreign, "bin/busybox")?,
        None => own_busybox(&mut fs)?,
    }
    fs.file("init", 0o755, INIT);

    let mut order = String::new();
    for module in kernel.modules(spec.machine) {
        let name = module.file_name().context("a module without a name")?.to_string_lossy().into_owned();
        let path = format!("/lib/modules/{name}");
        let module = if spec.machine.arch == Arch::S390x && name == SIE_MODULE {
            sie::link(&module, scratch)?
        } else {
            module
        };
        fs.copy(&lean(spec.machine, &module, scratch)?, &path)?;
        order.push_str(&path);
        order.push('\n');
    }
    fs.file("lab/modules", 0o644, order);
    fs.file("lab/env", 0o644, environment(spec));
    if let Some(command) = &spec.command {
        fs.file("lab/cmd", 0o644, format!("{command}\n"));
    }
    for program in &spec.programs {
        libs::take(&mut fs, program)?;
    }
    if spec.linux_guest {
        linux_guest::take(&mut fs, &kernel.image())?;
    }
    for (from, to) in &spec.files {
        fs.copy(&lean(spec.machine, from, scratch)?, to)?;
    }
    Ok(fs)
}

/// The shell assignments that init reads.
fn environment(spec: &Spec) -> String {
    let mut pairs = vec![("LAB_KERNEL", spec.kernel.name.clone()), ("LAB_CPU", spec.machine.name.to_owned())];
    if let Some((rows, columns)) = spec.terminal {
        pairs.extend([
            ("LAB_TTY", "1".to_owned()),
            ("LINES", rows.to_string()),
            ("COLUMNS", columns.to_string()),
        ]);
    }
    pairs.extend(spec.env.iter().map(|(name, value)| (name.as_str(), value.clone())));
    pairs.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect()
}

/// The host's busybox, with links by the names of all that it can be.
fn own_busybox(fs: &mut Initramfs) -> Result<()> {
    let busybox = busybox()?;
    fs.copy(&busybox, "bin/busybox")?;
    let applets = capture(Command::new(&busybox).arg("--list"), Output::Terminal)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        fs.link(&format!("bin/{applet}"), "busybox");
    }
    Ok(())
}

/// The host's busybox, which must need no library.
pub fn busybox() -> Result<PathBuf> {
    let needs_no_library =
        |path: &PathBuf| fs::read(path).is_ok_and(|bytes| is_static(&bytes).unwrap_or(false));
    let found = BUSYBOX.iter().map(PathBuf::from).find(needs_no_library);
    found.with_context(|| {
        format!("no static busybox at {}; `cargo xtask setup --for lab` installs it", BUSYBOX.join(" or "))
    })
}

/// A file without debug information and signature, if it is an ELF file for Bochs. BTF stays.
///
/// Under Bochs every byte costs time: to read it from the emulated CD, to unpack it, to check a signature.
fn lean(machine: &Machine, file: &Path, scratch: &Path) -> Result<PathBuf> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if machine.emulator != Emulator::Bochs || !is_elf(&bytes) {
        return Ok(file.to_owned());
    }
    let Some(name) = file.file_name() else { bail!("{} has no file name", file.display()) };
    let stripped = scratch.join("lean").join(name);
    fs::create_dir_all(scratch.join("lean")).context("cannot make a directory for stripped files")?;
    run(Command::new("strip").arg("-g").arg("-o").arg(&stripped).arg(file), Output::Terminal)?;
    let mode =
        fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.permissions().mode();
    fs::set_permissions(&stripped, fs::Permissions::from_mode(mode)).context("cannot set permissions")?;
    Ok(stripped)
}
