//! Plain English in the README, in docs/ and in the help: no refused phrase, and no sentence of more than 35
//! words.

use super::markdown::{self, Block, CODE};
use super::rust::Source;

/// Phrases that read translated or are not the field's words.
const PHRASES: [&str; 11] = [
    "guest in the guest",
    "control block",
    "of perf's",
    "so many",
    "as it comes",
    "is told by",
    "tells of",
    "is in nothing",
    "for the host's sake",
    "anew",
    "the VMM's call of",
];

/// The longest sentence, in words.
const MAX_WORDS: usize = 35;

/// A full stop after these ends no sentence.
const ABBREVIATIONS: [&str; 9] = ["e.g.", "i.e.", "vs.", "cf.", "approx.", "resp.", "Fig.", "No.", "incl."];

/// Complaints about a Markdown document, each with its line.
pub fn document(text: &str) -> Vec<String> {
    markdown::blocks(text).iter().flat_map(block).collect()
}

/// Complaints about the strings and doc comments of a source of the command line.
pub fn help(source: &Source) -> Vec<String> {
    let texts = source.texts.iter();
    texts.flat_map(|text| paragraphs(text.line, &text.text)).flat_map(|paragraph| block(&paragraph)).collect()
}

fn block(block: &Block) -> Vec<String> {
    let Block { line, text } = block;
    let phrases = PHRASES.iter().filter(|phrase| has(text, phrase));
    let mut complaints: Vec<_> = phrases.map(|phrase| format!("line {line} says \"{phrase}\"")).collect();
    for sentence in sentences(text) {
        let words = words(sentence);
        if words > MAX_WORDS {
            let start: String = sentence.chars().take(50).collect();
            complaints.push(format!(
                "line {line} has a sentence of {words} words; {MAX_WORDS} is the limit: \"{}...\"",
                start.replace(CODE, "`..`")
            ));
        }
    }
    complaints
}

/// The paragraphs of a plain text, as help is: parted by empty lines; indented lines are examples.
fn paragraphs(first_line: usize, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (offset, line) in text.lines().enumerate() {
        // Each line of a doc comment begins with one space.
        if line.trim().is_empty() || line.starts_with("  ") {
            blocks.extend(open.take());
            continue;
        }
        let block = open.get_or_insert_with(|| Block { line: first_line + offset, text: String::new() });
        block.text.push(' ');
        block.text.push_str(&without_code(line));
    }
    blocks.extend(open);
    blocks
}

/// A line whose pieces in backticks are [`CODE`].
fn without_code(line: &str) -> String {
    let pieces: Vec<_> = line.split('`').collect();
    let closed = pieces.len() % 2 == 1;
    let piece = |(at, piece): (usize, &&str)| {
        if closed && at % 2 == 1 { CODE.to_string() } else { (*piece).to_owned() }
    };
    pieces.iter().enumerate().map(piece).collect()
}

