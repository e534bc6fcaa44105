//! Takes the debug information out of a program, as `strip` and `objcopy` do. These know their own machine's
//! programs only, and are not everywhere.

use anyhow::{Context, Result};
use object::Endianness;
use object::elf::{
    FileHeader64, SHF_ALLOC, SHF_INFO_LINK, SHT_NOBITS, SHT_NULL, SHT_PROGBITS, SHT_STRTAB, SectionHeader64,
};
use object::endian::{U32, U64};
use object::pod::{bytes_of, from_bytes_mut};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};

type Section = SectionHeader64<Endianness>;

/// The section by which debuggers find the file with the debug information.
const LINK: &str = ".gnu_debuglink";
/// The section with the names of sections.
const NAMES: &str = ".shstrtab";

/// What is loaded of a program, unchanged, with the name of the file that has the rest: the whole program.
///
/// # Errors
/// If it is no ELF file of 64 bits.
pub fn stripped(whole: &[u8], name_of_whole: &str) -> Result<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(whole).context("the program is no ELF file of 64 bits")?;
    let endian = header.endian()?;
    let sections = header.sections(endian, whole)?;
    let is_kept = |section: &Section| {
        section.sh_type(endian) == SHT_NULL || section.sh_flags(endian) & u64::from(SHF_ALLOC) != 0
    };
    let ends = header.program_headers(endian, whole)?.iter();
    let ends = ends.map(|segment| segment.p_offset(endian) + segment.p_filesz(endian));
    let loaded = sections.iter().filter(|section| is_kept(section) && section.sh_type(endian) != SHT_NOBITS);
    let loaded = loaded.map(|section| section.sh_offset(endian) + section.sh_size(endian));
    let end = ends.chain(loaded).max().unwrap_or(0) as usize;
    let mut out = whole.get(..end).context("the program is torn")?.to_vec();

    // Sections name each other by index.
    let kept: Vec<_> = sections.enumerate().filter(|(_, section)| is_kept(section)).collect();
    let index = |old: u32| kept.iter().position(|(at, _)| at.0 == old as usize).unwrap_or(0) as u32;
    let (mut names, mut headers) = (Vec::new(), Vec::new());
    for (_, section) in &kept {
        let mut section = **section;
        section.sh_name = named(&mut names, sections.section_name(endian, &section)?, endian);
        section.sh_link.set(endian, index(section.sh_link(endian)));
        if section.sh_flags(endian) & u64::from(SHF_INFO_LINK) != 0 {
            section.sh_info.set(endian, index(section.sh_info(endian)));
        }
        headers.push(section);
    }
    let link = link(whole, name_of_whole, endian);
    let link_name = named(&mut names, LINK.as_bytes(), endian);
    headers.push(placed(&mut out, &link, link_name, SHT_PROGBITS, endian));
    let names_name = named(&mut names, NAMES.as_bytes(), endian);
    headers.push(placed(&mut out, &names, names_name, SHT_STRTAB, endian));

    out.resize(out.len().next_multiple_of(8), 0);
    let at = out.len() as u64;
    headers.iter().for_each(|section| out.extend(bytes_of(section)));
    let (first, _) =
        from_bytes_mut::<FileHeader64<Endianness>>(&mut out).ok().context("the program is torn")?;
    first.e_shoff.set(endian, at);
    first.e_shnum.set(endian, headers.len() as u16);
    first.e_shstrndx.set(endian, headers.len() as u16 - 1);
    Ok(out)
}

/// Where a name begins that is appended to the names.
fn named(names: &mut Vec<u8>, name: &[u8], endian: Endianness) -> U32<Endianness> {
    let at = names.len() as u32;
    names.extend(name);
    names.push(0);
    U32::new(endian, at)
}

/// The header of a section with these bytes, which are appended to the program.
fn placed(out: &mut Vec<u8>, bytes: &[u8], name: U32<Endianness>, kind: u32, endian: Endianness) -> Section {
    out.resize(out.len().next_multiple_of(4), 0);
    let (offset, size) = (out.len() as u64, bytes.len() as u64);
    out.extend(bytes);
    let [zero, offset, size, align] = [0, offset, size, 4].map(|value| U64::new(endian, value));
    Section {
        sh_name: name,
        sh_type: U32::new(endian, kind),
        sh_flags: zero,
        sh_addr: zero,
        sh_offset: offset,
        sh_size: size,
        sh_link: U32::new(endian, 0),
        sh_info: U32::new(endian, 0),
        sh_addralign: align,
        sh_entsize: zero,
    }
}

/// The name of the file, filled up with zeros to a multiple of four, and the sum that a debugger knows it by.
fn link(whole: &[u8], name: &str, endian: Endianness) -> Vec<u8> {
    let mut link = name.as_bytes().to_vec();
    link.resize((name.len() + 1).next_multiple_of(4), 0);
    let sum = crc32fast::hash(whole);
    link.extend(match endian {
        Endianness::Little => sum.to_le_bytes(),
        Endianness::Big => sum.to_be_bytes(),
    });
    link
}

#[cfg(test)]
mod tests {
    use object::read::elf::ElfFile64;
    use object::{Object as _, ObjectSection as _};

    use super::*;

    /// What is loaded of a program: address, and bytes in the file.
    fn loaded(program: &[u8]) -> Vec<(u64, &[u8])> {
        let file = ElfFile64::<Endianness>::parse(program).unwrap();
        let endian = file.endian();
        let segments = file.elf_program_headers().iter();
        let segments = segments.filter(|segment| segment.p_type(endian) == object::elf::PT_LOAD);
        segments.map(|it| (it.p_vaddr(endian), it.data(endian, program).unwrap())).collect()
    }

    /// This test's own program.
    #[test]
    fn what_is_loaded_stays_as_it_is() {
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let small = stripped(&whole, "x.debug").unwrap();
        assert!(2 * small.len() < whole.len(), "{} of {}", small.len(), whole.len());
        // Where the section headers are stands in the first bytes.
        let (before, after) = (loaded(&whole), loaded(&small));
        assert_eq!(before.len(), after.len());
        for ((address, bytes), (other, others)) in before.iter().zip(&after) {
            assert_eq!((address, bytes.len()), (other, others.len()));
            let skip = if *address == before[0].0 { size_of::<FileHeader64<Endianness>>() } else { 0 };
            assert!(bytes[skip..] == others[skip..], "{address:#x}");
        }
        let file = ElfFile64::<Endianness>::parse(small.as_slice()).unwrap();
        let sections: Vec<_> = file.sections().map(|section| section.name().unwrap().to_owned()).collect();
        let gone = [".debug_info", ".debug_line", ".symtab", ".strtab", ".comment"];
        assert!(!sections.iter().any(|name| gone.contains(&name.as_str())), "{sections:?}");
        let (name, sum) = file.gnu_debuglink().unwrap().unwrap();
        assert_eq!((name, sum), (b"x.debug".as_slice(), crc32fast::hash(&whole)));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(stripped(b"no program", "x.debug").is_err());
    }
}
