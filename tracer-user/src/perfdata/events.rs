//! Which tracepoints mean that a vCPU left or entered its guest, and where their fields are.

use std::collections::HashMap;

use tracer_ebpf::abi::{ABSENT, Isa};

use super::{bytes::Bytes, tracing::Format};
use crate::{
    replay::Event,
    tracepoint::fields::{Field, field},
};

/// Where the isa of a tracepoint's exits is found.
#[derive(Clone, Copy, Debug)]
enum IsaSource {
    /// In a field of the record. On kernels without that field it follows from the processor's vendor.
    Field(&'static str),
    /// All exits of the tracepoint have this one.
    Fixed(u32),
}

/// The meaning of a tracepoint.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// The vCPU left its guest.
    Exit {
        /// The field with the reason.
        reason: &'static str,
        isa: IsaSource,
    },
    /// The vCPU enters its guest.
    Entry,
}

/// A tracepoint that is read.
#[derive(Clone, Copy, Debug)]
struct Tracepoint {
    name: &'static str,
    meaning: Meaning,
    /// The field with the vCPU's number.
    vcpu: &'static str,
}

/// The tracepoints of system `kvm` that are read. Others that perf records, such as `kvm_mmio` and `kvm_pio`,
/// lie within an exit and are left out.
const TRACEPOINTS: [Tracepoint; 4] = [
    Tracepoint {
        name: "kvm_exit",
        meaning: Meaning::Exit { reason: "exit_reason", isa: IsaSource::Field("isa") },
        vcpu: "vcpu_id",
    },
    Tracepoint { name: "kvm_entry", meaning: Meaning::Entry, vcpu: "vcpu_id" },
    Tracepoint {
        name: "kvm_s390_sie_exit",
        meaning: Meaning::Exit { reason: "icptcode", isa: IsaSource::Fixed(Isa::S390.0) },
        vcpu: "id",
    },
    Tracepoint { name: "kvm_s390_sie_enter", meaning: Meaning::Entry, vcpu: "id" },
];

/// How to read the isa of an exit.
#[derive(Clone, Copy, Debug)]
enum IsaDecoder {
    /// From this field of the record.
    Field(Field),
    /// The record carries no isa; it is this one.
    Fixed(u32),
}

/// How to read an exit.
#[derive(Clone, Copy, Debug)]
struct ExitDecoder {
    reason: Field,
    isa: IsaDecoder,
}

/// How to read the record of one tracepoint.
#[derive(Clone, Copy, Debug)]
struct Decoder {
    /// `None` for entries.
    exit: Option<ExitDecoder>,
    /// The field with the vCPU's number, if the record has one.
    vcpu: Option<Field>,
    /// The field with the thread's number, which every record has, by the kernel's own count.
    tid: Option<Field>,
}

/// The reason of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExitReason {
    pub isa: u32,
    pub code: u32,
}

/// The content of a record, without its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    /// The exit's reason; [`None`] for an entry.
    pub exit: Option<ExitReason>,
    /// The vCPU's number, or [`ABSENT`].
    pub vcpu: u32,
    /// The thread's number in the host's own pid namespace; 0 if the record does not say.
    pub tid: u32,
}

impl Decoded {
    /// The record as an event of the replay, with this time and vCPU.
    pub fn event(self, now_ns: u64, vcpu: u32) -> Event {
        match self.exit {
            Some(ExitReason { isa, code }) => Event::Exit { now_ns, isa, code, vcpu, identity: 0 },
            None => Event::Entry { now_ns, identity: None },
        }
    }
}

/// The tracepoints of a recording that are read, by the number that their records begin with.
#[derive(Debug)]
pub(super) struct Decoders {
    by_type: HashMap<u16, Decoder>,
    big_endian: bool,
}

impl Decoders {
    /// Finds the tracepoints among a file's formats. `isa` is that of exits whose records do not carry one.
    pub fn new(formats: &[Format], big_endian: bool, isa: u32) -> Self {
        let known = formats.iter().filter(|format| format.system == "kvm");
        let by_type = known.filter_map(|format| decoder(&format.text, isa)).collect();
        Self { by_type, big_endian }
    }

