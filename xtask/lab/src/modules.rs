//! Which modules KVM needs, in loading order, read from the modules themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::elf::{depends, module_name};
use crate::process::{Output, run};

/// The directory `lib/modules/RELEASE` of an unpacked kernel.
pub fn find_tree(unpacked: &Path) -> Result<PathBuf> {
    for parent in ["usr/lib/modules", "lib/modules"] {
        let Ok(listing) = fs::read_dir(unpacked.join(parent)) else { continue };
        if let Some(entry) = listing.filter_map(Result::ok).find(|entry| entry.path().join("kernel").is_dir())
        {
            return Ok(entry.path());
        }
    }
    bail!("the kernel packages have no usr/lib/modules/RELEASE/kernel nor lib/modules/RELEASE/kernel")
}

/// Unpacks a module and all it depends on into `out`; returns their names, dependencies first.
pub fn closure(tree: &Path, root: &str, out: &Path) -> Result<Vec<String>> {
    let mut files = BTreeMap::new();
    collect(&tree.join("kernel"), &mut files)?;
    let builtin = fs::read_to_string(tree.join("modules.builtin")).unwrap_or_default();
    let builtin = builtin.lines().filter_map(|line| name_of(Path::new(line))).collect::<Vec<_>>();
    let depends = |name: &str| -> Result<Option<Vec<String>>> {
        match files.get(name) {
            Some(file) => dependencies(file, &unpack(file, name, out)?).map(Some),
            None if builtin.iter().any(|known| known == name) => Ok(None),
            None => bail!("the kernel has no module {name}"),
        }
    };
    let mut order = Vec::new();
    visit(root, &depends, &mut order)?;
    Ok(order)
}

/// Depth first; the kernel refuses circular modules, so there is no circle to fall into.
fn visit(
    name: &str,
    depends: &impl Fn(&str) -> Result<Option<Vec<String>>>,
    order: &mut Vec<String>,
) -> Result<()> {
    if order.iter().any(|known| known == name) {
        return Ok(());
    }
    let Some(needed) = depends(name)? else { return Ok(()) };
    for other in needed {
        visit(&other, depends, order).with_context(|| format!("needed by {name}"))?;
    }
    order.push(name.to_owned());
    Ok(())
}

/// All module files below a directory, by module name.
fn collect(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `kvm_amd` for `.../kvm-amd.ko.xz`.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(module_name(stem))
}

/// Copies a module to `out` as plain `.ko`.
fn unpack(file: &Path, name: &str, out: &Path) -> Result<PathBuf> {
    let plain = out.join(format!("{name}.ko"));
    if file.extension().is_some_and(|extension| extension == "xz") {
        let packed = plain.with_extension("ko.xz");
        fs::copy(file, &packed).with_context(|| format!("cannot copy {}", file.display()))?;
        run(Command::new("xz").args(["--decompress", "--force"]).arg(&packed), Output::Terminal)?;
    } else {
        fs::copy(file, &plain).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(plain)
}

fn dependencies(origin: &Path, plain: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(plain).with_context(|| format!("cannot read {}", plain.display()))?;
    depends(&bytes).with_context(|| format!("cannot read the dependencies of {}", origin.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_without_dashes_and_suffixes() {
        assert_eq!(name_of(Path::new("kernel/arch/x86/kvm/kvm-amd.ko.xz")).as_deref(), Some("kvm_amd"));
        assert_eq!(name_of(Path::new("kvm.ko")).as_deref(), Some("kvm"));
        assert_eq!(name_of(Path::new("modules.dep")), None);
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let depends = |name: &str| {
            Ok(match name {
                "kvm_amd" => Some(vec!["kvm".to_owned(), "ccp".to_owned(), "irqbypass".to_owned()]),
                "kvm" => Some(vec!["irqbypass".to_owned()]),
                "ccp" => None,
                "irqbypass" => Some(vec![]),
                other => bail!("no {other}"),
            })
        };
        let mut order = Vec::new();
        visit("kvm_amd", &depends, &mut order).unwrap();
        assert_eq!(order, ["irqbypass", "kvm", "kvm_amd"]);
        assert!(visit("vfio", &depends, &mut order).is_err());
    }
}
