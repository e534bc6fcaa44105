//! The little of ELF that the lab must read: what a kernel module depends on, where its code is, and whether a program is
//! static.
//!
//! Reading it ourselves keeps kmod and binutils off the list of things to install.

use std::ops::Range;

use anyhow::{Context, Result, bail};

const PT_INTERP: u32 = 3;

/// What a section is, and that it holds instructions.
const SHT_PROGBITS: usize = 1;
const SHF_EXECINSTR: usize = 4;

/// A 64-bit ELF file.
#[derive(Debug)]
pub struct Elf<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Elf<'a> {
    /// Checks the identification only.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let big_endian = match bytes.get(..6) {
            Some(b"\x7fELF\x02\x01") => false,
            Some(b"\x7fELF\x02\x02") => true,
            _ => bail!("not a 64-bit ELF file"),
        };
        Ok(Self { bytes, big_endian })
    }

    /// Whether the program needs no dynamic linker.
    pub fn is_static(&self) -> Result<bool> {
        let (offset, size, count) = (self.uint(32, 8)?, self.uint(54, 2)?, self.uint(56, 2)?);
        for index in 0..count {
            if self.uint(offset + index * size, 4)? == PT_INTERP as usize {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The modules named by `depends=` in `.modinfo`.
    pub fn depends(&self) -> Result<Vec<String>> {
        let modinfo = self.section(".modinfo")?.context("no .modinfo section: not a kernel module")?;
        let list = modinfo.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
        let list = String::from_utf8_lossy(list.unwrap_or_default()).into_owned();
        Ok(list.split(',').filter(|name| !name.is_empty()).map(module_name).collect())
    }

    /// Where the sections with instructions are in the file.
    pub fn code(&self) -> Result<Vec<Range<usize>>> {
        let mut found = Vec::new();
        for header in self.headers()? {
            let (kind, flags) = (self.uint(header + 4, 4)?, self.uint(header + 8, 8)?);
            if kind == SHT_PROGBITS && flags & SHF_EXECINSTR != 0 {
                let (offset, size) = (self.uint(header + 24, 8)?, self.uint(header + 32, 8)?);
                self.bytes(offset, size)?;
                found.push(offset..offset + size);
            }
        }
        Ok(found)
    }

    /// Where the section headers are.
    fn headers(&self) -> Result<impl Iterator<Item = usize> + use<>> {
        let (table, size, count) = (self.uint(40, 8)?, self.uint(58, 2)?, self.uint(60, 2)?);
        Ok((0..count).map(move |index| table + index * size))
    }

    fn section(&self, wanted: &str) -> Result<Option<&'a [u8]>> {
        let mut headers = self.headers()?;
        let names = headers.nth(self.uint(62, 2)?).context("the ELF file has no names of sections")?;
        let names = self.contents(names)?;
        for header in self.headers()? {
            let name = names.get(self.uint(header, 4)?..).unwrap_or_default();
            if name.split(|&byte| byte == 0).next() == Some(wanted.as_bytes()) {
                return self.contents(header).map(Some);
            }
        }
        Ok(None)
    }

    fn contents(&self, header: usize) -> Result<&'a [u8]> {
        self.bytes(self.uint(header + 24, 8)?, self.uint(header + 32, 8)?)
    }

    fn uint(&self, offset: usize, size: usize) -> Result<usize> {
        let mut wide = [0; 8];
        let bytes = self.bytes(offset, size)?;
        let number = if self.big_endian {
            wide[8 - size..].copy_from_slice(bytes);
            u64::from_be_bytes(wide)
        } else {
            wide[..size].copy_from_slice(bytes);
            u64::from_le_bytes(wide)
        };
        usize::try_from(number).context("an ELF offset beyond this machine's address space")
    }

    fn bytes(&self, offset: usize, size: usize) -> Result<&'a [u8]> {
        let end = offset.checked_add(size).context("an ELF offset overflows")?;
        self.bytes.get(offset..end).context("the ELF file is cut short")
    }
}

/// A module's name as the kernel spells it: files may have dashes.
pub fn module_name(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A header, `.modinfo` and `.shstrtab`: as small as a module can be.
    pub fn module(modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf.extend(modinfo);
        elf.extend(names);
        let table = elf.len();
        for (name, offset, size) in [(1_u32, 64, modinfo.len()), (10, 64 + modinfo.len(), names.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            elf.extend(header);
        }
        elf[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        elf[58..60].copy_from_slice(&64_u16.to_le_bytes());
        elf[60..62].copy_from_slice(&2_u16.to_le_bytes());
        elf[62..64].copy_from_slice(&1_u16.to_le_bytes());
        elf
    }

    #[test]
    fn dependencies_are_read_from_modinfo() {
        let elf = module(b"license=GPL\0depends=kvm,irq-bypass\0name=kvm_amd\0");
        assert_eq!(Elf::new(&elf).unwrap().depends().unwrap(), ["kvm", "irq_bypass"]);
        let none = module(b"license=GPL\0depends=\0");
        assert!(Elf::new(&none).unwrap().depends().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let elf = module(b"depends=kvm\0");
        assert!(Elf::new(&elf[..70]).unwrap().depends().is_err());
        assert!(Elf::new(b"#!/bin/sh").is_err());
    }

    #[test]
    fn this_test_is_not_static() {
        let me = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!Elf::new(&me).unwrap().is_static().unwrap());
    }
}
