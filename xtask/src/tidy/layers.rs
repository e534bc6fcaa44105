//! The table of layers in ARCHITECTURE.md, held against the paths that the sources name.
//!
//! A room is what lies directly below `tracer-user/src`: a directory, a file, or both with the same name.

use std::collections::{BTreeMap, BTreeSet};

use super::USER_SIDE;
use super::markdown::{cells, section};
use super::tree::Tree;

/// The library that both sides share: a room that every table may name and that has no row.
const SHARED: &str = "tracer-ebpf";
/// Files that are in no room and may use all of them.
const ROOTS: [&str; 2] = ["lib.rs", "main.rs"];

/// The rooms that each room may use.
type Layers = BTreeMap<String, BTreeSet<String>>;

/// Complains of rooms without a row, of uses that the table forbids, and of a table that allows a circle.
pub fn check(document: &str, tree: &Tree) -> Vec<String> {
    let layers = match read(document) {
        Ok(layers) => layers,
        Err(complaint) => return vec![complaint],
    };
    let rooms: BTreeSet<String> = tree
        .files
        .iter()
        .filter(|(_, file)| !ROOTS.iter().any(|root| file.path.as_os_str() == *root))
        .filter_map(|(module, _)| module.first().cloned())
        .collect();
    let mut complaints = Vec::new();
    for room in rooms.iter().filter(|room| !layers.contains_key(*room)) {
        complaints.push(format!("{room} has no row in the table of layers"));
    }
    for (room, uses) in &layers {
        if !rooms.contains(room) {
            complaints.push(format!("the table of layers has a row for {room}, which does not exist"));
        }
        for used in uses.iter().filter(|used| *used != SHARED && !layers.contains_key(*used)) {
            complaints.push(format!("the table of layers lets {room} use {used}, which has no row"));
        }
    }
    complaints.extend(circle(&layers));
    for (module, file) in &tree.files {
        let Some(allowed) = module.first().and_then(|room| layers.get(room)) else { continue };
        let room = &module[0];
        for named in &file.source.named {
            let full = file.source.in_full(named);
            let used = match tree.absolute(module, named) {
                Some(path) => path.into_iter().next().filter(|used| rooms.contains(used)),
                None => (full[0] == SHARED.replace('-', "_")).then(|| SHARED.to_owned()),
            };
            if let Some(used) = used.filter(|used| used != room && !allowed.contains(used)) {
                complaints.push(format!(
                    "{USER_SIDE}/{}:{} names {}: {room} may not use {used}, by the table in ARCHITECTURE.md",
                    file.path.display(),
                    named.line,
                    named.segments.join("::")
                ));
            }
        }
    }
    complaints
}

fn read(document: &str) -> Result<Layers, String> {
    let table = section(document, "layers")
        .map_err(|error| format!("ARCHITECTURE.md: the table of layers: {error}"))?;
    let mut layers = Layers::new();
    for row in table.lines().filter_map(cells).skip(2) {
        let [rooms, uses] = row.as_slice() else {
            return Err(format!(
                "ARCHITECTURE.md: a row of the table of layers has {} cells, not 2",
                row.len()
            ));
        };
        for room in names(rooms) {
            if layers.insert(room.clone(), names(uses).collect()).is_some() {
                return Err(format!("ARCHITECTURE.md: the table of layers has two rows for {room}"));
            }
        }
    }
    if layers.is_empty() {
        Err("ARCHITECTURE.md: the table of layers is empty".to_owned())
    } else {
        Ok(layers)
    }
}

/// The names in backticks; all other words of a cell are for people.
fn names(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Removes rooms that use none of those left, until there is none. The rest is in a circle or uses one.
fn circle(layers: &Layers) -> Option<String> {
    let mut left = layers.clone();
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        let free = |uses: &BTreeSet<String>| uses.is_disjoint(&names);
        let before = left.len();
        left.retain(|_, uses| !free(uses));
        if left.len() == before {
            break;
        }
    }
    let names: Vec<_> = left.keys().map(String::as_str).collect();
    (!names.is_empty()).then(|| format!("the table of layers allows a circle among: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::tree::sample;
    use super::*;

    const TABLE: &str = "text\n<!-- layers -->\n| room | may use |\n|---|---|\n| `model` | `tracer-ebpf` |\n\
        | `render` | `model` |\n| `cmd` | `model`, `render` |\n<!-- end -->\nmore\n";

    fn files(render: &str) -> Tree {
        sample(&[
            ("lib.rs", "pub mod model; pub mod render; pub mod cmd;"),
            ("main.rs", "use tracer_user::cmd;"),
            ("model/mod.rs", "use tracer_ebpf::abi::Slot; pub mod rows; pub struct Rows;"),
            ("model/rows.rs", "use super::Rows;"),
            ("render.rs", render),
            ("cmd/mod.rs", "use crate::{model::Rows, render};"),
        ])
    }

    #[test]
    fn sources_that_keep_to_the_table_pass() {
        let tests = "use crate::model::Rows; #[cfg(test)] mod tests { use crate::cmd; }";
        assert_eq!(check(TABLE, &files(tests)), Vec::<String>::new());
    }

    #[test]
    fn an_upward_use_is_named_with_its_line() {
        for bad in
            ["\nuse crate::cmd::run;", "\nfn f() { super::cmd::run() }", "\nsay!(\"{}\", crate::cmd::X);"]
        {
            let told = check(TABLE, &files(bad));
            assert!(
                told.len() == 1 && told[0].contains("render.rs:2") && told[0].contains("may not use cmd"),
                "{told:?}"
            );
        }
        let told = check(TABLE, &files("use tracer_ebpf::abi;"));
        assert!(told[0].contains("render may not use tracer-ebpf"), "{told:?}");
    }

    #[test]
    fn rooms_and_rows_must_agree() {
        let told = check(&TABLE.replace("| `render` | `model`", "| `page` | `model`"), &files(""));
        let all = told.join("\n");
        assert!(all.contains("render has no row") && all.contains("a row for page"), "{all}");
        assert!(all.contains("lets cmd use render, which has no row"), "{all}");
    }

    #[test]
    fn a_table_that_allows_a_circle_is_refused() {
        let told = check(&TABLE.replace("`tracer-ebpf` |", "`tracer-ebpf`, `cmd` |"), &files(""));
        assert_eq!(told, ["the table of layers allows a circle among: cmd, model, render"]);
    }

    #[test]
    fn a_missing_table_is_a_complaint() {
        assert_eq!(check("no table", &files("")).len(), 1);
        assert_eq!(check("<!-- layers -->\n<!-- end -->\n", &files("")).len(), 1);
    }
}
