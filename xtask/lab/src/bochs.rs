//! The Intel guest: Bochs emulates a Haswell with VMX and EPT, on which the stock kvm_intel loads.
//!
//! A distribution's Bochs needs some workarounds. It has the debugger built in, so a file tells it to
//! continue. It wants a terminal, so script(1) gives it one. It boots from a CD only. It calls a power-off a
//! panic, so the serial port alone decides about success. The baud rate is emulated: little output is quick
//! output.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use which::which;

use super::running::Running;
use super::{Sink, Spec};
use crate::process::{Output, cannot_start, run as run_tool};

const APPEND: &str = "console=ttyS0,115200 quiet panic=1 oops=panic mitigations=off nokaslr tsc=reliable \
                      cryptomgr.notests no_timer_check";

/// Files of the distribution for Bochs and its boot CD, each with its known places.
const FIRMWARE: [(&str, &[&str]); 4] = [
    ("BIOS-bochs-latest", &["/usr/share/bochs/BIOS-bochs-latest"]),
    ("VGABIOS", &["/usr/share/bochs/VGABIOS-lgpl-latest", "/usr/share/vgabios/vgabios.bin"]),
    ("isolinux.bin", &["/usr/lib/ISOLINUX/isolinux.bin", "/usr/share/syslinux/isolinux.bin"]),
    ("ldlinux.c32", &["/usr/lib/syslinux/modules/bios/ldlinux.c32", "/usr/share/syslinux/ldlinux.c32"]),
];
/// The names of the emulator: Debian's, everyone else's.
const BOCHS: [&str; 2] = ["bochs-bin", "bochs"];

/// Boots the guest, passes its output on, returns the command's status.
pub fn run(spec: &Spec, kernel: &Path, initramfs: &Path, scratch: &Path, sink: Sink<'_>) -> Result<u8> {
    let firmware = FIRMWARE.map(find);
    let [bios, vgabios, isolinux, ldlinux] = firmware;
    let (bios, vgabios, isolinux, ldlinux) = (bios?, vgabios?, isolinux?, ldlinux?);

    let tree = scratch.join("iso");
    fs::create_dir_all(&tree).context("cannot make the directory of the boot CD")?;
    for (from, name) in [
        (kernel, "vmlinuz"),
        (initramfs, "initrd"),
        (isolinux.as_path(), "isolinux.bin"),
        (ldlinux.as_path(), "ldlinux.c32"),
    ] {
        fs::copy(from, tree.join(name))
            .with_context(|| format!("cannot copy {} to the CD", from.display()))?;
    }
    let menu = format!(
        "default l\nprompt 0\nlabel l\n kernel vmlinuz\n initrd initrd\n append {APPEND} {}\n",
        spec.append
    );
    write(&tree.join("isolinux.cfg"), &menu)?;
    let mut iso = Command::new("xorriso");
    iso.args("-as mkisofs -quiet -o lab.iso -b isolinux.bin -c boot.cat".split(' '));
    iso.args("-no-emul-boot -boot-load-size 4 -boot-info-table iso/".split(' '));
    // It greets even when told to be quiet.
    let greeting = scratch.join("xorriso.txt");
    let log = File::create(&greeting).with_context(|| format!("cannot write {}", greeting.display()))?;
    run_tool(iso.current_dir(scratch), Output::Log(&log)).with_context(|| {
        format!("cannot make the boot CD: {}", fs::read_to_string(&greeting).unwrap_or_default())
    })?;

    let port = scratch.join("serial.txt");
    write(&port, "")?;
    write(&scratch.join("go"), "c\n")?;
    write(&scratch.join("bochsrc"), &settings(spec, &bios, &vgabios))?;
    let bochs = BOCHS.into_iter().find(|name| which(name).is_ok()).unwrap_or(BOCHS[0]);
    let mut script = Command::new("script");
    script.args(["-qfec", &format!("exec {bochs} -q -rc go -f bochsrc"), "tty.txt"]);
    script.current_dir(scratch).env("TERM", "xterm");
    script.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = script.spawn().with_context(|| cannot_start(&script))?;
    let port = File::open(&port).with_context(|| format!("cannot read {}", port.display()))?;
    Running::new(child, port).watch(Duration::from_secs(spec.silence), sink).with_context(|| {
        let log = fs::read_to_string(scratch.join("bochs.log")).unwrap_or_default();
        let panics = log.lines().filter(|line| line.contains("p[")).collect::<Vec<_>>().join("\n");
        format!("the lab under Bochs failed {panics}").trim().to_owned()
    })
}

fn find((name, places): (&str, &[&str])) -> Result<PathBuf> {
    let found = places.iter().map(PathBuf::from).find(|place| place.exists());
    found.with_context(|| {
        format!("no {name} at {}; `cargo xtask setup --for lab` installs it", places.join(" or "))
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// How many instructions the emulated processor executes in a second of its own time.
pub const INSTRUCTIONS_PER_SECOND: u64 = 100_000_000;

/// The model is the newest one on which the kernel boots and measures its clock right.
fn settings(spec: &Spec, bios: &Path, vgabios: &Path) -> String {
    let (smp, mem, bios, vgabios) = (spec.smp, spec.mem, bios.display(), vgabios.display());
    format!(
        "config_interface: textconfig\n\
         display_library: term\n\
         cpu: model=corei7_haswell_4770, count={smp}, ips={INSTRUCTIONS_PER_SECOND}, \
         reset_on_triple_fault=0, ignore_bad_msrs=1\n\
         memory: guest={mem}, host={mem}\n\
         romimage: file={bios}, options=fastboot\n\
         vgaromimage: file={vgabios}\n\
         pci: enabled=1, chipset=i440fx\n\
         ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
         ata0-master: type=cdrom, path=\"lab.iso\", status=inserted\n\
         boot: cdrom\n\
         com1: enabled=1, mode=file, dev=\"serial.txt\"\n\
         clock: sync=none, time0=1700000000\n\
         vga: extension=none, realtime=0\n\
         sound: driver=dummy\n\
         speaker: enabled=0\n\
         mouse: enabled=0\n\
         log: bochs.log\n\
         panic: action=fatal\n\
         error: action=report\n\
         info: action=report\n\
         debug: action=ignore\n"
    )
}
