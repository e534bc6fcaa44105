//! Tells the VMs of one process apart, by the kernel's addresses of them.

use std::collections::HashMap;

use crate::model::Origin;

/// VMs of a process that are told apart. More share the last number.
const MOST_VMS: usize = 64;
/// Processes that are remembered at least: a process may close its VM and open another one.
const MOST_PROCESSES: usize = 4096;

/// The VMs of each process, in the order of their first exits.
#[derive(Debug, Default)]
pub struct Origins {
    processes: HashMap<(u32, Option<u64>), Vec<u64>>,
    /// How many were left when they were last looked through.
    left: usize,
}

impl Origins {
    /// Which VM of a process this is. `kvm` is the kernel's address of it, or 0 if events do not tell.
    pub fn of(&mut self, pid: u32, start_unix_ms: Option<u64>, kvm: u64) -> Origin {
        if kvm == 0 {
            return Origin { start_unix_ms, number: 0 };
        }
        let vms = self.processes.entry((pid, start_unix_ms)).or_default();
        let known = vms.iter().position(|known| *known == kvm);
        let number = known.unwrap_or_else(|| {
            if vms.len() < MOST_VMS {
                vms.push(kvm);
            }
            vms.len() - 1
        });
        Origin { start_unix_ms, number: number as u32 }
    }

    /// Forgets processes that have ended, once there are many: twice as many as were left, since a host may
    /// have that many at a time, and each is a system call.
    pub fn tidy(&mut self, exists: impl Fn(u32) -> bool) {
        if self.processes.len() > MOST_PROCESSES.max(2 * self.left) {
            self.processes.retain(|(pid, _), _| exists(*pid));
            self.left = self.processes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vms_of_a_process_are_numbered() {
        let mut origins = Origins::default();
        let mut number = |pid, start, kvm| origins.of(pid, start, kvm).number;
        assert_eq!([number(7, Some(1), 100), number(7, Some(1), 200), number(7, Some(1), 100)], [0, 1, 0]);
        assert_eq!(number(8, Some(1), 200), 0);
        assert_eq!(number(7, Some(2), 200), 0, "another process of that number");
        assert_eq!(number(7, Some(1), 0), 0, "an event that does not tell");
        for kvm in 300..400 {
            assert!(number(7, Some(1), kvm) < MOST_VMS as u32);
        }
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let mut origins = Origins::default();
        for pid in 0..=MOST_PROCESSES as u32 {
            origins.of(pid, None, 5);
        }
        origins.tidy(|pid| pid < 10);
        assert_eq!(origins.processes.len(), 10);
    }
}
