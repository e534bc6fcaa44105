//! Markdown as tidy sees it: blocks of prose, and sections between markers.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Stands for a piece of code or a picture in prose: one word.
pub const CODE: char = '\u{FFFC}';

/// Prose that is read as one: a paragraph, a heading, an item of a list, a cell of a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Its text in one line, without marks. Code in it is [`CODE`].
    pub text: String,
}

fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH)
}

/// The prose of a document; code blocks and HTML are none.
pub fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    let mut in_code = false;
    for (event, range) in parser(document).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(_)) => in_code = true,
            Event::End(TagEnd::CodeBlock) => in_code = false,
            Event::Start(
                Tag::Emphasis | Tag::Strong | Tag::Strikethrough | Tag::Link { .. } | Tag::Image { .. },
            )
            | Event::End(
                TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image,
            ) => {}
            Event::Start(_) | Event::End(_) | Event::Rule => blocks.extend(open.take()),
            Event::Text(_) if in_code => {}
            Event::Text(text) => add(&mut open, document, &range, &text),
            Event::Code(_) => add(&mut open, document, &range, &CODE.to_string()),
            Event::SoftBreak | Event::HardBreak => add(&mut open, document, &range, " "),
            _ => {}
        }
    }
    blocks.extend(open);
    blocks.retain(|block| !block.text.trim().is_empty());
    blocks
}

fn add(open: &mut Option<Block>, document: &str, range: &Range<usize>, text: &str) {
    let block =
        open.get_or_insert_with(|| Block { line: line_of(document, range.start), text: String::new() });
    block.text.push_str(text);
}

fn line_of(document: &str, offset: usize) -> usize {
    document[..offset].matches('\n').count() + 1
}

/// The lines, from 1, that belong to code blocks and tables.
pub fn code_and_tables(document: &str) -> Vec<Range<usize>> {
    let verbatim = |event: &Event<'_>| matches!(event, Event::Start(Tag::CodeBlock(_) | Tag::Table(_)));
    let all = parser(document).into_offset_iter().filter(|(event, _)| verbatim(event));
    all.map(|(_, range)| line_of(document, range.start)..line_of(document, range.end) + 1).collect()
}

/// What stands between `<!-- NAME -->` and the next `<!-- end -->`, each on a line of its own.
pub fn section<'a>(document: &'a str, name: &str) -> Result<&'a str, String> {
    let marker = format!("<!-- {name} -->");
    let mut found = line_starts(document).filter(|(_, line)| line.trim() == marker);
    let (at, line) = found.next().ok_or_else(|| format!("there is no line `{marker}`"))?;
    if found.next().is_some() {
        return Err(format!("there are two lines `{marker}`"));
    }
    let rest = &document[at + line.len()..];
    let end = line_starts(rest).find(|(_, line)| line.trim() == "<!-- end -->");
    end.map(|(at, _)| &rest[..at]).ok_or_else(|| format!("no `<!-- end -->` follows `{marker}`"))
}

fn line_starts(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}

/// The cells of a row of a table; nothing if the line is none.
pub fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
# A `heading`

One *sentence*
over [two](x.md) lines.

```
code. more code.
```

- an item
  that goes on
- another

| a | b |
|---|---|
| `c` d | e |

<!-- a comment -->
    indented code
";

    #[test]
    fn blocks_are_prose_in_one_line() {
        let all: Vec<_> = blocks(SAMPLE).into_iter().map(|block| (block.line, block.text)).collect();
        let texts: Vec<_> = all.iter().map(|(line, text)| (*line, text.as_str())).collect();
        let expected = [
            (1, "A \u{FFFC}"),
            (3, "One sentence over two lines."),
            (10, "an item that goes on"),
            (12, "another"),
            (14, "a"),
            (14, "b"),
            (16, "\u{FFFC} d"),
            (16, "e"),
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn code_and_tables_are_found_by_line() {
        let lines = code_and_tables(SAMPLE);
        let is = |line| lines.iter().any(|range| range.contains(&line));
        assert!([7, 14, 15, 16].into_iter().all(is));
        assert!(![1, 3, 4, 10, 12].into_iter().any(is));
    }

    #[test]
    fn sections_have_a_beginning_and_an_end() {
        assert_eq!(section("x\n<!-- a -->\nb\nc\n<!-- end -->\n", "a"), Ok("b\nc\n"));
        assert!(section("<!-- a -->\nb\n", "a").is_err());
        assert!(section("<!-- b -->\n<!-- end -->\n", "a").is_err());
        assert!(section("<!-- a -->\n<!-- end -->\n<!-- a -->\n<!-- end -->\n", "a").is_err());
    }
}
