//! `cargo xtask demo`: exitlat at work on real exits, on any machine, with one command.

use std::io;

use anyhow::Result;

use crate::build::{EXITLAT, Profile, build};
use crate::guest::{add_programs, boot, terminal};
use crate::matrix::Matrix;
use crate::process::Output;
use crate::setup::{self, Purpose};
use lab::Spec;
use lab::target::{AMD, Arch};

/// Two guests, and exitlat's view of them. One exits to the kernel and halts, one exits to its VMM. Then
/// Linux boots under QEMU.
const SCRIPT: &str = r#"
workload --name web --forever cpuid=20 msr=10 khlt=5 >/dev/null 2>&1 &
workload --name db --forever --io-sleep-us 200 --io-slow-every 20 io=10 mmio=5 cpuid=5 >/dev/null 2>&1 &
exitlat live --by vm,reason 2 3
kill %1 %2 2>/dev/null
echo
echo 'A recording of a guest that makes exactly 1000 CPUID, 500 port and 300 MSR exits.'
echo 'Its last port exit ends it and has no entry:'
exitlat record -o /tmp/exact -- workload cpuid=1000 io=500 msr=300 >/dev/null
exitlat report /tmp/exact
echo
echo 'A recording of Linux under QEMU, from power-on to its first process:'
boot='linux-guest linux </dev/null >/tmp/serial 2>/tmp/qemu.txt &
until grep -q "linux-guest: ready" /tmp/serial; do
    kill -0 $! || { cat /tmp/qemu.txt; exit 1; }
    sleep 0.1
done'
exitlat record -o /tmp/boot -- sh -c "$boot"
exitlat report /tmp/boot --by vm,reason
kill $(pidof qemu-system-x86_64)
"#;

/// Runs the demo, then prints how to trace one's own guests.
pub fn run() -> Result<u8> {
    setup::run_for(Purpose::Lab)?;
    let mut spec = Spec::new(Matrix::load()?.kernel(Arch::X86_64, None)?, AMD);
    add_programs(&mut spec, Output::Terminal)?;
    spec.take_linux_guest()?;
    spec.terminal = terminal();
    spec.command = Some(SCRIPT.to_owned());
    eprintln!(
        "demo: booting a guest with Linux {} and KVM; in it two small KVM guests, then Linux under QEMU",
        spec.kernel.name
    );
    let status = boot(&spec, &mut io::stdout())?;
    let program = build(EXITLAT, &Profile::shipped(Arch::X86_64), Output::Terminal)?;
    println!(
        "\nTo see your own guests, on a host that runs KVM, as root:\n  \
         cargo xtask run -- live\n\
         or copy the program, which needs nothing but a kernel with BPF and KVM loaded, and run it there:\n  \
         {} live",
        program.display()
    );
    Ok(status)
}
