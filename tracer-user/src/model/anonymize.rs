//! Names of hosts and guests for readers who may not know them: left as they are, replaced by pseudonyms, or
//! left out. Pure; the key is the caller's.
//!
//! A pseudonym is the first twelve hexadecimal digits of HMAC-SHA-256 over `vm:NAME` or `host:NAME`. Under
//! one key the same name has the same pseudonym everywhere; without the key nobody can look one up by trying
//! names, which for names like `web01` a hash without a key would allow.

use std::{collections::HashMap, sync::Arc};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::model::{Interval, Known, Origin, Thread, Threads, VmId};

/// Replaces the words of a command line that are left out.
pub const LEFT_OUT: &str = "...";

/// How names are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// They stay.
    #[default]
    Keep,
    /// They become pseudonyms under this key.
    Hash(Vec<u8>),
    /// They become numbers, in the order of their first sight.
    None,
}

/// Replaces names. One value must see everything that is to agree: its numbers are its own.
#[derive(Clone, Debug, Default)]
pub struct Names {
    policy: Policy,
    threads: Threads,
    /// By host, pid and name: counters know no more of their VM.
    numbers: HashMap<VmId, usize>,
    hosts: HashMap<String, usize>,
}

impl Names {
    /// Replaces by this policy.
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Whether names stay as they are.
    pub fn keep(&self) -> bool {
        self.policy == Policy::Keep
    }

    /// The same threads by their new names, at the same indices. Give it one list only, which may have
    /// changed.
    pub fn threads(&mut self, threads: &Threads) -> &Threads {
        let mut told = std::mem::take(&mut self.threads);
        told.mirror(threads, |thread| {
            let vm = self.vm(thread);
            let host = thread.host.as_deref().map(|host| self.told_host(host));
            Thread { known: Known::name(&vm), vm, host, ..thread.clone() }
        });
        self.threads = told;
        &self.threads
    }

    /// The counters of an interval with their VMs by their new names. The interval's host is still its own.
    pub fn counters(&mut self, interval: &mut Interval) {
        if self.keep() {
            return;
        }
        for counter in &mut interval.counters {
            let (vm, pid, host) = (counter.id.vm.clone(), counter.id.pid, interval.host.clone());
            let vm = self.vm(&Thread { pid, vm, host, ..Thread::default() });
            Arc::make_mut(&mut counter.id).vm = vm;
        }
    }

    /// Expects another list of threads next; names in both get the same replacement.
    pub fn next_threads(&mut self) {
        self.threads = Threads::default();
    }

    fn vm(&mut self, thread: &Thread) -> String {
        match &self.policy {
            Policy::Keep => thread.vm.clone(),
            Policy::Hash(key) => pseudonym(key, "vm", &thread.vm),
            Policy::None => {
                let next = self.numbers.len() + 1;
                let number =
                    *self.numbers.entry(VmId { origin: Origin::default(), ..thread.vm_id() }).or_insert(next);
                format!("vm-{number}")
            }
        }
    }

    /// The name of a host where several are told apart: it is numbered where names are left out.
    pub fn told_host(&mut self, host: &str) -> String {
        if self.policy != Policy::None {
            return self.host(host);
        }
        let next = self.hosts.len() + 1;
        let number = *self.hosts.entry(host.to_owned()).or_insert(next);
        format!("host-{number}")
    }

    /// The name of a host.
    pub fn host(&self, host: &str) -> String {
        match &self.policy {
            Policy::Keep => host.to_owned(),
            Policy::Hash(key) => pseudonym(key, "host", host),
            Policy::None => String::new(),
        }
    }

    /// A command line: unless names stay, only exitlat's command and the names of its options are left.
    pub fn options(&self, options: &[String]) -> Vec<String> {
        if self.keep() {
            return options.to_vec();
        }
        let mut out: Vec<String> = Vec::new();
        for (index, word) in options.iter().enumerate() {
            let kept = if word == "--" {
                None
            } else if word.starts_with("--") {
                word.split('=').next().map(str::to_owned)
            } else if word.starts_with('-') && word.len() > 1 {
                // A value may follow its letter: -gweb01.
                Some(word.chars().take(2).collect())
            } else {
                (index == 0 && word.chars().all(|c| c.is_ascii_lowercase())).then(|| word.clone())
            };
            match kept {
                Some(word) => out.push(word),
                None if out.last().is_some_and(|last| last == LEFT_OUT) => {}
                None => out.push(LEFT_OUT.to_owned()),
            }
            if word == "--" {
                break;
            }
        }
        out
    }
}

/// The pseudonym of a name.
fn pseudonym(key: &[u8], what: &str, name: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(what.as_bytes());
    mac.update(b":");
    mac.update(name.as_bytes());
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{what}-{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(names: &[(u32, &str)]) -> Threads {
        let thread =
            |(pid, vm): &(u32, &str)| Thread { pid: *pid, vm: (*vm).to_owned(), ..Thread::default() };
        names.iter().map(thread).collect()
    }

    fn vms(names: &mut Names, of: &[(u32, &str)]) -> Vec<String> {
        names.threads(&threads(of)).list.iter().map(|thread| thread.vm.clone()).collect()
    }

    /// `printf vm:web01 | openssl dgst -sha256 -hmac 0123456789abcdef`
    #[test]
    fn a_pseudonym_is_what_openssl_says() {
        assert_eq!(pseudonym(b"0123456789abcdef", "vm", "web01"), "vm-1d08ae370910");
    }

    #[test]
    fn the_same_name_is_the_same_pseudonym_under_one_key() {
        let mut names = Names::new(Policy::Hash(b"key".to_vec()));
        let first = vms(&mut names, &[(1, "a"), (2, "b"), (3, "a")]);
        assert_eq!(first[0], first[2]);
        assert_ne!(first[0], first[1]);
        names.next_threads();
        assert_eq!(vms(&mut names, &[(9, "b")]), first[1..2]);
        let mut other = Names::new(Policy::Hash(b"another".to_vec()));
        assert_ne!(vms(&mut other, &[(1, "a")])[0], first[0]);
        assert_ne!(pseudonym(b"key", "host", "a")[5..], first[0][3..]);
    }

    #[test]
    fn numbers_follow_first_sight_as_a_list_of_threads_grows() {
        let mut names = Names::new(Policy::None);
        assert_eq!(vms(&mut names, &[(1, "a"), (1, "a")]), ["vm-1", "vm-1"]);
        assert_eq!(vms(&mut names, &[(1, "a"), (1, "a"), (2, "a")]), ["vm-1", "vm-1", "vm-2"]);
        names.next_threads();
        assert_eq!(vms(&mut names, &[(2, "a"), (3, "c")]), ["vm-2", "vm-3"]);
        assert_eq!(names.host("secret"), "");
    }

    #[test]
    fn a_command_line_keeps_no_value() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let names = Names::new(Policy::None);
        for (typed, left) in [
            ("record -g web01 -o /home/eve/web01.dump --guest=x", "record -g ... -o ... --guest"),
            ("record -gweb01 -o - -- virsh start web01", "record -g -o ..."),
            ("/home/eve/exitlat record", "..."),
        ] {
            assert_eq!(names.options(&words(typed)), words(left), "{typed}");
        }
        assert_eq!(Names::default().options(&words("record -g a")), words("record -g a"));
    }
}
