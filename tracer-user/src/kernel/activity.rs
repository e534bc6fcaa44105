//! Explains why `kvm_exit` stays silent: counts KVM's other events and compares.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use tracer_ebpf::symbols;

use crate::kernel::{Unsupported, arch, attach, hook::Role, host};

/// Number of events that are counted.
const EVENTS: usize = symbols::ACTIVITY_PROGRAMS.len();

/// Running counters of KVM's other events.
pub struct Activity {
    counters: PerCpuArray<MapData, u64>,
    attached: [bool; EVENTS],
    started_ns: u64,
    /// Why no event is counted, if the kernel refused.
    refusal: Option<Unsupported>,
}

impl Activity {
    /// Starts counting. An event that this kernel lacks is left out.
    pub(super) fn start(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf.take_map(symbols::ACTIVITY).context("the other events are being counted already")?;
        let counters = PerCpuArray::try_from(map)?;
        let mut it = Self { counters, attached: [false; EVENTS], started_ns: 0, refusal: None };
        for (index, (program, event)) in
            symbols::ACTIVITY_PROGRAMS.iter().zip(arch::host().activity).enumerate()
        {
            match attach::attach_tp(ebpf, program, &format!("kvm:{event}")) {
                Ok(()) => it.attached[index] = true,
                Err(error) => {
                    log::debug!("not counting kvm:{event}: {error:#}");
                    it.refusal = it.refusal.or_else(|| attach::refusal(&error));
                }
            }
        }
        it.started_ns = host::monotonic_ns();
        Ok(it)
    }

    /// The hits since the start.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn counts(&self) -> Result<Counts> {
        let mut events = arch::host().activity.map(|event| (event, None));
        for (index, (_, count)) in events.iter_mut().enumerate() {
            if self.attached[index] {
                let per_cpu =
                    self.counters.get(&(index as u32), 0).context("cannot read the event counters")?;
                *count = Some(per_cpu.iter().sum());
            }
        }
        let elapsed = Duration::from_nanos(host::monotonic_ns().saturating_sub(self.started_ns));
        Ok(Counts { events: events.to_vec(), elapsed, refusal: self.refusal.clone() })
    }
}

/// KVM_RUN returns per second that, without one entry, mean a spinning vCPU. A signal that reaches a vCPU
/// before it enters its guest causes only one return.
const SPINNING: u64 = 1000;

/// Hits of KVM's other events.
#[derive(Clone, Debug)]
pub struct Counts {
    /// The event, and its hits; [`None`] if it was not counted. The first one also fires without a guest.
    pub events: Vec<(&'static str, Option<u64>)>,
    /// How long they were counted.
    pub elapsed: Duration,
    /// Why events were not counted, if the kernel refused.
    pub refusal: Option<Unsupported>,
}

/// What the counts say of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// There are exits.
    Exits,
    /// No guest is running.
    Quiet,
    /// KVM_RUN returns again and again and never enters a guest.
    Spinning,
    /// Guests exit, and this backend does not report it.
    Silent,
    /// Nothing was counted.
    Unknown,
}

impl Counts {
    /// What the counts mean, with `exits` exits in the same time.
    pub fn meaning(&self, exits: u64) -> Meaning {
        let count = |(_, count): &(&str, Option<u64>)| count.unwrap_or(0);
        // The first event is not enough: see SPINNING.
        let guests_exit = self.events.iter().skip(1).any(|event| count(event) != 0);
        if exits != 0 {
            Meaning::Exits
        } else if guests_exit {
            Meaning::Silent
        } else if self.returns_per_second() >= SPINNING {
            Meaning::Spinning
        } else if self.events.iter().all(|(_, count)| count.is_none()) {
            Meaning::Unknown
        } else {
            Meaning::Quiet
        }
    }

    /// Returns of KVM_RUN per second.
    fn returns_per_second(&self) -> u64 {
        let returns = self.events.first().and_then(|(_, count)| *count).unwrap_or(0);
        (returns as f64 / self.elapsed.as_secs_f64().max(1e-9)) as u64
    }

    /// The counts in words: which events moved, which did not, and what that means.
    pub fn explain(&self, exits: u64) -> String {
        let [exit, entry] = [Role::Exit, Role::Entry].map(|role| arch::host().event(role));
        match self.meaning(exits) {
            Meaning::Exits => format!("{exit} fires ({exits} samples)"),
            Meaning::Quiet => "no KVM event fires: no guest is running now".to_owned(),
            Meaning::Spinning => format!(
                "KVM_RUN returns {} times a second without entering a guest: a VMM calls it in a loop, and its \
                 vCPU cannot run",
                self.returns_per_second()
            ),
            Meaning::Silent => {
                let fires = |(event, count): &(&str, Option<u64>)| {
                    count.filter(|count| *count != 0).map(|count| format!("{event} {count}"))
                };
                let firing: Vec<String> = self.events.iter().filter_map(fires).collect();
                format!(
                    "{exit} and {entry} stay silent while other KVM events fire ({}): this KVM backend does not \
                     report its exits, so exit latencies cannot be measured on this host",
                    firing.join(", ")
                )
            }
            Meaning::Unknown => {
                let why = self.refusal.as_ref().map_or_else(|| "no event".to_owned(), ToString::to_string);
                format!(
                    "there are no exits; whether guests run cannot be told, as KVM's other events cannot be \
                     counted: {why}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(events: [Option<u64>; EVENTS], elapsed: Duration) -> Counts {
        let events = arch::host().activity.into_iter().zip(events).collect();
        Counts { events, elapsed, refusal: None }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_loop_around_a_vcpu_that_cannot_run() {
        let spinning = [Some(1_386_869), Some(0), Some(0), Some(0), Some(0)];
        let it = counts(spinning, SECOND);
        assert_eq!(it.meaning(0), Meaning::Spinning);
        assert!(it.explain(0).starts_with("KVM_RUN returns 1386869 times a second without entering a guest"));
        assert_eq!(it.meaning(1), Meaning::Exits);
        let slow = counts(spinning, SECOND * 2000);
        assert_eq!(slow.meaning(0), Meaning::Quiet, "now and then a signal comes");
        assert_eq!(slow.explain(0), "no KVM event fires: no guest is running now");
    }

    #[test]
    fn guests_that_exit_unreported() {
        let it = counts([Some(1_000_000), Some(7), Some(0), None, Some(0)], SECOND);
        assert_eq!(it.meaning(0), Meaning::Silent);
        assert!(it.explain(0).contains("does not report its exits"));
    }

    #[test]
    fn an_idle_host_is_not_told_from_one_where_nothing_is_counted() {
        let refusal = Some(Unsupported::new("kernel.perf_event_paranoid is 3", "lower it"));
        let it = Counts { refusal, ..counts([None; EVENTS], SECOND) };
        assert_eq!(it.meaning(0), Meaning::Unknown);
        assert!(
            it.explain(0).contains("cannot be told") && it.explain(0).contains("paranoid is 3; lower it")
        );
    }
}
