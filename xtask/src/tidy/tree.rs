//! The files of a crate as the tree of its modules: which file a path leads to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::rust::{Named, Source};

/// A path from the root of the crate: the names of its modules.
pub type Module = Vec<String>;

/// One file of the crate.
#[derive(Debug)]
pub struct File {
    /// Path below the crate's `src`.
    pub path: PathBuf,
    /// Its contents.
    pub source: Source,
}

/// The files of a library by module, without those that are compiled for tests only.
#[derive(Debug)]
pub struct Tree {
    name: String,
    /// The program's own file is not a module of the library; it stands under its file name.
    pub files: BTreeMap<Module, File>,
}

impl Tree {
    /// Makes the tree of the library `name` from its sources, with their paths below `src`.
    pub fn new(name: &str, sources: Vec<(PathBuf, Source)>) -> Self {
        let mut files: BTreeMap<_, _> =
            sources.into_iter().map(|(path, source)| (module_of(&path), File { path, source })).collect();
        let tests: Vec<Module> = files
            .iter()
            .flat_map(|(module, file)| {
                file.source.test_modules.iter().map(|name| child(module, name)).collect::<Vec<_>>()
            })
            .collect();
        files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        Self { name: name.to_owned(), files }
    }

    /// The path from the root of the crate; [`None`] for a path of another crate.
    pub fn absolute(&self, module: &Module, named: &Named) -> Option<Module> {
        let mut base = module.clone();
        base.extend(named.inside.iter().cloned());
        let first = named.segments[0].as_str();
        if first == "crate" || first == self.name {
            return Some(named.segments[1..].to_vec());
        }
        if first != "self" && first != "super" {
            let path = child(&base, first);
            return self.files.contains_key(&path).then(|| [base, named.segments.clone()].concat());
        }
        let ups = named.segments.iter().take_while(|segment| *segment == "super" || *segment == "self");
        let count = ups.clone().count();
        for _ in ups.filter(|segment| *segment == "super") {
            base.pop()?;
        }
        Some([base, named.segments[count..].to_vec()].concat())
    }

    /// The module whose file defines what the path names. Re-exports are followed.
    pub fn resolve(&self, path: &[String]) -> Option<&Module> {
        self.follow(path, 8)
    }

    fn follow(&self, path: &[String], hops: usize) -> Option<&Module> {
        let (length, (module, file)) = (0..=path.len())
            .rev()
            .find_map(|length| Some((length, self.files.get_key_value(&path[..length])?)))?;
        let Some((name, rest)) = path[length..].split_first() else { return Some(module) };
        if hops == 0 || file.source.defined.contains(name) {
            return Some(module);
        }
        let leads_to = |import: &Named, tail: &[String]| {
            let target = self.absolute(module, import)?;
            self.follow(&[target, tail.to_vec()].concat(), hops - 1)
        };
        let imports = file.source.named.iter().filter(|named| named.inside.is_empty());
        let mut by_name = imports.clone().filter(|import| import.binds.as_ref() == Some(name));
        if let Some(target) = by_name.find_map(|import| leads_to(import, rest)) {
            return Some(target);
        }
        // A glob brings the name if the file that it leads to defines it.
        let globs = imports.filter(|import| import.binds.as_deref() == Some("*"));
        let brings = |target: &&Module| self.files[*target].source.defined.contains(name);
        globs.filter_map(|glob| leads_to(glob, &path[length..])).find(brings).or(Some(module))
    }
}

/// `cli/diff.rs` and `cli/diff/mod.rs` are `cli::diff`, `lib.rs` is the root, `main.rs` is no module.
fn module_of(path: &Path) -> Module {
    let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let file = module.pop().unwrap_or_default();
    match file.as_str() {
        "mod.rs" | "lib.rs" => {}
        "main.rs" => module.push(file),
        _ => module.push(file.trim_end_matches(".rs").to_owned()),
    }
    module
}

fn child(module: &[String], name: &str) -> Module {
    [module, &[name.to_owned()]].concat()
}

/// A tree of made-up files for tests.
#[cfg(test)]
pub fn sample(files: &[(&str, &str)]) -> Tree {
    let read = |(path, text): &(&str, &str)| (PathBuf::from(path), Source::read(text).unwrap());
    Tree::new("tracer_user", files.iter().map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        sample(&[
            ("lib.rs", "pub mod model; pub mod cli;"),
            ("main.rs", "use tracer_user::cli::Cli;"),
            ("model/mod.rs", "mod rows; pub mod by; pub use rows::Rows; pub use by::*; pub struct Own;"),
            ("model/rows.rs", "pub struct Rows; use super::by::By; #[cfg(test)] mod tests;"),
            ("model/rows/tests.rs", "use crate::cli::Cli;"),
            ("model/by.rs", "pub struct By;"),
            ("cli.rs", "pub struct Cli;"),
        ])
    }

    fn leads_to(path: &str) -> String {
        let path: Module = path.split("::").map(str::to_owned).collect();
        tree().resolve(&path).unwrap().join("::")
    }

    #[test]
    fn re_exports_lead_to_the_file_that_defines() {
        assert_eq!(leads_to("model::Rows::new"), "model::rows");
        assert_eq!(leads_to("model::By"), "model::by");
        assert_eq!(leads_to("model::Own"), "model");
        assert_eq!(leads_to("model::by::By"), "model::by");
    }

    #[test]
    fn paths_are_seen_from_the_root() {
        let tree = tree();
        let rows: Module = vec!["model".into(), "rows".into()];
        let absolute = |module: &Module| tree.absolute(module, &tree.files[module].source.named[0]);
        assert_eq!(absolute(&rows).unwrap().join("::"), "model::by::By");
        assert_eq!(absolute(&vec!["main.rs".into()]).unwrap().join("::"), "cli::Cli");
        assert_eq!(absolute(&vec!["model".into()]).unwrap().join("::"), "model::rows::Rows");
    }

    #[test]
    fn files_for_tests_are_not_in_the_tree() {
        assert_eq!(tree().files.len(), 6);
    }
}
