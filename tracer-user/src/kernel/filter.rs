//! Which processes are traced, where not all are: the map that the programs ask.
//!
//! A process is noted by its first event and traced from the moment it is judged. The map has room for
//! [`abi::MAX_PROCESSES`]; a process that finds none is counted as lost, and noted later if others have
//! ended.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use tracer_ebpf::{abi::verdict, symbols};

use crate::kernel::vms;

/// The map.
pub struct ProcessFilter {
    verdicts: HashMap<MapData, u32, u32>,
}

impl ProcessFilter {
    /// Takes the map of a loaded object.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf.take_map(symbols::TRACED);
        let map = map.with_context(|| format!("the BPF object has no map {}", symbols::TRACED))?;
        Ok(Self { verdicts: HashMap::try_from(map)? })
    }

    /// Processes without a verdict. Forgets those that have ended, since the kernel reuses pids.
    ///
    /// # Errors
    /// If the map cannot be read or changed.
    pub fn undecided(&mut self) -> Result<Vec<u32>> {
        let mut undecided = Vec::new();
        let mut ended = Vec::new();
        for entry in self.verdicts.iter() {
            let (pid, verdict) = entry.context("cannot read which processes are traced")?;
            if !vms::exists(pid) {
                ended.push(pid);
            } else if verdict == verdict::UNDECIDED {
                undecided.push(pid);
            }
        }
        for pid in ended {
            self.verdicts.remove(&pid).with_context(|| format!("cannot forget process {pid}"))?;
        }
        Ok(undecided)
    }

    /// Records whether a process is traced.
    ///
    /// # Errors
    /// If the map is full of living processes.
    pub fn decide(&mut self, pid: u32, traced: bool) -> Result<()> {
        let verdict = if traced { verdict::TRACED } else { verdict::REFUSED };
        let set = self.verdicts.insert(pid, verdict, 0);
        set.with_context(|| format!("cannot say whether process {pid} is traced"))
    }
}
