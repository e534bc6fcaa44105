//! Lines that fit: 110 characters of comments in Rust, 120 of prose in Markdown. Code is for rustfmt to
//! break.

use super::markdown::code_and_tables;

const RUST: usize = 110;
const MARKDOWN: usize = 120;

/// The comments of a Rust source that are too long. Rows of tables may be longer.
pub fn rust(text: &str) -> Vec<String> {
    too_long(text, RUST, |_, line| {
        let comment = line.trim_start();
        !comment.starts_with("//") || comment.trim_start_matches(['/', '!', ' ']).starts_with('|')
    })
}

/// The lines of prose that are too long. Code, tables, and lines with a link may be longer.
pub fn markdown(text: &str) -> Vec<String> {
    let verbatim = code_and_tables(text);
    too_long(text, MARKDOWN, |number, line| {
        verbatim.iter().any(|lines| lines.contains(&number)) || line.contains("](") || line.contains("://")
    })
}

fn too_long(text: &str, limit: usize, excepted: impl Fn(usize, &str) -> bool) -> Vec<String> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines
        .map(|(number, line)| (number, line, line.chars().count()))
        .filter(|(number, line, length)| *length > limit && !excepted(*number, line))
        .map(|(number, _, length)| format!("line {number} has {length} characters; {limit} is the limit"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_named() {
        let line = format!("// {}", "ä".repeat(108));
        assert_eq!(rust(&format!("\n{line}\n")), ["line 2 has 111 characters; 110 is the limit"]);
        assert_eq!(rust(&format!("    /{line}")).len(), 1);
        let cell = "ä".repeat(120);
        for fine in
            [format!("// {}", "ä".repeat(107)), format!("//! | {cell} |"), format!("let a = {cell:?};")]
        {
            assert!(rust(&fine).is_empty(), "{fine}");
        }
    }

    #[test]
    fn prose_is_held_but_not_code_tables_and_links() {
        let long = "word ".repeat(25);
        assert_eq!(markdown(&format!("a\n{long}\n")).len(), 1);
        for fine in [
            format!("```\n{long}\n```\n"),
            format!("| {long} |\n|---|\n| {long} |\n"),
            format!("{long} [a](b.md)\n"),
            "word ".repeat(23),
        ] {
            assert!(markdown(&fine).is_empty(), "{fine}");
        }
    }
}
