//! Names of processes, from perf's records about tasks.

use std::collections::HashMap;

/// Names of more processes are not kept: no kernel numbers as many.
const MAX_PROCESSES: usize = 1 << 22;
/// Bytes of a name that are kept. The kernel's names have 16; that of a program may be longer.
const MAX_LENGTH: usize = 64;

/// The name of each process: its newest comm, else the file name of the first program that it mapped.
#[derive(Debug, Default)]
pub(super) struct Comms {
    by_pid: HashMap<u32, Name>,
}

#[derive(Clone, Debug)]
struct Name {
    text: String,
    /// The name is that of a mapped file, which a comm replaces.
    guessed: bool,
}

impl Comms {
    /// A thread has a new name. That of the first thread is the process's.
    pub fn comm(&mut self, pid: u32, tid: u32, name: &[u8]) {
        if pid == tid {
            self.set(pid, name, false);
        }
    }

    /// A process begins, under the name of its parent.
    pub fn fork(&mut self, pid: u32, parent: u32) {
        if pid != parent
            && let Some(name) = self.by_pid.get(&parent).cloned()
            && self.by_pid.len() < MAX_PROCESSES
        {
            self.by_pid.insert(pid, name);
        }
    }

    /// A process maps a file. The first one is its program.
    pub fn mmap(&mut self, pid: u32, path: &[u8]) {
        if path.starts_with(b"/") && !self.by_pid.contains_key(&pid) {
            self.set(pid, path.rsplit(|byte| *byte == b'/').next().unwrap_or(path), true);
        }
    }

    /// The name of a process, if perf noted one.
    pub fn get(&self, pid: u32) -> Option<&str> {
        self.by_pid.get(&pid).map(|name| name.text.as_str())
    }

    fn set(&mut self, pid: u32, name: &[u8], guessed: bool) {
        let known = self.by_pid.get(&pid);
        if known.map_or(self.by_pid.len() >= MAX_PROCESSES, |known| guessed && !known.guessed) {
            return;
        }
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len()).min(MAX_LENGTH);
        let text = String::from_utf8_lossy(&name[..end]).into_owned();
        if !text.is_empty() {
            self.by_pid.insert(pid, Name { text, guessed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thread_names_the_process() {
        let mut comms = Comms::default();
        comms.comm(1, 1, b"sh\0\0\0");
        comms.fork(5, 1);
        assert_eq!(comms.get(5), Some("sh"));
        comms.comm(5, 5, b"qemu\0");
        comms.comm(5, 6, b"CPU 0/KVM\0");
        comms.fork(5, 5);
        comms.mmap(5, b"/usr/bin/other\0");
        comms.mmap(7, b"[vdso]\0");
        assert_eq!(comms.get(7), None);
        comms.mmap(7, b"/usr/bin/vmm\0");
        assert_eq!((comms.get(5), comms.get(7), comms.get(8)), (Some("qemu"), Some("vmm"), None));
        comms.comm(7, 7, b"\xff\0");
        assert_eq!(comms.get(7), Some("\u{fffd}"));
    }
}
