//! The BPF object: its instructions, and what they refer to.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

/// The section of raw tracepoint programs.
const SECTION: &str = "raw_tp";

/// The instructions of one section.
pub struct Program {
    /// Eight bytes each.
    pub code: Vec<[u8; 8]>,
    /// Number of a program's first instruction, by name.
    pub entries: HashMap<String, usize>,
    /// By number of the instruction: the map or section that it loads the address of.
    pub targets: HashMap<usize, String>,
    /// Data sections by name, and bytes.
    pub data: HashMap<String, Vec<u8>>,
    /// Offset in its section of a variable, by a part of its name.
    variables: Vec<(String, u64)>,
}

impl Program {
    /// # Errors
    /// If the object has no such section, or is damaged.
    pub fn parse(object: &[u8]) -> Result<Self> {
        let file = object::File::parse(object)?;
        let section = file.section_by_name(SECTION).context("no raw tracepoint programs")?;
        let code = section.data()?.as_chunks().0.to_vec();
        let here = file.symbols().filter(|symbol| symbol.section_index() == Some(section.index()));
        let entries = here.map(|it| Ok((it.name()?.to_owned(), it.address() as usize / 8)));
        let entries = entries.collect::<Result<_>>()?;
        let mut targets = HashMap::new();
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(target) = relocation.target() else { continue };
            let symbol = file.symbol_by_index(target)?;
            let name = match symbol.section_index().filter(|_| symbol.name().is_ok_and(str::is_empty)) {
                Some(section) => file.section_by_index(section)?.name()?,
                None => symbol.name()?,
            };
            targets.insert(offset as usize / 8, name.to_owned());
        }
        let mut data = HashMap::new();
        for name in [".bss", ".rodata"] {
            let section = file.section_by_name(name).with_context(|| format!("no section {name}"))?;
            let mut bytes = section.data()?.to_vec();
            bytes.resize(section.size() as usize, 0);
            data.insert(name.to_owned(), bytes);
        }
        let variables = file.symbols().filter_map(|it| Some((it.name().ok()?.to_owned(), it.address())));
        Ok(Self { code, entries, targets, data, variables: variables.collect() })
    }

    /// Offset of a variable in its section.
    pub fn variable(&self, name: &str) -> Option<u64> {
        self.variables.iter().find(|(known, _)| known.contains(name)).map(|(_, offset)| *offset)
    }
}
