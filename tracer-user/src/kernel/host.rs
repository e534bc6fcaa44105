//! Facts about the host, each read once.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::{
    decode::Isa,
    kernel::{arch, cpuinfo, namespaces},
    model::clock::Clocks,
};

/// What a recording's header says of the machine.
#[derive(Clone, Debug)]
pub struct Host {
    /// Node name.
    pub name: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine type.
    pub arch: String,
    /// Processor model.
    pub cpu: String,
    /// Loaded KVM vendor modules, `builtin` or `none`.
    pub backend: String,
}

impl Host {
    /// Reads them.
    pub fn read() -> Self {
        let sys = |name: &str| {
            fs::read_to_string(format!("/proc/sys/kernel/{name}")).map_or_else(|_| "unknown".into(), trimmed)
        };
        let cpu = cpu_model(cpuinfo::read());
        let backends = backends();
        Self {
            name: sys("hostname"),
            kernel: sys("osrelease"),
            arch: std::env::consts::ARCH.to_owned(),
            cpu,
            backend: if backends.is_empty() { "none".into() } else { backends.join("+") },
        }
    }
}

/// The vendor modules that are loaded or built in.
pub fn backends() -> Vec<&'static str> {
    let known = arch::host().backends.iter().copied();
    known.filter(|name| fs::metadata(format!("/sys/module/{name}")).is_ok()).collect()
}

/// The isa of this host's exits, for kernels whose records do not say: by the processor's vendor. [`None`] if
/// the vendor is unknown.
pub fn default_isa() -> Option<Isa> {
    (arch::host().isa)(cpuinfo::field(cpuinfo::read(), "vendor_id").unwrap_or_default())
}

/// The processor's model; s390x has numbers for them.
fn cpu_model(cpuinfo: &str) -> String {
    let numbered = || {
        let vendor = cpuinfo::field(cpuinfo, "vendor_id")?;
        Some(format!("{vendor} machine {}", cpuinfo::field(cpuinfo, "machine")?))
    };
    let named = cpuinfo::field(cpuinfo, "model name").map(str::to_owned);
    named.or_else(numbered).unwrap_or_else(|| "unknown".to_owned())
}

/// Major and minor version of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

/// Version of the running kernel; zeroes if unknown.
pub fn kernel_version() -> Version {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    Version(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn trimmed(text: String) -> String {
    text.trim().to_owned()
}

/// CLOCK_MONOTONIC of the host, the clock of `bpf_ktime_get_ns`, whatever time namespace this process is in.
pub fn monotonic_ns() -> u64 {
    clock(ClockId::Monotonic).wrapping_add_signed(-namespaces::clock_offsets().monotonic_ns)
}

/// CLOCK_BOOTTIME of the host.
fn boot_ns() -> u64 {
    clock(ClockId::Boottime).wrapping_add_signed(-namespaces::clock_offsets().boot_ns)
}

/// All clocks at one moment, or nearly so: this thread may lose its CPU between two of them, so it tries
/// again.
pub fn clocks() -> Clocks {
    const TRIES: u32 = 10;
    const NEAR_NS: u64 = 1_000_000;
    let mut clocks = Clocks { monotonic_ns: 0, boot_ns: 0, unix_ms: 0 };
    for _ in 0..TRIES {
        let before_ns = boot_ns();
        clocks = Clocks { monotonic_ns: monotonic_ns(), boot_ns: before_ns, unix_ms: unix_ms() };
        if boot_ns() - before_ns < NEAR_NS {
            break;
        }
    }
    clocks
}

/// Whether this process was started with a signal ignored, as by nohup.
pub fn ignores(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 != 0
}

fn clock(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const S390X: &str = "vendor_id       : IBM/S390\n# processors    : 2\n\
        features\t: esan3 zarch stfle msa ldisp eimm etf3eh highgprs vx vxe vxe2 \n\
        processor 0: version = 00,  identification = 000000,  machine = 8561\n\n\
        cpu number      : 0\nmachine         : 8561\n";

    #[test]
    fn models_have_names_or_numbers() {
        assert_eq!(cpu_model(S390X), "IBM/S390 machine 8561");
        assert_eq!(cpu_model("vendor_id\t: X\nmodel name\t: Fast One\n"), "Fast One");
        assert_eq!(cpu_model(""), "unknown");
    }
}
