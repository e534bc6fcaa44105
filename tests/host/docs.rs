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

/// Demands that the page is as it should be, or makes it so if that is asked for.
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
    assert_eq!(tables, 6, "parts, causes, columns, losses, notes, kernels");
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
