//! Tables and outputs in the manual are those of the code and of the program.
//!
//! `UPDATE_DOCS=1 cargo test -p exitlat-tests --test host docs` rewrites them, and `usage` in the place of
//! `docs` the outputs.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use exitlat_tests::tables;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

/// Fails unless the page has the wanted text; with `UPDATE_DOCS` set, rewrites the page instead.
pub fn demand(path: &Path, page: &str, wanted: &str) {
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, wanted).unwrap();
        return;
    }
    let differing = page.lines().zip(wanted.lines()).find(|(is, wanted)| is != wanted);
    assert!(page == wanted, "{}: {differing:#?}; UPDATE_DOCS=1 rewrites it", path.display());
}

fn pages() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(root().join("docs")).unwrap();
    let pages = entries.map(|entry| entry.unwrap().path());
    pages.filter(|path| path.extension().is_some_and(|ending| ending == "md"))
}

#[test]
fn tables_are_those_of_the_code() {
    let mut tables = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        let wanted = tables::fill(&page).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        tables += page.matches("<!-- table: ").count();
        demand(&path, &page, &wanted);
    }
    assert_eq!(tables, 9, "parts, causes, columns, losses, notes, kernels, facts, identity sources, stacks");
}

/// The snapshots of outputs whose names begin so, and the specification of recordings.
fn outputs(beginnings: &[&str]) -> String {
    let snapshots = root().join("tests/host/snapshots");
    let named = |beginning: &&str| {
        let (group, name) = beginning.split_once('/').unwrap();
        let files = fs::read_dir(snapshots.join(group)).unwrap().map(|entry| entry.unwrap().path());
        let mine = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name));
        mine.map(|path| fs::read_to_string(path).unwrap()).collect::<String>()
    };
    beginnings.iter().map(named).collect()
}

/// The manual's table of equivalent words names only words that occur in the outputs.
#[test]
fn words_of_the_outputs_are_in_them() {
    let usage = fs::read_to_string(root().join("docs/usage.md")).unwrap();
    let (_, table) =
        usage.split_once("| thing | table | JSON | CSV | recording | long form | metrics |\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let texts = [
        outputs(&["report/json"]),
        outputs(&["report/csv"]),
        fs::read_to_string(root().join("docs/recording.md")).unwrap(),
        outputs(&["export/csv", "export/json"]),
        outputs(&["export/openmetrics"]),
    ];
    let mut words = 0;
    for line in table.lines().skip(1) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        for (cell, text) in cells[3..8].iter().zip(&texts) {
            for quoted in cell.split('`').skip(1).step_by(2) {
                let word = quoted.split('=').next().unwrap();
                let is_there = regex::Regex::new(&format!(r"\b{word}\b")).unwrap().is_match(text);
                assert!(is_there, "`{word}` of the line {line}");
                words += 1;
            }
        }
    }
    assert!(words > 100, "{words}");
}

#[test]
fn a_block_is_replaced_and_nothing_else() {
    let page = "a\n<!-- table: notes -->\nold\n<!-- end -->\nb\n";
    let table = tables::table("notes").unwrap();
    let filled = format!("a\n<!-- table: notes -->\n{table}<!-- end -->\nb\n");
    assert_eq!(tables::fill(page).unwrap(), filled);
    assert_eq!(tables::fill(&filled).unwrap(), filled);
    assert!(tables::fill("<!-- table: nonsense -->\n<!-- end -->\n").is_err());
    assert!(tables::fill("<!-- table: notes -->\n").is_err());
}
