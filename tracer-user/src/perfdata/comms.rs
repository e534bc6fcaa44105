//! Names of processes, from what perf noted of them.

use std::collections::HashMap;

/// More processes than a kernel can number.
const MAX: usize = 1 << 22;
/// The kernel's are of 16; the name of a program may be longer.
const MAX_LENGTH: usize = 64;

/// Name of each process: what it called itself last, else the program it maps.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_pid: HashMap<u32, Name>,
}

#[derive(Clone, Debug)]
struct Name {
    text: String,
    /// From a map only: gives way to what the process calls itself.
    guessed: bool,
}

impl Names {
    /// The process, or one of its threads, has a new name. That of the first thread counts.
    pub fn comm(&mut self, pid: u32, tid: u32, name: &[u8]) {
        if pid == tid {
            self.set(pid, name, false);
        }
    }

    /// A process begins its life under the name of its parent.
    pub fn fork(&mut self, pid: u32, parent: u32) {
        if pid != parent
            && let Some(name) = self.by_pid.get(&parent).cloned()
            && self.by_pid.len() < MAX
        {
            self.by_pid.insert(pid, name);
        }
    }

    /// A process maps a file. The first one is its program.
    pub fn map(&mut self, pid: u32, path: &[u8]) {
        if path.starts_with(b"/") && !self.by_pid.contains_key(&pid) {
            self.set(pid, path.rsplit(|byte| *byte == b'/').next().unwrap_or(path), true);
        }
    }

    /// The name of a process.
    pub fn get(&self, pid: u32) -> Option<&str> {
        self.by_pid.get(&pid).map(|name| name.text.as_str())
    }

    fn set(&mut self, pid: u32, name: &[u8], guessed: bool) {
        let known = self.by_pid.get(&pid);
        if known.map_or(self.by_pid.len() >= MAX, |known| guessed && !known.guessed) {
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
        let mut names = Names::default();
        names.comm(1, 1, b"sh\0\0\0");
        names.fork(5, 1);
        assert_eq!(names.get(5), Some("sh"));
        names.comm(5, 5, b"qemu\0");
        names.comm(5, 6, b"CPU 0/KVM\0");
        names.fork(5, 5);
        names.map(5, b"/usr/bin/other\0");
        names.map(7, b"[vdso]\0");
        assert_eq!(names.get(7), None);
        names.map(7, b"/usr/bin/vmm\0");
        assert_eq!((names.get(5), names.get(7), names.get(8)), (Some("qemu"), Some("vmm"), None));
        names.comm(7, 7, b"\xff\0");
        assert_eq!(names.get(7), Some("\u{fffd}"));
    }
}
