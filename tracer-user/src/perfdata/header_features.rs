//! What a recording says of the machine and of perf, as a dump's header.

use super::bytes::Bytes;
use crate::decode::isa_of_vendor;
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

/// The facts; empty where the recording does not say.
#[derive(Debug, Default)]
pub(super) struct Facts {
    host: String,
    kernel: String,
    perf: String,
    arch: String,
    cpu: String,
    vendor: String,
    command: Vec<String>,
}

impl Facts {
    /// Takes a section. Damaged ones say nothing: a fact is not worth an error.
    pub fn take(&mut self, number: u32, data: Bytes<'_>) {
        let mut data = data;
        let slot = match number {
            feature::HOSTNAME => &mut self.host,
            feature::OSRELEASE => &mut self.kernel,
            feature::VERSION => &mut self.perf,
            feature::ARCH => &mut self.arch,
            feature::CPUDESC => &mut self.cpu,
            feature::CPUID => &mut self.vendor,
            feature::CMDLINE => {
                let words = data.u32().unwrap_or(0).min(MAX_WORDS);
                self.command = (0..words).map_while(|_| data.header_string()).collect();
                return;
            }
            _ => return,
        };
        *slot = data.header_string().unwrap_or_default();
    }

    /// The isa of exits whose record does not say, by the processor's vendor; 0 if that is unknown. perf writes
    /// the vendor in front of the processor's numbers.
    pub fn isa(&self) -> u32 {
        let vendor = self.vendor.split(',').next().unwrap_or_default();
        isa_of_vendor(vendor).map_or(0, |isa| isa.0)
    }

    /// As the header of a dump that begins at that time.
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
            sources: Vec::new(),
        }
    }
}
