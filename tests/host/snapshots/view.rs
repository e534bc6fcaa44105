//! Outputs as text in which a difference is easy to see.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hdrhistogram::{Histogram, serialization::Deserializer};
use regex::Regex;
use serde_json::Value;

/// How an output becomes a snapshot.
#[derive(Clone, Copy, Debug)]
pub enum View {
    /// The output unchanged.
    Text,
    /// JSON, one object a line: each spread over lines, its keys sorted.
    Json,
    /// A recording on standard output: its header spread over lines, and how many lines of each kind follow.
    Recording,
    /// The output unchanged, then the file `saved` in the working directory as [`View::Recording`].
    Saved,
    /// An HdrHistogram log: the numbers of each histogram, because compressors differ in the bytes.
    Hlog,
    /// An HTML page: its words, one row of a table a line, without drawings and style.
    Page,
}

impl View {
    /// The output `out` of a program that ran in `dir`.
    pub fn show(self, out: &str, dir: &Path) -> String {
        match self {
            Self::Text => out.to_owned(),
            Self::Json => out.lines().map(spread).collect(),
            Self::Recording => recording(out),
            Self::Saved => {
                let saved = fs::read_to_string(dir.join("saved")).unwrap();
                format!("{out}\n[saved]\n{}", recording(&saved))
            }
            Self::Hlog => out.lines().map(unpacked).collect(),
            Self::Page => words(out),
        }
    }
}

/// Version numbers left out, and characters that a terminal or an editor acts on made visible.
pub fn plain(text: &str) -> String {
    let text = Regex::new(r"exitlat \d+\.\d+\.\d+").unwrap().replace_all(text, "exitlat VERSION");
    let acts = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if acts(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// A JSON text over several lines, with a list of numbers in one.
fn spread(json: &str) -> String {
    let value: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let text = serde_json::to_string_pretty(&value).unwrap();
    let numbers = Regex::new(r"\[[-0-9.,\s]+\]").unwrap();
    let space = Regex::new(r"\s+").unwrap();
    let text = numbers.replace_all(&text, |list: &regex::Captures<'_>| {
        space.replace_all(&list[0], " ").replace("[ ", "[").replace(" ]", "]")
    });
    format!("{text}\n")
}

/// The header of a recording, and its lines by kind, in the order in which kinds come first.
fn recording(text: &str) -> String {
    let mut lines = text.lines();
    let header = spread(lines.next().expect("a recording has a header"));
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap();
        let mut keys = line.as_object().expect("each line is an object").keys();
        let name = keys.next().expect("a line has the key that says what it is");
        assert!(keys.next().is_none(), "{line}");
        match kinds.iter_mut().find(|(seen, _)| seen == name) {
            Some((_, count)) => *count += 1,
            None => kinds.push((name.to_owned(), 1)),
        }
    }
    kinds.iter().fold(header, |text, (name, count)| format!("{text}{count} {name}\n"))
}

/// A line of a log with its histogram, if it has one, spelt out.
fn unpacked(line: &str) -> String {
    let Some((start, packed)) = line.rsplit_once(',').filter(|(_, last)| last.starts_with("HISTF")) else {
        return format!("{line}\n");
    };
    let bytes = BASE64.decode(packed).unwrap();
    let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
    let buckets = histogram.iter_recorded();
    let buckets = buckets.map(|bucket| format!("{}:{}", bucket.value_iterated_to(), bucket.count_at_value()));
    format!("{start},[{} values; {}]\n", histogram.len(), buckets.collect::<Vec<_>>().join(" "))
}

/// The words of a page.
fn words(page: &str) -> String {
    let replace = |pattern: &str, with: &str, text: &str| {
        Regex::new(pattern).unwrap().replace_all(text, with).into_owned()
    };
    let text = replace(r"(?s)<(style|svg)\b.*?</(style|svg)>", "", page);
    let text = replace(r"</t[hd]>", " | ", &text);
    let text = replace(
        r"</?(title|h\d|p|div|section|header|footer|table|caption|tr|li|ul|dl|dt|dd|summary|details)\b[^>]*>",
        "\n",
        &text,
    );
    let text = replace(r"<[^>]*>", "", &text);
    let text = ["&lt;", "&gt;", "&quot;", "&amp;"]
        .iter()
        .zip(["<", ">", "\"", "&"])
        .fold(text, |text, (from, to)| text.replace(from, to));
    let lines = text.lines().map(|line| line.trim().trim_end_matches(" |")).filter(|line| !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}
