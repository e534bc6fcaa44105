//! What this process may do, and what to do about a refusal of the kernel.
//!
//! Raw tracepoints need CAP_BPF and CAP_PERFMON only. Tracepoints and kprobes go through `perf_event_open`,
//! where Debian's and Ubuntu's kernels know higher levels of `kernel.perf_event_paranoid` than mainline.
//! Those levels require CAP_SYS_ADMIN, and the error is EACCES.

use std::{fs, io};

use crate::kernel::Unsupported;

/// The highest level of `kernel.perf_event_paranoid` of the mainline kernel.
const HIGHEST_MAINLINE: i32 = 2;

/// A capability, by its bit (`include/uapi/linux/capability.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(u32);

/// Looks into other processes.
pub const SYS_PTRACE: Capability = Capability(19);
/// Everything that has no capability of its own.
pub const SYS_ADMIN: Capability = Capability(21);
/// Raises limits.
pub const SYS_RESOURCE: Capability = Capability(24);
/// Opens perf events and attaches tracing programs.
pub const PERFMON: Capability = Capability(38);
/// Loads BPF programs.
pub const BPF: Capability = Capability(39);

/// What this process may do on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Effective capabilities.
    capabilities: u64,
    /// `kernel.perf_event_paranoid`.
    paranoid: Option<i32>,
    /// The soft limit of locked memory in bytes; [`None`] for no limit.
    memlock_bytes: Option<u64>,
    /// CPUs that are online, as the kernel lists them.
    online: String,
}

impl Rights {
    /// Looks at this process and this host.
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim_end().to_owned();
        let (status, limits) = (read("/proc/self/status"), read("/proc/self/limits"));
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Self {
            capabilities: effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0),
            paranoid: read("/proc/sys/kernel/perf_event_paranoid").parse().ok(),
            memlock_bytes: memlock(&limits),
            online: read("/sys/devices/system/cpu/online"),
        }
    }

    /// Whether this process has a capability.
    pub fn has(&self, Capability(bit): Capability) -> bool {
        self.capabilities & (1 << bit) != 0
    }

    /// Whether it may load tracing programs.
    pub fn may_load(&self) -> bool {
        self.has(SYS_ADMIN) || (self.has(BPF) && self.has(PERFMON))
    }

    /// The level of `kernel.perf_event_paranoid`, if it may keep this process from tracepoints and kprobes.
    /// Kernels differ: only trying tells.
    pub fn doubtful_level(&self) -> Option<i32> {
        self.paranoid.filter(|level| *level > HIGHEST_MAINLINE && !self.has(SYS_ADMIN))
    }

    /// The limit of locked memory in words, for a kernel on which maps count against it or do not.
    pub fn memlock(&self, maps_count: bool) -> String {
        let limit = self.memlock_bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        if maps_count {
            format!("{limit} (maps count against it on this kernel; it is raised when needed)")
        } else {
            limit
        }
    }

    /// Why the kernel refuses to load, and what to do; [`None`] if its error is no refusal. `maps_count`
    /// tells whether maps count against the limit of locked memory.
    pub fn cannot_load(
        &self,
        error: &anyhow::Error,
        maps_count: impl FnOnce() -> bool,
    ) -> Option<Unsupported> {
        // The verifier, too, answers with EACCES.
        if errno(error) != Some(libc::EPERM) {
            return None;
        }
        let may_be = self.may_load() && !self.has(SYS_RESOURCE);
        if let Some(bytes) = self.memlock_bytes.filter(|_| may_be && maps_count()) {
            return Some(Unsupported::new(
                format!("the tables do not fit into RLIMIT_MEMLOCK, which is {bytes} bytes ({error:#})"),
                "raise it with `ulimit -l unlimited`, run with CAP_SYS_RESOURCE, or use a smaller --slots",
            ));
        }
        Some(Unsupported::new(
            format!("the kernel does not permit BPF here ({error:#})"),
            "run as root; in a container it needs CAP_BPF and CAP_PERFMON; `exitlat check` tells more",
        ))
    }

    /// Why the kernel refuses to attach, and what to do; [`None`] if its error is no refusal.
    pub fn cannot_attach(&self, error: &anyhow::Error) -> Option<Unsupported> {
        match errno(error)? {
            libc::EPERM | libc::EACCES => Some(match self.doubtful_level() {
                Some(level) => Unsupported::new(
                    format!(
                        "the kernel refuses tracepoints to this process: kernel.perf_event_paranoid is {level}, at \
                         which it asks for CAP_SYS_ADMIN ({error:#})"
                    ),
                    "lower it with `sysctl kernel.perf_event_paranoid=2`, or run with CAP_SYS_ADMIN",
                ),
                None => Unsupported::new(
                    format!("the kernel refuses tracepoints to this process ({error:#})"),
                    "run as root, or with CAP_BPF and CAP_PERFMON; `exitlat check` tells more",
                ),
            }),
            // Tracepoint programs run on all CPUs, but are attached by an event of CPU 0.
            libc::ENODEV if !is_listed(&self.online, 0) => Some(Unsupported::new(
                format!("CPU 0 is offline, through which tracepoint programs are attached ({error:#})"),
                "bring it online: echo 1 > /sys/devices/system/cpu/cpu0/online",
            )),
            _ => None,
        }
    }
}

