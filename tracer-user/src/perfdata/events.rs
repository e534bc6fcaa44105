//! Which tracepoints mean that a vCPU left or entered its guest, and where their fields are.

use std::collections::HashMap;

use tracer_ebpf::abi::{ABSENT, Isa};

use super::{bytes::Bytes, tracing::Format};
use crate::{
    replay::Event,
    tracepoint::fields::{Field, field},
};

/// Where the isa of an exit's code comes from.
#[derive(Clone, Copy, Debug)]
enum IsaOf {
    /// A field of the record, or the processor's vendor for kernels without it.
    Field(&'static str),
    /// There is one only.
    Fixed(u32),
}

/// What a tracepoint means.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// The vCPU left its guest: the field with the reason, and its isa.
    Exit(&'static str, IsaOf),
    /// The vCPU enters its guest.
    Entry,
}

/// The tracepoints of system `kvm` that are read: name, meaning, field with the vCPU's number. Others that perf
/// records, such as `kvm_mmio` and `kvm_pio`, lie within an exit and are left out.
const TRACEPOINTS: [(&str, Meaning, &str); 4] = [
    ("kvm_exit", Meaning::Exit("exit_reason", IsaOf::Field("isa")), "vcpu_id"),
    ("kvm_entry", Meaning::Entry, "vcpu_id"),
    ("kvm_s390_sie_exit", Meaning::Exit("icptcode", IsaOf::Fixed(Isa::S390.0)), "id"),
    ("kvm_s390_sie_enter", Meaning::Entry, "id"),
];

/// How to read the record of one tracepoint.
#[derive(Clone, Copy, Debug)]
struct Decoder {
    /// The reason's field and the isa, for exits.
    exit: Option<(Field, Result<Field, u32>)>,
    vcpu: Option<Field>,
}

/// What a record says, without its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    /// The exit's isa and code; [`None`] for an entry.
    pub exit: Option<(u32, u32)>,
    /// The vCPU's number, or [`ABSENT`].
    pub vcpu: u32,
}

impl Decoded {
    /// As an event of the replay.
    pub fn event(self, now_ns: u64, vcpu: u32) -> Event {
        match self.exit {
            Some((isa, code)) => Event::Exit { now_ns, isa, code, vcpu },
            None => Event::Entry { now_ns },
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
    /// Finds them among a recording's formats. `isa` is that of exits whose record does not say.
    pub fn new(formats: &[Format], big_endian: bool, isa: u32) -> Self {
        let known = formats.iter().filter(|format| format.system == "kvm");
        let by_type = known.filter_map(|format| decoder(&format.text, isa)).collect();
        Self { by_type, big_endian }
    }

    /// Whether exits can be read, and entries.
    pub fn complete(&self) -> bool {
        [true, false].iter().all(|exit| self.by_type.values().any(|decoder| decoder.exit.is_some() == *exit))
    }

    /// Reads a record; [`None`] for other tracepoints, and for records that are too short.
    pub fn decode(&self, raw: &[u8]) -> Option<Decoded> {
        let read = |field: Field| {
            let field_bytes = raw.get(field.offset as usize..)?;
            Bytes::new(field_bytes, self.big_endian).number(field.size)
        };
        // `struct trace_entry`, with which every record begins, begins with the type.
        let number = read(Field { offset: 0, size: 2 })?;
        let Decoder { exit, vcpu } = self.by_type.get(&(number as u16))?;
        let exit = match exit {
            None => None,
            Some((reason, isa)) => {
                let isa = isa.map_or_else(|fixed| Some(u64::from(fixed)), read)?;
                Some((isa as u32, read(*reason)? as u32))
            }
        };
        let vcpu = vcpu.map_or(Some(u64::from(ABSENT)), read)?;
        Some(Decoded { exit, vcpu: vcpu as u32 })
    }
}

/// A tracepoint's number and how to read it, from its format text; [`None`] if it is not one that is read.
fn decoder(text: &str, default_isa: u32) -> Option<(u16, Decoder)> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let name = value("name:")?;
    let (_, meaning, vcpu) = TRACEPOINTS.iter().find(|(known, ..)| *known == name)?;
    let exit = match meaning {
        Meaning::Entry => None,
        Meaning::Exit(reason, IsaOf::Fixed(isa)) => Some((field(text, reason)?, Err(*isa))),
        Meaning::Exit(reason, IsaOf::Field(isa)) => {
            Some((field(text, reason)?, field(text, isa).ok_or(default_isa)))
        }
    };
    Some((value("ID:")?.parse().ok()?, Decoder { exit, vcpu: field(text, vcpu) }))
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
        raw[8] = 0x7b;
        raw[24] = 2;
        raw[56] = 3;
        assert_eq!(decoders.decode(&raw), Some(Decoded { exit: Some((2, 0x7b)), vcpu: 3 }));
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
        assert_eq!(decoders.decode(&raw), Some(Decoded { exit: Some((1, 12)), vcpu: ABSENT }));
    }
}