    /// Whether both exits and entries can be read.
    pub fn complete(&self) -> bool {
        [true, false].iter().all(|exit| self.by_type.values().any(|decoder| decoder.exit.is_some() == *exit))
    }

    /// Whether the tracepoint of this number is read.
    pub fn knows(&self, tracepoint: u64) -> bool {
        u16::try_from(tracepoint).is_ok_and(|number| self.by_type.contains_key(&number))
    }

    /// Reads a record; [`None`] for other tracepoints, and for records that are too short.
    pub fn decode(&self, raw: &[u8]) -> Option<Decoded> {
        let read = |field: Field| {
            let field_bytes = raw.get(field.offset as usize..)?;
            Bytes::new(field_bytes, self.big_endian).number(field.size)
        };
        // `struct trace_entry`, with which every record begins, begins with the type.
        let number = read(Field { offset: 0, size: 2 })?;
        let Decoder { exit, vcpu, tid } = self.by_type.get(&(number as u16))?;
        let exit = match exit {
            None => None,
            Some(exit) => {
                let isa = match exit.isa {
                    IsaDecoder::Field(field) => read(field)? as u32,
                    IsaDecoder::Fixed(isa) => isa,
                };
                Some(ExitReason { isa, code: read(exit.reason)? as u32 })
            }
        };
        let vcpu = vcpu.map_or(Some(u64::from(ABSENT)), read)?;
        let tid = tid.map_or(Some(0), read)?;
        Some(Decoded { exit, vcpu: vcpu as u32, tid: tid as u32 })
    }
}

/// A tracepoint's number and how to read it, from its format text; [`None`] if it is not one that is read.
fn decoder(text: &str, default_isa: u32) -> Option<(u16, Decoder)> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let name = value("name:")?;
    let tracepoint = TRACEPOINTS.iter().find(|tracepoint| tracepoint.name == name)?;
    let exit = match tracepoint.meaning {
        Meaning::Entry => None,
        Meaning::Exit { reason, isa } => {
            let isa = match isa {
                IsaSource::Fixed(isa) => IsaDecoder::Fixed(isa),
                IsaSource::Field(isa) => {
                    field(text, isa).map_or(IsaDecoder::Fixed(default_isa), IsaDecoder::Field)
                }
            };
            Some(ExitDecoder { reason: field(text, reason)?, isa })
        }
    };
    let decoder = Decoder { exit, vcpu: field(text, tracepoint.vcpu), tid: field(text, "common_pid") };
    Some((value("ID:")?.parse().ok()?, decoder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT: &str = include_str!("../decode/testdata/kvm_exit-6.18.format");

    fn format(text: &str) -> Format {
        Format { system: "kvm".into(), text: text.into() }
    }

    #[test]
    fn a_real_format_is_enough() {
        let decoders = Decoders::new(&[format(EXIT)], false, 1);
        assert!(!decoders.complete(), "there are no entries");
        let id: u16 = EXIT.lines().find_map(|line| line.strip_prefix("ID: ")).unwrap().parse().unwrap();
        let mut raw = vec![0; 60];
        raw[..2].copy_from_slice(&id.to_le_bytes());
        raw[4] = 114;
        raw[8] = 0x7b;
        raw[24] = 2;
        raw[56] = 3;
        assert_eq!(
            decoders.decode(&raw),
            Some(Decoded { exit: Some(ExitReason { isa: 2, code: 0x7b }), vcpu: 3, tid: 114 })
        );
        assert_eq!(decoders.decode(&raw[..59]), None, "the vCPU's number is cut");
        raw[0] ^= 1;
        assert_eq!(decoders.decode(&raw), None, "another tracepoint");
    }

    #[test]
    fn a_record_without_isa_takes_that_of_the_processor() {
        let text = "name: kvm_exit\nID: 7\nformat:\n\tfield:u16 common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
            \tfield:unsigned int exit_reason;\toffset:4;\tsize:4;\tsigned:0;\n";
        let decoders = Decoders::new(&[format(text)], false, 1);
        let raw = [7, 0, 0, 0, 12, 0, 0, 0];
        assert_eq!(
            decoders.decode(&raw),
            Some(Decoded { exit: Some(ExitReason { isa: 1, code: 12 }), vcpu: ABSENT, tid: 0 })
        );
    }
}
