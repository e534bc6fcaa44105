//! Which entries are of one process: the ring that the BPF programs walk to tell a pause of the whole VM, and
//! the pauses that are under way. See [`tracer_ebpf::pause`].

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
    /// By index of the entry, as it was written last.
    next: Vec<u32>,
    /// By process, the stretch in which all of its vCPUs have been out of their guests.
    paused: HashMap<u32, Span>,
}

impl Siblings {
    /// Links the entries whose threads live. `pids` has the process of each entry, 0 where there is none.
    pub fn link(&mut self, vcpus: &mut Mapped<Vcpu>, pids: impl Iterator<Item = u32>) {
        self.rings.clear();
        self.next.resize(vcpus.len(), 0);
        let set = |next: &mut [u32], vcpus: &mut Mapped<Vcpu>, index: usize, to: usize| {
            let sibling = to as u32 + 1;
            if next[index] != sibling {
                next[index] = sibling;
                vcpus.set_sibling(index, sibling);
            }
        };
        for (index, pid) in pids.enumerate().filter(|(_, pid)| *pid != 0) {
            if vcpus.state(index).0 != state::LIVE {
                continue;
            }
            match self.rings.get_mut(&pid) {
                Some(ring) => {
                    set(&mut self.next, vcpus, ring.last, index);
                    ring.last = index;
                }
                None => _ = self.rings.insert(pid, Ring { first: index, last: index }),
            }
        }
        for ring in self.rings.values() {
            set(&mut self.next, vcpus, ring.last, ring.first);
        }
    }

    /// An entry was handed back, and is linked to none.
    pub fn forget(&mut self, index: usize) {
        if let Some(next) = self.next.get_mut(index) {
            *next = 0;
        }
    }

    /// Takes down which VMs stand still.
    pub fn look(&mut self, vcpus: &Mapped<Vcpu>, pids: impl Iterator<Item = u32>) {
        self.paused.clear();
        for (index, pid) in pids.enumerate().filter(|(_, pid)| *pid != 0) {
            if vcpus.state(index).0 != state::LIVE {
                continue;
            }
            let all = self.paused.entry(pid).or_insert(Span::ALWAYS);
            *all = all.and(pause::stay(&vcpus.breakdown(index)));
        }
    }

    /// Since when the process stands still as a whole, if it does and has long enough.
    pub fn paused_since_ns(&self, pid: u32, now_ns: u64) -> Option<u64> {
        let span = self.paused.get(&pid)?;
        let long = now_ns.saturating_sub(span.from_ns) >= pause::SHORTEST_NS;
        (span.from_ns != 0 && span.goes_on() && long).then_some(span.from_ns)
    }
}
