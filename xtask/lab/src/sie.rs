//! KVM for the s390x guest: the distribution's own kvm.ko, linked with a scripted SIE.
//!
//! QEMU without KVM has no SIE instruction, and kvm.ko refuses to load without it. So the lab links
//! `guest/sie.c` into it, which replaces `sie64a` (arch/s390/kernel/entry.S) and nothing else. Each boot
//! makes the result, which is never shipped. A new kernel that differs from what is expected here ends in an
//! error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::elf;
use crate::process::{Output, capture, run};

/// The scripted SIE.
const SIE: &str = include_str!("../guest/sie.c");
/// The prefix of the cross tools for s390x.
const S390X_TOOLS: &str = "s390x-linux-gnu-";
/// PERFORM LOCKED OPERATION with all operands 0, and INSERT PROGRAM MASK. KVM's init asks that way which
/// functions of PLO exist (`plo_test_bit`, arch/s390/kvm/kvm-s390.c). QEMU has no PLO.
const PLO_AND_IPM: [u8; 8] = [0xee, 0, 0, 0, 0, 0, 0xb2, 0x22];
/// OR IMMEDIATE of 0 to register 0, which leaves the condition code "not there".
const OILF: [u8; 6] = [0xc0, 0x0d, 0, 0, 0, 0];

/// Makes the module from `stock` in `dir`.
pub fn link(stock: &Path, dir: &Path) -> Result<PathBuf> {
    let [source, object, renamed, linked] =
        ["sie.c", "sie.o", "kvm-renamed.o", "kvm.ko"].map(|name| dir.join(name));
    fs::write(&source, SIE).with_context(|| format!("cannot write {}", source.display()))?;
    let init = listing("objdump", &["-d", "-j", ".init.text"], stock)?;
    let (byte, mask) = has_sief2(&init)
        .with_context(|| format!("{} does not begin by testing sclp.has_sief2", stock.display()))?;
    let symbols = listing("nm", &[], stock)?;
    let with_asce = symbols.lines().any(|line| line.trim() == "U __sie64a");
    let entry = if with_asce { "__sie64a" } else { "sie64a" };

    let mut compile = tool("gcc");
    compile.args("-O2 -Wall -Werror -m64 -march=z10 -mpacked-stack -mbackchain -msoft-float".split(' '));
    compile.args("-ffreestanding -fno-pie -fno-pic -fno-stack-protector -fno-common".split(' '));
    compile.arg("-fno-asynchronous-unwind-tables");
    compile.args([format!("-DSIEF2_BYTE={byte}"), format!("-DSIEF2_MASK={mask}")]);
    compile.args(with_asce.then_some("-DSIE64A_WITH_ASCE"));
    run(compile.arg("-c").arg(source).arg("-o").arg(&object), Output::Terminal)?;

    // Our init_module takes over: it sets the bit and calls the real one by its other name.
    let mut rename = tool("objcopy");
    rename.args(["--globalize-symbol=kvm_s390_init", "--weaken-symbol=init_module"]);
    rename.args(["--redefine-sym", &format!("{entry}=fake_sie64a"), "--redefine-sym", "sclp=fake_sclp"]);
    run(rename.arg(stock).arg(&renamed), Output::Terminal)?;
    run(tool("ld").args(["-r", "-o"]).arg(&linked).arg(&renamed).arg(&object), Output::Terminal)?;

    let mut module = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    replace_plo(&mut module).with_context(|| format!("cannot patch {}", stock.display()))?;
    fs::write(&linked, module).with_context(|| format!("cannot write {}", linked.display()))?;
    Ok(linked)
}

fn tool(name: &str) -> Command {
    Command::new(format!("{S390X_TOOLS}{name}"))
}

fn listing(name: &str, args: &[&str], file: &Path) -> Result<String> {
    capture(tool(name).args(args).arg(file), Output::Terminal)
}

/// Byte and mask of `sclp.has_sief2`. The module's init tests it first. The place differs from kernel to
/// kernel.
fn has_sief2(disassembly: &str) -> Option<(u32, u32)> {
    let (_, operands) = disassembly.lines().find_map(|line| line.split_once("\ttm\t"))?;
    let (byte, mask) = operands.trim().split_once("(%r1),")?;
    let (byte, mask) = (byte.parse().ok()?, mask.parse::<u32>().ok()?);
    (mask < 256 && mask.is_power_of_two()).then_some((byte, mask))
}

fn replace_plo(module: &mut [u8]) -> Result<()> {
    let code = elf::code(module)?;
    let mut places = Vec::new();
    for section in code {
        let words = module[section.clone()].windows(PLO_AND_IPM.len()).step_by(2);
        let found = words.enumerate().filter(|(_, window)| *window == PLO_AND_IPM);
        places.extend(found.map(|(word, _)| section.start + 2 * word));
    }
    ensure!(places.len() < 2, "it has PLO in {} places", places.len());
    let Some(&place) = places.first() else { bail!("it has no PLO where one was expected") };
    module[place..place + OILF.len()].copy_from_slice(&OILF);
    Ok(())
}

#[cfg(test)]
mod tests {
    use object::{Architecture, Endianness, SectionKind};

    use super::elf::tests::file;
    use super::*;

    #[test]
    fn the_test_for_sie_is_found() {
        let listing = "0000000000000000 <init_module>:\n   6:\tc4 18 00 00 00 00\tlgrl\t%r1,6 \
                       <init_module+0x6>\n  \
                       c:\t91 40 10 01       \ttm\t1(%r1),64\n  10:\t91 20 10 02\ttm\t2(%r1),32\n";
        assert_eq!(has_sief2(listing), Some((1, 64)));
        assert_eq!(has_sief2("  c:\t91 41 10 01       \ttm\t1(%r1),65\n"), None);
        assert_eq!(has_sief2("  c:\ta7 f4 00 00\tj\tc\n"), None);
    }

    fn elf(code: &[u8]) -> Vec<u8> {
        file(Architecture::S390x, Endianness::Big, ".text", SectionKind::Text, code)
    }

    #[test]
    fn one_plo_is_replaced_and_nothing_else() {
        let code = [&[0x07, 0x07][..], &PLO_AND_IPM, &[0x07, 0xfe]].concat();
        let mut module = elf(&code);
        replace_plo(&mut module).unwrap();
        assert_eq!(module[64..], elf(&[&[0x07, 0x07][..], &OILF, &[0xb2, 0x22, 0x07, 0xfe]].concat())[64..]);
        assert!(replace_plo(&mut module).is_err(), "it is gone now");
        assert!(replace_plo(&mut elf(&[code.clone(), code].concat())).is_err(), "two are unexpected");
        let odd = [&[0x07][..], &PLO_AND_IPM, &[0]].concat();
        assert!(replace_plo(&mut elf(&odd)).is_err(), "instructions begin at even addresses");
    }
}
