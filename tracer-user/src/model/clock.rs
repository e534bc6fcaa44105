//! What the clocks did between two readings: the wall clock was set, the machine slept. Pure: the caller
//! passes the times.

pub use crate::model::ClockChange as Change;

/// The sum of two successive changes.
pub fn both(one: Option<Change>, next: Option<Change>) -> Option<Change> {
    let (Some(one), Some(next)) = (one, next) else { return one.or(next) };
    Some(Change {
        suspended_ms: one.suspended_ms.saturating_add(next.suspended_ms),
        stepped_ms: one.stepped_ms.saturating_add(next.stepped_ms),
    })
}

/// The clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// CLOCK_MONOTONIC: never set, stands still while the machine is suspended.
    pub monotonic_ns: u64,
    /// CLOCK_BOOTTIME: never set, goes on while the machine is suspended.
    pub boot_ns: u64,
    /// Wall-clock time, in ms since 1970.
    pub unix_ms: u64,
}

/// Smaller differences come from reading the clocks one after the other.
const NOISE_MS: i64 = 100;
/// Drift of up to one part in this many is slewing of the wall clock; the kernel allows 1 in 2000.
const SLEW: i64 = 1000;

/// Sees the clocks at each reading.
#[derive(Debug, Default)]
pub struct Watch {
    last: Option<Clocks>,
}

impl Watch {
    /// What the clocks did since the last call, if anything.
    pub fn see(&mut self, now: Clocks) -> Option<Change> {
        let last = self.last.replace(now)?;
        let ms = |now: u64, last: u64| (now.wrapping_sub(last) / 1_000_000) as i64;
        let monotonic = ms(now.monotonic_ns, last.monotonic_ns);
        let boot = ms(now.boot_ns, last.boot_ns);
        let wall = now.unix_ms.wrapping_sub(last.unix_ms) as i64;
        let beyond = |ms: i64, noise: i64| if ms.abs() > noise { ms } else { 0 };
        let suspended = beyond(boot - monotonic, NOISE_MS).max(0);
        let stepped = beyond(wall - boot, NOISE_MS + boot / SLEW);
        let change = Change { suspended_ms: suspended as u64, stepped_ms: stepped };
        (change.suspended_ms != 0 || change.stepped_ms != 0).then_some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    /// The change seen when each clock goes on by that many ms.
    fn after(monotonic: u64, boot: u64, wall: i64) -> Option<Change> {
        let start =
            Clocks { monotonic_ns: 5_000_000_000, boot_ns: 9_000_000_000, unix_ms: 1_700_000_000_000 };
        let mut watch = Watch::default();
        assert_eq!(watch.see(start), None);
        watch.see(Clocks {
            monotonic_ns: start.monotonic_ns + monotonic * 1_000_000,
            boot_ns: start.boot_ns + boot * 1_000_000,
            unix_ms: start.unix_ms.wrapping_add_signed(wall),
        })
    }

    #[test]
    fn clocks_that_agree_are_nothing() {
        assert_eq!(after(1000, 1000, 1000), None);
        assert_eq!(after(1000, 1002, 1090), None, "between two looks");
        assert_eq!(after(HOUR, HOUR, HOUR as i64 + 1800), None, "slewed");
    }

    #[test]
    fn a_step_and_a_sleep_are_told_apart() {
        let change = |suspended_ms, stepped_ms| Some(Change { suspended_ms, stepped_ms });
        assert_eq!(after(1000, 1000, 1000 + HOUR as i64), change(0, HOUR as i64));
        assert_eq!(after(1000, 1000, 1000 - HOUR as i64), change(0, -(HOUR as i64)));
        assert_eq!(after(1000, 1000 + HOUR, (1000 + HOUR) as i64), change(HOUR, 0));
        assert_eq!(after(1000, 61_000, 1000), change(60_000, -60_000));
    }
}
