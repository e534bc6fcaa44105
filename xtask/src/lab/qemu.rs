//! The AMD guest: QEMU's own emulator has SVM, so a stock kernel finds KVM hardware on any host.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::machine::Machine;
use super::{Sink, Spec};
use crate::process::cannot_start;

const QEMU: &str = "qemu-system-x86_64";
/// All CPUs in one thread. With a thread for each, QEMU 7.2 now and then runs stale code after the kernel has
/// patched itself, which attaching to a tracepoint makes it do: hangs and stray breakpoint exceptions follow.
const ACCEL: &str = "tcg,thread=single";
/// Kernels that use CMPXCHG16B crash now and then under QEMU 7.2's emulation, 6.12 at every second boot.
const CPU: &str = "max,cx16=off";
/// `panic=1` with `-no-reboot` ends QEMU; self-tests of ciphers only take time.
const APPEND: &str = "console=ttyS0 quiet panic=1 oops=panic cryptomgr.notests";

/// Boots the guest, passes its output on, returns the command's status.
pub fn run(spec: &Spec, kernel: &Path, initramfs: &Path, scratch: &Path, sink: Sink<'_>) -> Result<u8> {
    let complaints = scratch.join("qemu.txt");
    let mut qemu = command(spec, kernel, initramfs);
    qemu.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    let stderr =
        File::create(&complaints).with_context(|| format!("cannot write {}", complaints.display()))?;
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let mut child = qemu.spawn().with_context(|| cannot_start(&qemu))?;
    let port = child.stdout.take().context("QEMU has no standard output")?;
    Machine::new(child, port).watch(Duration::from_secs(spec.silence), sink).with_context(|| {
        let complaints = fs::read_to_string(&complaints).unwrap_or_default();
        format!("the lab under QEMU failed {complaints}").trim().to_owned()
    })
}

/// A shell on the serial console, with the host's terminal as that console.
pub fn interactive(spec: &Spec, kernel: &Path, initramfs: &Path) -> Result<u8> {
    let mut qemu = command(spec, kernel, initramfs);
    qemu.args(["-display", "none", "-serial", "mon:stdio"]);
    let status = qemu.status().with_context(|| cannot_start(&qemu))?;
    if !status.success() {
        bail!("QEMU failed: {status}");
    }
    Ok(0)
}

fn command(spec: &Spec, kernel: &Path, initramfs: &Path) -> Command {
    let mut qemu = Command::new(QEMU);
    let cpus = if spec.icount { 1 } else { spec.smp };
    qemu.args(["-accel", ACCEL, "-cpu", CPU, "-no-reboot", "-nodefaults", "-no-user-config", "-net", "none"]);
    if spec.icount {
        // One instruction is one nanosecond of guest time, whatever the host does.
        qemu.args(["-icount", "shift=0,sleep=off"]);
    }
    qemu.args(["-smp", &cpus.to_string(), "-m", &spec.mem.to_string()]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    qemu.arg("-append").arg(format!("{APPEND} {}", spec.append));
    qemu
}
