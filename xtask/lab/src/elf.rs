//! ELF files: the dependencies of a kernel module, the places of its code, and whether a program is static.

use std::ops::Range;

use anyhow::{Context, Result};
use object::elf::PT_INTERP;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSection, SectionKind};

/// Whether it is a 64-bit ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    parse(bytes).is_ok()
}

/// Whether a program needs no dynamic linker.
///
/// # Errors
/// If it is not a 64-bit ELF file.
pub fn is_static(bytes: &[u8]) -> Result<bool> {
    let file = parse(bytes)?;
    Ok(!file.elf_program_headers().iter().any(|header| header.p_type(file.endian()) == PT_INTERP))
}

/// The modules named by `depends=` in the `.modinfo` of a kernel module.
///
/// # Errors
/// If it is not a kernel module.
pub fn depends(bytes: &[u8]) -> Result<Vec<String>> {
    let file = parse(bytes)?;
    let modinfo = file.section_by_name(".modinfo").context("no .modinfo section: not a kernel module")?;
    let modinfo = modinfo.data().context("cannot read .modinfo")?;
    let list = modinfo.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
    let list = String::from_utf8_lossy(list.unwrap_or_default()).into_owned();
    Ok(list.split(',').filter(|name| !name.is_empty()).map(module_name).collect())
}

/// The byte ranges of the file that hold instructions.
///
/// # Errors
/// If it is not a 64-bit ELF file, or a section lies outside of it.
pub fn code(bytes: &[u8]) -> Result<Vec<Range<usize>>> {
    let file = parse(bytes)?;
    let sections = file.sections().filter(|section| section.kind() == SectionKind::Text);
    let range = |(offset, size): (u64, u64)| {
        let range = usize::try_from(offset).ok()?..usize::try_from(offset.checked_add(size)?).ok()?;
        bytes.get(range.clone()).map(|_| range)
    };
    sections
        .filter_map(|section| section.file_range())
        .map(|place| range(place).context("the ELF file is cut short"))
        .collect()
}

fn parse(bytes: &[u8]) -> Result<ElfFile64<'_, Endianness>> {
    ElfFile64::parse(bytes).context("not a 64-bit ELF file")
}

/// A module's name as the kernel spells it: files may have dashes.
pub fn module_name(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
pub mod tests {
    use object::{Architecture, BinaryFormat, write};

    use super::*;

    /// An ELF file with one section.
    pub fn file(
        architecture: Architecture,
        endian: Endianness,
        section: &str,
        kind: SectionKind,
        data: &[u8],
    ) -> Vec<u8> {
        let mut file = write::Object::new(BinaryFormat::Elf, architecture, endian);
        let id = file.add_section(Vec::new(), section.as_bytes().to_vec(), kind);
        file.append_section_data(id, data, 8);
        file.write().unwrap()
    }

    /// A kernel module with nothing in it but this `.modinfo`.
    pub fn module(modinfo: &[u8]) -> Vec<u8> {
        file(Architecture::X86_64, Endianness::Little, ".modinfo", SectionKind::ReadOnlyData, modinfo)
    }

    #[test]
    fn dependencies_are_read_from_modinfo() {
        let elf = module(b"license=GPL\0depends=kvm,irq-bypass\0name=kvm_amd\0");
        assert_eq!(depends(&elf).unwrap(), ["kvm", "irq_bypass"]);
        let none = module(b"license=GPL\0depends=\0");
        assert!(depends(&none).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let elf = module(b"depends=kvm\0");
        assert!(depends(&elf[..70]).is_err());
        assert!(!is_elf(b"#!/bin/sh") && depends(b"#!/bin/sh").is_err());
    }

    #[test]
    fn this_test_is_not_static() {
        let me = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!is_static(&me).unwrap());
    }
}
