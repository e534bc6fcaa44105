//! Tables of the manual, printed from the tables of the code and from the matrix of kernels.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tracer_user::model::{
    columns::{COLUMNS, Set},
    kinds::KINDS,
    losses::LOSSES,
    parts::PARTS,
};

/// Replaces each block between `<!-- table: NAME -->` and `<!-- end -->` by the printed table of that name.
///
/// # Errors
/// A block has no end, or no table has its name.
pub fn fill(page: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("<!-- table: ") {
        let (name, block) = after.split_once(" -->\n").context("a table has no name")?;
        let (_, after) =
            block.split_once("<!-- end -->").with_context(|| format!("table {name} has no end"))?;
        out += &format!("{before}<!-- table: {name} -->\n{}<!-- end -->", table(name)?);
        rest = after;
    }
    Ok(out + rest)
}

/// A table in Markdown.
///
/// # Errors
/// There is none of this name, or the matrix of kernels cannot be read.
pub fn table(name: &str) -> Result<String> {
    Ok(match name {
        "parts" => parts(),
        "causes" => causes(),
        "columns" => columns(),
        "losses" => losses(true),
        "notes" => losses(false),
        "kernels" => kernels()?,
        _ => bail!("no table is called {name}"),
    })
}

fn parts() -> String {
    let rows = PARTS.iter().map(|info| {
        [code(info.id), code(info.column), info.title.to_owned(), info.meaning.to_owned()].to_vec()
    });
    markdown(&["part", "column", "heading", "meaning"], "----", rows)
}

fn causes() -> String {
    let rows = KINDS.iter().map(|info| {
        vec![
            info.kind.to_string(),
            code(info.id),
            yes_no(info.exits),
            yes_no(info.value),
            info.meaning.to_owned(),
        ]
    });
    markdown(&["kind", "name", "exits of a reason", "has a value", "meaning"], ">----", rows)
}

fn columns() -> String {
    let rows = COLUMNS.iter().map(|column| {
        let set = match column.set {
            Set::Usual => "usual",
            Set::IfAny => "if any",
            Set::Parts => "parts",
            Set::OfParts => "tables of parts",
            Set::OnRequest => "on request",
        };
        let rank = column.rank.to_string();
        let meaning = lower_first(column.meaning);
        vec![code(column.id), column.title.to_owned(), set.to_owned(), rank, meaning]
    });
    markdown(&["name", "heading", "set", "rank", "meaning"], "--->-", rows)
}

fn losses(missing: bool) -> String {
    let rows = LOSSES.iter().filter(|info| info.missing == missing);
    let rows = rows.map(|info| vec![format!("{} (`{}`)", info.text, info.name), info.meaning.to_owned()]);
    markdown(&["on the screen", "meaning"], "--", rows)
}

/// The part of `tests/kernels.toml` that the manual shows.
#[derive(Deserialize)]
struct Matrix {
    kernel: Vec<Kernel>,
    run: Vec<Run>,
}

#[derive(Deserialize)]
struct Kernel {
    name: String,
    /// x86 if it is missing.
    arch: Option<String>,
    /// Booted only by the runs that name it.
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Run {
    name: String,
    kernel: String,
    machine: String,
    filter: String,
}

fn kernels() -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let matrix: Matrix = toml::from_str(&text)?;
    // Every x86 kernel is booted on the AMD machine; the others only where a run names them.
    let x86 = matrix.kernel.iter().filter(|kernel| kernel.arch.is_none() && !kernel.special);
    let x86 = x86.map(|kernel| (&kernel.name, &kernel.name, "amd", "all but the following".to_owned()));
    let runs = matrix.run.iter();
    let runs = runs.map(|run| (&run.name, &run.kernel, run.machine.as_str(), code(&run.filter)));
    let rows = x86.chain(runs).map(|(name, kernel, machine, tests)| {
        let (cpu, emulator) = match machine {
            "amd" => ("AMD", "QEMU"),
            "intel" => ("Intel", "Bochs"),
            "s390x" => ("s390x", "QEMU"),
            _ => bail!("{machine} is no machine of the lab"),
        };
        Ok(vec![code(&format!("lab-{name}")), kernel.clone(), cpu.to_owned(), emulator.to_owned(), tests])
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    Ok(markdown(&["step", "kernel", "CPU", "emulator", "tests"], "-----", rows))
}

/// A table with these headings. `align` has one character for each column: `>` is right, `-` left.
fn markdown(headings: &[&str], align: &str, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let cells = cells.map(|cell| if cell.is_empty() { " |".to_owned() } else { format!(" {cell} |") });
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = align.chars().map(|side| if side == '>' { "---:|" } else { "---|" });
    let mut out = line(&mut headings.iter().map(|heading| (*heading).to_owned()));
    out += &format!("|{}\n", rule.collect::<String>());
    for row in rows {
        out += &line(&mut row.into_iter());
    }
    out
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// Meanings that are also help on the command line begin with a capital.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
