//! The guests under QEMU.
//!
//! Its emulation of x86 has SVM, so a stock kernel finds KVM hardware on any host. Its emulation of s390x has
//! no SIE, so the lab scripts one (see `sie`).

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::running::Running;
use super::{Sink, Spec};
use crate::process::cannot_start;
use crate::target::Arch;

/// How an architecture is emulated.
#[derive(Debug)]
struct Settings {
    program: &'static str,
    cpu: &'static str,
    append: &'static str,
    /// How many CPUs there are with `icount`, if not as many as asked for.
    icount_cpus: Option<u32>,
}

/// `panic=1` with `-no-reboot` ends QEMU. Self-tests of ciphers only take time. A host may stall for seconds,
/// so the guest's watchdogs wait longer, and its timer is not tested.
///
/// Kernels that use CMPXCHG16B crash now and then under QEMU 7.2's emulation, 6.12 at every second boot.
const X86_64: Settings = Settings {
    program: "qemu-system-x86_64",
    cpu: "max,cx16=off,mpx=off",
    append: "console=ttyS0 quiet panic=1 oops=panic cryptomgr.notests no_timer_check \
             watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=300",
    icount_cpus: Some(1),
};
const S390X: Settings = Settings {
    program: "qemu-system-s390x",
    cpu: "max",
    append: "quiet panic=1 oops=panic cryptomgr.notests \
             watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=300",
    icount_cpus: None,
};

/// All CPUs in one thread. With a thread for each, QEMU 7.2 now and then runs stale code after the kernel has
/// patched itself, which attaching to a tracepoint makes it do: hangs and stray breakpoint exceptions follow.
const ACCEL: &str = "tcg,thread=single";

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
    Running::new(child, port).watch(Duration::from_secs(spec.silence), sink).with_context(|| {
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
    let settings = match spec.machine.arch {
        Arch::X86_64 => &X86_64,
        Arch::S390x => &S390X,
    };
    let mut qemu = Command::new(settings.program);
    let cpus = settings.icount_cpus.filter(|_| spec.icount).unwrap_or(spec.smp);
    qemu.args([
        "-accel",
        ACCEL,
        "-cpu",
        settings.cpu,
        "-no-reboot",
        "-nodefaults",
        "-no-user-config",
        "-net",
        "none",
    ]);
    if spec.icount {
        // One instruction is one nanosecond of guest time, whatever the host does.
        qemu.args(["-icount", "shift=0,sleep=off"]);
    }
    qemu.args(["-smp", &cpus.to_string(), "-m", &spec.mem.to_string()]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    qemu.arg("-append").arg(format!("{} {}", settings.append, spec.append));
    qemu
}
