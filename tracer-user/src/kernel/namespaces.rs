//! Namespaces of this process that change what the kernel's numbers mean to it.

use std::{fs, path::Path, sync::OnceLock};

/// The first pid namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Why pids do not fit, for people.
pub const PIDS_DO_NOT_FIT: &str =
    "exitlat runs in a pid namespace: the kernel's pids are not those that are seen here";
/// What to do where pids do not fit, for people.
pub const HOST_PIDS: &str =
    "run exitlat in the pid namespace of the host (docker: --pid=host; Kubernetes: hostPID)";

/// Whether this process is in a pid namespace other than the first: then the kernel's events have other pids
/// than /proc. A /proc without the link is taken for the host's.
pub fn is_pid_namespace() -> bool {
    static IS: OnceLock<bool> = OnceLock::new();
    *IS.get_or_init(|| {
        fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link != Path::new(FIRST_PID_NAMESPACE))
    })
}

/// How far this process's clocks are ahead of the host's, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffsets {
    /// Offset of CLOCK_MONOTONIC.
    pub monotonic_ns: i64,
    /// Offset of CLOCK_BOOTTIME.
    pub boot_ns: i64,
}

/// The offsets of this process's time namespace; zero in the first one.
pub fn clock_offsets() -> ClockOffsets {
    static OFFSETS: OnceLock<ClockOffsets> = OnceLock::new();
    *OFFSETS.get_or_init(|| {
        // The file shows the namespace for children, which may differ from this process's own.
        let link = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).ok();
        if link("time") != link("time_for_children") {
            return ClockOffsets::default();
        }
        offsets(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default())
    })
}

/// Reads lines such as `monotonic  -10  500`: a clock, seconds and nanoseconds (`show_offset`,
/// kernel/time/namespace.c).
fn offsets(text: &str) -> ClockOffsets {
    let of = |clock: &str| {
        let mut words = text
            .lines()
            .map(str::split_whitespace)
            .find_map(|mut words| (words.next() == Some(clock)).then_some(words))?;
        let mut number = || words.next()?.parse::<i64>().ok();
        let (seconds, ns) = (number()?, number()?);
        Some(seconds.saturating_mul(1_000_000_000).saturating_add(ns))
    };
    ClockOffsets { monotonic_ns: of("monotonic").unwrap_or(0), boot_ns: of("boottime").unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_the_kernels_text() {
        let text = "monotonic           -2         5\nboottime       604800         0\n";
        let expected = ClockOffsets { monotonic_ns: -1_999_999_995, boot_ns: 604_800_000_000_000 };
        assert_eq!(offsets(text), expected);
        assert_eq!(offsets(""), ClockOffsets::default());
        assert_eq!(offsets("monotonic x 5\n"), ClockOffsets::default());
    }
}
