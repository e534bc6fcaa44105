//! Facts about the host, each read once.

use std::fs;

use tracer_ebpf::abi;

use crate::recording::clock::Clocks;

/// What a dump's header says of the machine.
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

/// The vendor modules that can sit under kvm.ko.
const BACKENDS: [&str; 3] = ["kvm_intel", "kvm_amd", "kvm_pvm"];

impl Host {
    /// Reads them.
    pub fn read() -> Self {
        let sys = |name: &str| {
            fs::read_to_string(format!("/proc/sys/kernel/{name}")).map_or_else(|_| "unknown".into(), trimmed)
        };
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo_field(&cpuinfo, "model name").unwrap_or("unknown").to_owned();
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
    BACKENDS.into_iter().filter(|name| fs::metadata(format!("/sys/module/{name}")).is_ok()).collect()
}

/// The isa of this host's exits, for kernels whose records do not say: by the processor's vendor, as perf
/// does it. Hygon processors are SVM.
pub fn isa_by_vendor() -> u32 {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    match cpuinfo_field(&cpuinfo, "vendor_id") {
        Some("AuthenticAMD" | "HygonGenuine") => abi::ISA_SVM,
        _ => abi::ISA_VMX,
    }
}

fn cpuinfo_field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn trimmed(text: String) -> String {
    text.trim().to_owned()
}

/// CLOCK_MONOTONIC, the clock of `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// All clocks at one moment, or nearly so: this thread may lose its CPU between two of them, so it tries again.
pub fn clocks() -> Clocks {
    const TRIES: u32 = 10;
    const NEAR_NS: u64 = 1_000_000;
    let mut clocks = Clocks { monotonic_ns: 0, boot_ns: 0, unix_ms: 0 };
    for _ in 0..TRIES {
        let boot_ns = clock(libc::CLOCK_BOOTTIME);
        clocks = Clocks { monotonic_ns: monotonic_ns(), boot_ns, unix_ms: unix_ms() };
        if clock(libc::CLOCK_BOOTTIME) - boot_ns < NEAR_NS {
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

fn clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing; both clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}
