//! The header features of a perf.data file: what perf noted of the machine and of itself, converted to a
//! recording's header.

use super::bytes::Bytes;
use crate::decode::{Isa, isa_of_vendor};
use crate::model::provenance::{Buckets, Header};
use crate::recording::SCHEMA;

/// Numbers of feature sections (`HEADER_*` in the kernel's `tools/perf/util/header.h`).
pub(super) mod feature {
    pub const TRACING_DATA: u32 = 1;
    pub const HOSTNAME: u32 = 3;
    pub const OSRELEASE: u32 = 4;
    pub const VERSION: u32 = 5;
    pub const ARCH: u32 = 6;
    pub const CPUDESC: u32 = 8;
    pub const CPUID: u32 = 9;
    pub const CMDLINE: u32 = 11;
    /// The sections that are read.
    pub const READ: [u32; 8] = [TRACING_DATA, HOSTNAME, OSRELEASE, VERSION, ARCH, CPUDESC, CPUID, CMDLINE];
}

/// More words than any command line has.
const MAX_WORDS: u32 = 1 << 16;

/// Options that restrict `perf record` to some processes, threads or CPUs.
const NARROWING: [&str; 6] = ["-p", "--pid", "-t", "--tid", "-C", "--cpu"];

/// The features; a text is empty if the file does not have it.
#[derive(Debug, Default)]
pub(super) struct HeaderFeatures {
    host: String,
    kernel: String,
    perf: String,
    arch: String,
    cpu: String,
    /// Vendor, family, model and stepping, separated by commas.
    cpuid: String,
    command: Vec<String>,
}

impl HeaderFeatures {
    /// Reads a section and adds it to the features. A damaged section adds nothing: no feature is worth an
    /// error.
    pub fn add(&mut self, number: u32, data: Bytes<'_>) {
        let mut data = data;
        let text = match number {
            feature::HOSTNAME => &mut self.host,
            feature::OSRELEASE => &mut self.kernel,
            feature::VERSION => &mut self.perf,
            feature::ARCH => &mut self.arch,
            feature::CPUDESC => &mut self.cpu,
            feature::CPUID => &mut self.cpuid,
            feature::CMDLINE => {
                let words = data.u32().unwrap_or(0).min(MAX_WORDS);
                self.command = (0..words).map_while(|_| data.header_string()).collect();
                return;
            }
            _ => return,
        };
        *text = data.header_string().unwrap_or_default();
    }

    /// The isa of exits whose records do not carry one, as perf decides it: that of the processor's vendor,
    /// else VMX.
    pub fn isa(&self) -> Isa {
        let vendor = self.cpuid.split(',').next().unwrap_or_default();
        isa_of_vendor(vendor).unwrap_or(Isa::VMX)
    }

    /// The option that restricted perf, as it was typed; [`None`] if there is none.
    pub fn narrowed(&self) -> Option<String> {
        let words = || self.command.iter();
        for (word, value) in words().zip(words().skip(1).map(Some).chain([None])) {
            if NARROWING.contains(&word.as_str()) {
                return Some(
                    [Some(word), value].into_iter().flatten().cloned().collect::<Vec<_>>().join(" "),
                );
            }
            // A value may follow a letter, or an equals sign.
            let joined = |option: &&str| {
                let rest = word.strip_prefix(*option);
                rest.is_some_and(|rest| !option.starts_with("--") || rest.starts_with('='))
            };
            if NARROWING.iter().any(joined) {
                return Some(word.clone());
            }
        }
        None
    }

    /// The header of a recording that begins at `start_unix_ms`.
    pub fn header(self, start_unix_ms: u64) -> Header {
        let or_unknown = |text: String| if text.is_empty() { "unknown".to_owned() } else { text };
        Header {
            schema: SCHEMA,
            tool: format!("perf {}", or_unknown(self.perf)),
            host: or_unknown(self.host),
            kernel: or_unknown(self.kernel),
            arch: or_unknown(self.arch),
            cpu: or_unknown(self.cpu),
            backend: "kvm".to_owned(),
            path: "perf.data".to_owned(),
            options: self.command,
            start_unix_ms,
            buckets: Buckets::default(),
            parts: Vec::new(),
            exit_stamp: String::new(),
            sources: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_perf_looked() {
        let narrowed = |line: &str| {
            let command = line.split(' ').map(str::to_owned).collect();
            HeaderFeatures { command, ..HeaderFeatures::default() }.narrowed()
        };
        assert_eq!(narrowed("perf kvm stat record -p 17 -o x").as_deref(), Some("-p 17"));
        assert_eq!(narrowed("perf record -e kvm:kvm_exit -C0-3").as_deref(), Some("-C0-3"));
        assert_eq!(narrowed("perf record --pid=17").as_deref(), Some("--pid=17"));
        assert_eq!(narrowed("perf kvm stat record -a --per-thread"), None);
        assert_eq!(narrowed("perf record -p").as_deref(), Some("-p"));
    }
}
