//! The examples of the manual: each `console` block is a command and its output.
//!
//! A block begins with `$ exitlat ...`. If its exit status is not 0, `? STATUS` follows. The rest is standard
//! output and standard error as they come. Commands run in the root of the repository.

use std::{
    fs,
    io::{Read as _, pipe},
    process::Stdio,
};

use exitlat_tests::program;

use crate::docs::{demand, root};

const BLOCK: &str = "```console\n";
const END: &str = "\n```\n";

/// The text of a block: the command, its status and its output.
fn block(command: &str) -> String {
    let words = command.strip_prefix("$ exitlat ").expect("an example runs exitlat");
    assert!(!words.contains(['\'', '"', '|', '>', '\\', '$']), "no shell runs the examples: {command}");
    let (mut reader, writer) = pipe().unwrap();
    let mut exitlat = program::exitlat();
    exitlat.args(words.split_whitespace()).current_dir(root()).env_remove("COLUMNS").stdin(Stdio::null());
    exitlat.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = exitlat.spawn().unwrap();
    // The command holds the write ends of the pipe: the reader sees the end only after this.
    drop(exitlat);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    let status = match child.wait().unwrap().code().expect("no signal ends it") {
        0 => String::new(),
        status => format!("? {status}\n"),
    };
    format!("{command}\n{status}{}", output.trim_end())
}

/// The page with the outputs as they are, and the number of its examples.
fn with_outputs(page: &str) -> (String, usize) {
    let mut parts = page.split(BLOCK);
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut examples = 0;
    for part in parts {
        let (example, after) = part.split_once(END).expect("a block has an end");
        let command = example.lines().next().expect("a block has a command");
        out += &format!("{BLOCK}{}{END}{after}", block(command));
        examples += 1;
    }
    (out, examples)
}

fn check(page: &str, examples: usize) {
    let path = root().join(page);
    let page = fs::read_to_string(&path).unwrap();
    let (wanted, found) = with_outputs(&page);
    assert_eq!(found, examples, "{}", path.display());
    demand(&path, &page, &wanted);
}

#[test]
fn usage_examples_print_what_the_page_says() {
    check("docs/usage.md", 10);
}

#[test]
fn s390x_examples_print_what_the_page_says() {
    check("docs/s390x.md", 1);
}

#[test]
fn a_wrong_output_is_replaced() {
    let page = "a\n```console\n$ exitlat report tests/fixtures/none\nold\n```\nb\n";
    let (wanted, _) = with_outputs(page);
    assert!(
        wanted.starts_with("a\n```console\n$ exitlat report tests/fixtures/none\n? 1\nexitlat: "),
        "{wanted}"
    );
    assert!(wanted.ends_with("\n```\nb\n") && !wanted.contains("\nold\n"), "{wanted}");
}