/// The error number of the kernel's answer.
fn errno(error: &anyhow::Error) -> Option<i32> {
    error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
}

/// The soft limit of locked memory in the text of /proc/self/limits.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether a CPU is in a list such as `0-3,7`. An empty list is unknown: it has all.
fn is_listed(list: &str, cpu: u32) -> bool {
    let within = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().is_ok_and(|first: u32| first <= cpu) && last.parse().is_ok_and(|last: u32| cpu <= last)
    };
    list.is_empty() || list.split(',').any(within)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn rights(capabilities: &[Capability], paranoid: i32) -> Rights {
        let capabilities = capabilities.iter().fold(0, |all, Capability(bit)| all | 1 << bit);
        Rights {
            capabilities,
            paranoid: Some(paranoid),
            memlock_bytes: Some(65536),
            online: "0-3".to_owned(),
        }
    }

    fn answer(errno: i32) -> anyhow::Error {
        Err::<(), _>(io::Error::from_raw_os_error(errno)).context("perf_event_open").unwrap_err()
    }

    #[test]
    fn the_setting_that_refuses_is_named() {
        for level in [3, 4] {
            let refused = rights(&[BPF, PERFMON], level).cannot_attach(&answer(libc::EACCES)).unwrap();
            assert!(refused.what.contains(&format!("kernel.perf_event_paranoid is {level}")), "{refused}");
            assert!(
                refused.remedy.contains("perf_event_paranoid=2") && refused.remedy.contains("CAP_SYS_ADMIN")
            );
        }
        let refused = rights(&[BPF, PERFMON], 2).cannot_attach(&answer(libc::EPERM)).unwrap();
        assert!(!refused.what.contains("paranoid") && refused.remedy.contains("root"), "{refused}");
        assert!(rights(&[BPF, PERFMON, SYS_ADMIN], 4).doubtful_level().is_none());
        assert_eq!(rights(&[BPF, PERFMON], 3).cannot_attach(&answer(libc::ENOENT)).map(|it| it.what), None);
    }

    #[test]
    fn the_verifier_is_no_matter_of_rights() {
        let rights = rights(&[BPF, PERFMON], 3);
        assert!(rights.cannot_load(&answer(libc::EACCES), || true).is_none());
        assert!(
            rights.cannot_load(&answer(libc::EPERM), || false).unwrap().what.contains("does not permit BPF")
        );
    }

    #[test]
    fn locked_memory_is_named_where_maps_count_against_it() {
        let refused = |capabilities: &[Capability]| {
            rights(capabilities, 2).cannot_load(&answer(libc::EPERM), || true).unwrap()
        };
        let limited = refused(&[BPF, PERFMON]);
        assert!(
            limited.what.contains("RLIMIT_MEMLOCK, which is 65536") && limited.remedy.contains("ulimit -l")
        );
        assert!(!refused(&[BPF, PERFMON, SYS_RESOURCE]).what.contains("MEMLOCK"));
    }

    #[test]
    fn a_cpu_0_that_is_offline_is_named() {
        let mut rights = rights(&[SYS_ADMIN], 2);
        assert!(rights.cannot_attach(&answer(libc::ENODEV)).is_none());
        rights.online = "1-3".to_owned();
        assert!(rights.cannot_attach(&answer(libc::ENODEV)).unwrap().what.contains("CPU 0 is offline"));
    }

    #[test]
    fn lists_and_limits_of_the_kernel() {
        for (list, cpu, is) in [("0-3,7", 7, true), ("0-3,7", 5, false), ("1", 0, false), ("", 0, true)] {
            assert_eq!(is_listed(list, cpu), is, "{list}: {cpu}");
        }
        let limits =
            "Max processes  1 2 processes\nMax locked memory         8388608              unlimited bytes\n";
        assert_eq!(memlock(limits), Some(8_388_608));
        assert_eq!(memlock("Max locked memory  unlimited unlimited bytes"), None);
    }
}
