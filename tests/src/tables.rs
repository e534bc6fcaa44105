//! Tables of the manual, printed from the tables of the code and from the matrix of kernels.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tracer_user::{
    identity::fact,
    model::{
        columns::{COLUMNS, Set},
        kinds::KINDS,
        losses::LOSSES,
        parts::PARTS,
    },
};

use crate::identity::{self, Fixture};

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
        "facts" => facts(),
        "identity sources" => sources(),
        "stacks" => stacks()?,
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

fn facts() -> String {
    let rows = fact::KINDS.iter().map(|info| {
        let sources: Vec<_> = info.sources.iter().map(|source| code(source.info().id)).collect();
        let selected = code(&format!("{}:", info.prefix));
        vec![code(info.key), selected, info.meaning.to_owned(), sources.join(", ")]
    });
    markdown(&["fact", "selected by", "meaning", "sources, most trusted first"], "----", rows)
}

fn sources() -> String {
    let rows = fact::SOURCES.iter().map(|info| {
        let places: Vec<_> = info.place.split(", ").map(code).collect();
        vec![code(info.id), places.join(", "), info.right.to_owned(), info.lost.to_owned()]
    });
    markdown(&["source", "where", "right", "lost without it"], "----", rows)
}

/// The stacks of the fixtures, with what is taken from each source.
fn stacks() -> Result<String> {
    let fixtures = identity::all()?;
    let rows = fixtures.iter().filter(|fixture| !fixture.made_up).map(|fixture| {
        let checked = match fixture.unverified {
            true => format!("no: {}", fixture.sources.join("; ")),
            false => fixture.sources.join("; "),
        };
        vec![fixture.stack.clone(), taken(fixture), checked]
    });
    Ok(markdown(&["stack", "what is known, by source", "form checked against"], "---", rows))
}

/// What a fixture's facts and threads come from. The name of a process is no news.
fn taken(fixture: &Fixture) -> String {
    let told = |source: &str| {
        let end = format!(", {source}");
        let facts = fact::KINDS
            .iter()
            .filter(|info| fixture.expect.facts.get(info.key).is_some_and(|fact| fact.ends_with(&end)));
        let mut told: Vec<_> = facts.map(|info| info.label).collect();
        let is_vcpu = |is: &str| is.starts_with("vcpu ") && is.ends_with(&format!(" {source}"));
        told.extend(fixture.thread.iter().any(|thread| is_vcpu(&thread.is)).then_some("vCPUs"));
        (!told.is_empty()).then(|| format!("{}: {}", code(source), told.join(", ")))
    };
    let sources = fact::SOURCES.iter().map(|info| info.id).filter(|id| *id != "comm");
    sources.filter_map(told).collect::<Vec<_>>().join("; ")
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
