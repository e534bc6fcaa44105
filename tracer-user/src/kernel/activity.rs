//! What it means when `kvm_exit` stays silent: count KVM's other events and compare.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use tracer_ebpf::symbols;

use crate::kernel::{arch, attach::attach_tp, hook::Role};

/// Number of events that are counted.
const EVENTS: usize = symbols::ACTIVITY_PROGRAMS.len();

/// Running counters of KVM's other events.
pub struct Activity {
    counters: PerCpuArray<MapData, u64>,
    attached: [bool; EVENTS],
}

impl Activity {
    /// Starts counting. An event that this kernel lacks is left out.
    pub(super) fn start(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf.take_map(symbols::ACTIVITY).context("the other events are being counted already")?;
        let counters = PerCpuArray::try_from(map)?;
        let mut attached = [false; EVENTS];
        for (index, (program, event)) in
            symbols::ACTIVITY_PROGRAMS.iter().zip(arch::host().activity).enumerate()
        {
            match attach_tp(ebpf, program, &format!("kvm:{event}")) {
                Ok(()) => attached[index] = true,
                Err(error) => log::debug!("not counting kvm:{event}: {error:#}"),
            }
        }
        Ok(Self { counters, attached })
    }

    /// Hits of each event since the start; [`None`] for those that are not counted.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn counts(&self) -> Result<[(&'static str, Option<u64>); EVENTS]> {
        let mut counts = arch::host().activity.map(|event| (event, None));
        for (index, (_, count)) in counts.iter_mut().enumerate() {
            if self.attached[index] {
                let per_cpu =
                    self.counters.get(&(index as u32), 0).context("cannot read the event counters")?;
                *count = Some(per_cpu.iter().sum());
            }
        }
        Ok(counts)
    }
}

/// Whether these counts show guests that exit. `kvm_userspace_exit`, the first, is not enough: it also fires
/// when a signal reaches a vCPU that has not entered its guest.
pub fn moved(counts: &[(&'static str, Option<u64>)]) -> bool {
    counts.iter().skip(1).any(|(_, count)| count.is_some_and(|count| count != 0))
}

/// The counts in words, and what they mean while `kvm_exit` has fired `exits` times.
pub fn explain(exits: u64, counts: &[(&'static str, Option<u64>)]) -> String {
    let firing: Vec<String> = counts
        .iter()
        .filter_map(|(event, count)| {
            count.filter(|count| *count != 0).map(|count| format!("{event} {count}"))
        })
        .collect();
    let [exit, entry] = [Role::Exit, Role::Entry].map(|role| arch::host().event(role));
    match (exits, !moved(counts)) {
        (1.., _) => format!("{exit} fires ({exits} samples)"),
        (0, true) => "no KVM event fires: no guest is running now".to_owned(),
        (0, false) => format!(
            "{exit} and {entry} stay silent while other KVM events fire ({}): this KVM backend does not \
             report its exits, so exit latencies cannot be measured on this host",
            firing.join(", ")
        ),
    }
}
