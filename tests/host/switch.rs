//! The pages for people who come from other tools: every command line in them is one of exitlat's.

use std::{collections::BTreeSet, fs, path::Path};

use clap::{CommandFactory as _, Parser as _};
use exitlat_tests::program;
use tracer_user::cli::Cli;

use crate::docs::root;

/// The pages, each with the least number of command lines that it has.
const PAGES: [(&str, usize); 4] =
    [("from-kvm_stat", 20), ("from-perf-kvm", 20), ("from-kvmstat", 6), ("from-vmtop", 12)];

fn read(page: &str) -> String {
    fs::read_to_string(root().join(format!("docs/{page}.md"))).unwrap()
}

/// What stands between backticks, as it is meant: a table escapes the bar.
fn quoted(text: &str) -> Vec<String> {
    assert!(!text.contains("```"), "these pages have no blocks");
    let spans = text.split('`').skip(1).step_by(2);
    spans.map(|span| span.replace("\\|", "|").replace('\n', " ")).collect()
}

/// The command lines of a page.
fn commands(page: &str) -> Vec<String> {
    let all = quoted(page).into_iter();
    all.filter(|span| span == "exitlat" || span.starts_with("exitlat ")).collect()
}

/// The cells of the column of that title, in all tables.
fn column<'a>(page: &'a str, title: &str) -> Vec<&'a str> {
    let mut at = None;
    let mut cells = Vec::new();
    for line in page.lines() {
        let Some(row) = line.strip_prefix("| ") else {
            at = at.filter(|_| line.starts_with('|'));
            continue;
        };
        // An escaped bar is part of a cell.
        let row: Vec<_> = split(row);
        match at {
            None => at = row.iter().position(|cell| *cell == title),
            Some(at) => cells.push(row[at]),
        }
    }
    cells
}

/// The cells of a row, which are parted by bars.
fn split(row: &str) -> Vec<&str> {
    let bars = row.char_indices().filter(|(at, c)| *c == '|' && !row[..*at].ends_with('\\'));
    let (mut cells, mut from) = (Vec::new(), 0);
    for (at, _) in bars {
        cells.push(row[from..at].trim());
        from = at + 1;
    }
    cells
}

/// Parses a command line as a shell and exitlat would.
fn parse(command: &str) -> Result<Vec<String>, String> {
    let words = shell_words::split(command).map_err(|error| format!("{command}: {error}"))?;
    Cli::try_parse_from(&words).map(|_| words).or_else(|error| match error.kind() {
        clap::error::ErrorKind::DisplayHelp => Ok(Vec::new()),
        _ => Err(format!("{command}: {error}")),
    })
}

#[test]
fn every_command_line_is_one_of_exitlat() {
    for (page, least) in PAGES {
        let commands = commands(&read(page));
        assert!(commands.len() >= least, "{page}: {commands:#?}");
        for command in commands {
            parse(&command).unwrap_or_else(|error| panic!("{page}: {error}"));
        }
    }
}

/// Those that read a recording of this repository are run.
#[test]
fn command_lines_on_recordings_run() {
    for (page, _) in PAGES {
        let mut ran = 0;
        for command in commands(&read(page)) {
            let words = parse(&command).unwrap();
            if !words.iter().any(|word| word.starts_with("tests/fixtures/")) {
                continue;
            }
            let output = program::exitlat().args(&words[1..]).current_dir(root()).output().unwrap();
            let (status, out, err) = program::text(output);
            assert_eq!((status, err.as_str()), (Some(0), ""), "{page}: {command}");
            assert!(!out.contains("No exits to show") && out.lines().count() > 2, "{command}: {out}");
            ran += 1;
        }
        assert!(ran > 0, "{page} runs nothing");
    }
}

/// An option in the columns of exitlat exists.
#[test]
fn every_option_of_exitlat_exists() {
    let mut cli = Cli::command();
    cli.build();
    let all = cli.get_subcommands().chain([&cli]).flat_map(clap::Command::get_arguments);
    let known: BTreeSet<String> = all
        .flat_map(|argument| {
            let long = argument.get_long().map(|long| format!("--{long}"));
            long.into_iter().chain(argument.get_short().map(|short| format!("-{short}")))
        })
        .collect();
    let mut options = 0;
    for (page, _) in PAGES {
        let text = read(page);
        let cells = [column(&text, "exitlat"), column(&text, "difference")].concat();
        assert!(cells.len() > 20, "{page}");
        for span in cells.iter().flat_map(|cell| quoted(cell)).filter(|span| span.starts_with('-')) {
            let word = span.split([' ', '=']).next().unwrap_or_default();
            assert!(known.contains(word), "{page}: `{span}`");
            options += 1;
        }
    }
    assert!(options > 20, "{options}");
}

/// A reader finds each page, and each says what its left column was read from.
#[test]
fn pages_are_linked_and_name_their_source() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let found: BTreeSet<_> =
        fs::read_dir(root().join("docs")).unwrap().map(|it| it.unwrap().path()).collect();
    let named = |path: &&std::path::PathBuf| {
        Path::file_name(path).is_some_and(|name| name.to_str().is_some_and(|it| it.starts_with("from-")))
    };
    assert_eq!(found.iter().filter(named).count(), PAGES.len(), "each page is in the list");
    for (page, _) in PAGES {
        assert!(readme.contains(&format!("(docs/{page}.md)")), "{page}");
        let text = read(page);
        assert!(text.contains("\nThe left column is `"), "{page}");
        assert!(column(&text, "exitlat").iter().all(|cell| !cell.is_empty()), "{page} leaves a cell empty");
    }
}

#[test]
fn wrong_command_lines_are_told() {
    assert!(parse("exitlat live --no-such").is_err());
    assert!(parse("exitlat live -g 'web").is_err());
    assert!(parse("exitlat live --by vm,nothing").is_err());
    assert_eq!(parse("exitlat live -f 'EPT|IO'").unwrap()[3], "EPT|IO");
    assert_eq!(commands("a `exitlat` and `exitlatx`, `-f` and `exitlat live\n-k max`").len(), 2);
    let table = "| a | exitlat |\n|---|---|\n| x | `p\\|q` |\n\n| y | z |\n|---|---|\n";
    assert_eq!(column(table, "exitlat"), ["`p\\|q`"]);
}
