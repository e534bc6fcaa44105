//! Linux as a guest of the lab: QEMU with KVM, its firmware, the lab's own kernel and a small initramfs.
//!
//! The lab's machine then has what production hosts have: a VMM with threads of its own, a monitor, a name on
//! its command line, and a guest with an operating system. `linux-guest NAME` starts it there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use which::which;

use super::guest::busybox;
use super::initramfs::Initramfs;
use super::libs;

/// The program of the lab that starts the guest.
const START: &str = include_str!("../guest/linux-guest.sh");
/// The first process of the guest.
const INIT: &str = include_str!("../guest/linux-guest-init.sh");
/// The VMM.
const VMM: &str = "qemu-system-x86_64";
/// Where distributions keep QEMU's firmware.
const FIRMWARE_PLACES: [&str; 2] = ["/usr/share/qemu", "/usr/share/seabios"];
/// The firmware of a machine without PCI that boots a kernel.
const FIRMWARE: [&str; 3] = ["qboot.rom", "kvmvapic.bin", "linuxboot_dma.bin"];
/// How many CPUID instructions the guest's `cpuid` program executes.
const CPUIDS: u32 = 1000;

/// Puts QEMU, its firmware and the guest into the lab's root file system.
///
/// # Errors
/// If QEMU, its firmware or a static busybox is not on this host.
pub fn take(fs: &mut Initramfs, kernel: &Path) -> Result<()> {
    let vmm = which(VMM).with_context(|| format!("no {VMM}; `cargo xtask setup --for lab` installs it"))?;
    libs::take(fs, &vmm)?;
    for name in FIRMWARE {
        fs.copy(&firmware(name)?, &format!("usr/share/qemu/{name}"))?;
    }
    fs.copy(kernel, "linux-guest/vmlinuz")?;
    let mut initramfs = Vec::new();
    root()?.write(&mut initramfs)?;
    fs.file("linux-guest/initramfs.cpio", 0o644, initramfs);
    fs.file("bin/linux-guest", 0o755, START);
    Ok(())
}

fn firmware(name: &str) -> Result<PathBuf> {
    let mut places = FIRMWARE_PLACES.iter().map(|place| PathBuf::from(place).join(name));
    places.find(|path| path.exists()).with_context(|| {
        format!(
            "no {name} in {}; `cargo xtask setup --for lab` installs QEMU with its firmware",
            FIRMWARE_PLACES.join(" or ")
        )
    })
}

/// The guest's root file system.
fn root() -> Result<Initramfs> {
    let mut fs = Initramfs::default();
    // The kernel opens the console before anything is mounted.
    fs.device("dev/console", 5, 1);
    fs.device("dev/null", 1, 3);
    fs.copy(&busybox()?, "bin/busybox")?;
    fs.file("init", 0o755, INIT);
    fs.file("bin/cpuid", 0o755, cpuid_program());
    fs.file("cpuids", 0o644, format!("{CPUIDS}\n"));
    Ok(fs)
}

/// An ELF program that executes [`CPUIDS`] CPUID instructions and ends. It has no C library, which would
/// execute more of them at its start.
fn cpuid_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut code = vec![0x49, 0xc7, 0xc0]; // mov r8, CPUIDS
    code.extend(CPUIDS.to_le_bytes());
    code.extend([
        0x31, 0xc0, // again: xor eax, eax
        0x0f, 0xa2, // cpuid
        0x49, 0xff, 0xc8, // dec r8
        0x75, 0xf7, // jnz again
        0x31, 0xff, // xor edi, edi
        0xb8, 0x3c, 0x00, 0x00, 0x00, // mov eax, __NR_exit
        0x0f, 0x05, // syscall
    ]);
    let size = HEADERS + code.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut put = |width: usize, value: u64| elf.extend_from_slice(&value.to_le_bytes()[..width]);
    put(2, 2); // an executable
    put(2, 62); // x86-64
    put(4, 1); // version
    put(8, BASE + HEADERS); // entry
    put(8, 64); // the program header's offset
    put(8, 0); // no section headers
    put(4, 0); // flags
    [64, 56, 1, 64, 0, 0].into_iter().for_each(|value| put(2, value));
    put(4, 1); // PT_LOAD
    put(4, 5); // readable, executable
    [0, BASE, BASE, size, size, 0x1000].into_iter().for_each(|value| put(8, value));
    elf.extend(code);
    elf
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::elf::is_static;

    /// On this host CPUID is an instruction like any other.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_program_runs_and_ends() {
        let elf = cpuid_program();
        assert!(is_static(&elf).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("cpuid");
        let draft = dir.path().join("draft");
        fs::write(&draft, elf).unwrap();
        // Written by another process: a test that starts one meanwhile would hold the file open for writing.
        let mut install = Command::new("install");
        assert!(install.args(["-m", "755"]).arg(&draft).arg(&program).status().unwrap().success());
        assert!(Command::new(program).status().unwrap().success());
    }
}
