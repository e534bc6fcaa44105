//! Entries of one process form a ring, which the BPF programs walk to recognise a pause of the whole VM. The
//! pauses under way are kept here too. See [`tracer_ebpf::pause`].

use std::collections::HashMap;

use tracer_ebpf::{
    abi::{Vcpu, state},
    pause::{self, Span},
};

use crate::kernel::mapped::Mapped;

/// The entries of one process, in the order of their indices.
#[derive(Clone, Copy, Debug)]
struct Ring {
    first: usize,
    last: usize,
}

/// What is known of processes between readings.
#[derive(Debug, Default)]
pub struct Siblings {
    rings: HashMap<u32, Ring>,
    /// By process, the stretch in which all of its vCPUs have been out of their guests, and how many it has.
    paused: HashMap<u32, (Span, u32)>,
}

impl Siblings {
    /// Links the entries whose threads live. `pids` has the process of each entry, 0 where there is none.
    pub fn link(&mut self, vcpus: &mut Mapped<Vcpu>, pids: impl Iterator<Item = u32>) {
        self.rings.clear();
        for (index, pid) in pids.enumerate().filter(|(_, pid)| *pid != 0) {
            if vcpus.state(index).0 != state::LIVE {
                continue;
            }
            match self.rings.get_mut(&pid) {
                Some(ring) => {
                    vcpus.set_sibling(ring.last, index);
                    ring.last = index;
                }
                None => _ = self.rings.insert(pid, Ring { first: index, last: index }),
            }
        }
        for ring in self.rings.values() {
            vcpus.set_sibling(ring.last, ring.first);
        }
    }

    /// Records which VMs stand still.
    pub fn look(&mut self, vcpus: &Mapped<Vcpu>, pids: impl Iterator<Item = u32>) {
        self.paused.clear();
        for (index, pid) in pids.enumerate().filter(|(_, pid)| *pid != 0) {
            if vcpus.state(index).0 != state::LIVE {
                continue;
            }
            let (all, count) = self.paused.entry(pid).or_insert((Span::ALWAYS, 0));
            *all = all.and(vcpus.breakdown(index).stay);
            *count += 1;
        }
    }

    /// Since when the whole process has stood still; [`None`] if it runs, or has not stood still for long
    /// enough.
    pub fn paused_since_ns(&self, pid: u32, now_ns: u64) -> Option<u64> {
        // The programs judge no process with more vCPUs.
        let (span, _) = self.paused.get(&pid).filter(|(_, count)| *count <= pause::MOST)?;
        let long = now_ns.saturating_sub(span.from_ns) >= pause::SHORTEST_NS;
        (span.from_ns != 0 && span.goes_on() && long).then_some(span.from_ns)
    }
}