/// Whether the phrase is in the text, as words of its own.
fn has(text: &str, phrase: &str) -> bool {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase().replace('’', "'");
    let phrase = phrase.to_lowercase();
    text.match_indices(&phrase).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + phrase.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// The sentences of a block.
///
/// One ends with `.`, `?` or `!`, maybe closing quotes and brackets, and a space. The next may begin with a
/// small letter, as names of programs do. An abbreviation and a number's point end nothing.
fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(char::is_whitespace) {
        let word = text[start..at].split_whitespace().next_back().unwrap_or_default();
        let bare = word.trim_end_matches(['"', '\'', ')', ']', '*', '_', '”', '’']);
        let opened = word.trim_start_matches(['"', '\'', '(', '[', '*', '_', '“', '‘']);
        let abbreviated = ABBREVIATIONS.iter().any(|short| opened.eq_ignore_ascii_case(short));
        // `etc.` ends a sentence if the next word begins one.
        let next = text[at..].trim_start().chars().next();
        let etc = opened == "etc." && next.is_some_and(char::is_lowercase);
        // `...` may stand for something left out.
        let left_out = word == "..." || word == "…";
        if bare.ends_with(['.', '?', '!']) && !abbreviated && !etc && !left_out {
            sentences.push(text[start..at].trim());
            start = at;
        }
    }
    sentences.push(text[start..].trim());
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// How many words: what has a letter or a digit. Code is one word, and so is a list of names in code.
fn words(sentence: &str) -> usize {
    let mut count = 0;
    let mut in_list = false;
    for word in sentence.split_whitespace() {
        let is_text = word.chars().any(char::is_alphanumeric);
        let is_code = !is_text && word.contains(CODE);
        count += usize::from(is_text || is_code && !in_list);
        in_list = is_code && word.ends_with(',');
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sentence of that many words.
    fn long(words: usize) -> String {
        format!("{} end.", vec!["word"; words - 1].join(" "))
    }

    #[test]
    fn a_sentence_ends_where_it_does() {
        let text = "One, e.g. this (i.e. that). It is 6.1 now! \"Is it?\" exitlat runs 3.2 % etc. and so on. \
                    Done etc. Next (see below.) Last";
        let expected = [
            "One, e.g. this (i.e. that).",
            "It is 6.1 now!",
            "\"Is it?\"",
            "exitlat runs 3.2 % etc. and so on.",
            "Done etc.",
            "Next (see below.)",
            "Last",
        ];
        assert_eq!(sentences(text), expected);
        assert_eq!(sentences("Type `a ... b` here. More."), ["Type `a ... b` here.", "More."]);
    }

    #[test]
    fn a_list_of_code_is_one_word_and_a_dash_is_none() {
        assert_eq!(words("one \u{FFFC} — two-three 4"), 4);
        assert_eq!(words("\u{FFFC}, \u{FFFC}, \u{FFFC} and \u{FFFC} (\u{FFFC})"), 4);
    }

    #[test]
    fn long_sentences_are_refused_in_paragraphs_items_and_cells() {
        let bad = long(36);
        for document in [
            bad.clone(),
            format!("First.\nThen {bad}"),
            format!("- short\n- {bad}"),
            format!("| a |\n|---|\n| {bad} |"),
            format!("> {}", bad.replace(" word word ", "\n> word word ")),
        ] {
            let told = super::document(&document);
            assert!(told.len() == 1 && told[0].contains("words; 35 is the limit"), "{told:?}");
        }
    }

    #[test]
    fn short_sentences_code_and_lists_pass() {
        let words = ["`word word`"; 60].join(", ");
        for document in [
            long(35),
            format!("{} {}", long(35), long(35)),
            format!("```\n{}\n```", long(60)),
            format!("    {}", long(60)),
            format!("{words}.\n"),
            vec![format!("- {}", long(20).trim_end_matches('.')); 3].join("\n"),
            format!("# {}\n{}", long(20).trim_end_matches('.'), long(20)),
            format!("| {0} | {0} |\n|---|---|\n| {0} | {0} |", long(20).trim_end_matches('.')),
        ] {
            assert_eq!(super::document(&document), Vec::<String>::new(), "{document}");
        }
    }

    #[test]
    fn refused_phrases_are_found_over_line_ends_and_as_words_only() {
        assert_eq!(document("A guest in the\nguest."), ["line 1 says \"guest in the guest\""]);
        assert_eq!(document("x\n\nKeep So many files.").len(), 1);
        assert_eq!(document("It is one of *perf's* files.").len(), 1);
        assert_eq!(document("a *new* file, `anew`, also manyfold, renewed"), Vec::<String>::new());
        assert_eq!(document("```\nso many\n```"), Vec::<String>::new());
    }

    #[test]
    fn help_is_read_as_its_reader_sees_it() {
        let text = format!(
            "/// Keep so many files\nA,\n/// Fine.\n\
             #[command(after_help = \"Examples:\\n  so many\\n\\n{}\")]\nB",
            long(36)
        );
        let told = help(&Source::read(&text).unwrap());
        assert!(
            told.len() == 2 && told[0].contains("line 1 says") && told[1].contains("36 words"),
            "{told:?}"
        );
        let docs = "/// One\n/// two.\n///\n/// Three.\nfn a() {}\n\
                    #[cfg(test)] mod t { const A: &str = \"so many\"; }";
        assert_eq!(help(&Source::read(docs).unwrap()), Vec::<String>::new());
    }
}
