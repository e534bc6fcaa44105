//! A Rust source as tidy sees it: the paths it names, the items it defines, its strings and doc comments.
//!
//! It works on tokens, so a path inside a macro call counts like any other. What is compiled for tests only,
//! `#[cfg(test)]`, is left out.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path that a source names: `crate::model::Rows`, `std::fs`, `println!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The line, from 1.
    pub line: usize,
    /// Its segments as written. The name of a macro ends with `!`.
    pub segments: Vec<String>,
    /// The modules written inside the file around it.
    pub inside: Vec<String>,
    /// The name that a `use` binds; `*` for a glob, and nothing for a path in code.
    pub binds: Option<String>,
    /// Whether it is a `pub use`, of any visibility.
    pub exported: bool,
}

/// A piece of text in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// The text without quotes and escapes.
    pub text: String,
    /// Whether it is a doc comment; else it is a string.
    pub doc: bool,
}

/// What tidy knows of one source.
#[derive(Debug, Default)]
pub struct Source {
    /// The paths, in the order in which they stand.
    pub named: Vec<Named>,
    /// The items defined at the top of the file.
    pub defined: Vec<String>,
    /// The modules that are files of their own and only compiled for tests.
    pub test_modules: Vec<String>,
    /// Strings and doc comments. Adjoining lines of a doc comment are one text.
    pub texts: Vec<Text>,
}

impl Source {
    /// Reads a source. An error says what is no Rust in it.
    pub fn read(text: &str) -> Result<Self> {
        let tokens: TokenStream = text.parse().map_err(|error| anyhow!("{error}"))?;
        let mut source = Self::default();
        source.walk(tokens, &mut Vec::new(), true);
        Ok(source)
    }

    /// The full path: its first name, if a `use` of this file binds it, is replaced by what it stands for.
    pub fn in_full(&self, named: &Named) -> Vec<String> {
        let first = &named.segments[0];
        let import = self.named.iter().find(|other| {
            other.binds.as_ref() == Some(first) && other.inside == named.inside && other.segments.len() > 1
        });
        match import {
            Some(import) if named.binds.is_none() => {
                import.segments.iter().chain(&named.segments[1..]).cloned().collect()
            }
            _ => named.segments.clone(),
        }
    }

    /// Walks the tokens of one level; `items` says whether they are the items of a module.
    fn walk(&mut self, tokens: TokenStream, inside: &mut Vec<String>, items: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(&tokens, at, inside, items);
        }
    }

    /// Takes what begins at `at`; returns where the next thing begins.
    fn step(&mut self, tokens: &[TokenTree], at: usize, inside: &mut Vec<String>, items: bool) -> usize {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let bang = usize::from(is_punct(tokens.get(at + 1), '!'));
                let Some(TokenTree::Group(group)) = tokens.get(at + 1 + bang) else { return at + 1 };
                if for_tests(group) {
                    return self.skip(tokens, at + 2 + bang);
                }
                self.attribute(group, inside);
                at + 2 + bang
            }
            TokenTree::Punct(_) => at + 1,
            TokenTree::Literal(literal) => {
                if let Ok(syn::Lit::Str(string)) = syn::parse_str(&literal.to_string()) {
                    let line = literal.span().start().line;
                    self.texts.push(Text { line, text: string.value(), doc: false });
                }
                at + 1
            }
            TokenTree::Group(group) => {
                self.walk(group.stream(), inside, false);
                at + 1
            }
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                let next = tokens.get(at + 1);
                if word == "use" && !is_punct(next, '<') {
                    let exported = match before {
                        Some(TokenTree::Ident(visibility)) => visibility == "pub",
                        Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Parenthesis,
                        _ => false,
                    };
                    return self.import(tokens, at + 1, &[], inside, exported);
                }
                if word == "mod"
                    && let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                        (next, tokens.get(at + 2))
                {
                    inside.push(name.to_string());
                    self.walk(body.stream(), inside, true);
                    inside.pop();
                    return at + 3;
                }
                if items && inside.is_empty() && DEFINES.contains(&word.as_str()) {
                    if let Some(TokenTree::Ident(name)) = next {
                        self.defined.push(name.to_string());
                    }
                    return at + 1;
                }
                self.path(tokens, at, inside)
            }
        }
    }

    /// The path that begins at `at`: all of its segments.
    fn path(&mut self, tokens: &[TokenTree], at: usize, inside: &[String]) -> usize {
        let mut segments = vec![tokens[at].to_string()];
        let mut end = at + 1;
        while is_punct(tokens.get(end), ':')
            && is_punct(tokens.get(end + 1), ':')
            && let Some(TokenTree::Ident(ident)) = tokens.get(end + 2)
        {
            segments.push(ident.to_string());
            end += 3;
        }
        let called =
            is_punct(tokens.get(end), '!') && matches!(tokens.get(end + 1), Some(TokenTree::Group(_)));
        if called && let Some(last) = segments.last_mut() {
            last.push('!');
        }
        if called || segments.len() > 1 {
            let line = tokens[at].span().start().line;
            self.named.push(Named { line, segments, inside: inside.to_vec(), binds: None, exported: false });
        }
        end
    }

    /// A tree of a `use`, from `at` to the end of the tree, comma or semicolon included.
    fn import(
        &mut self,
        tokens: &[TokenTree],
        mut at: usize,
        prefix: &[String],
        inside: &[String],
        exported: bool,
    ) -> usize {
        let mut segments = prefix.to_vec();
        let mut binds = None;
        let mut line = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Punct(punct) if [',', ';'].contains(&punct.as_char()) => break,
                TokenTree::Punct(punct) if punct.as_char() == '*' => {
                    line = punct.span().start().line;
                    binds = Some("*".to_owned());
                }
                TokenTree::Ident(ident) if ident == "as" => {
                    binds = tokens.get(at).map(ToString::to_string);
                    at += 1;
                }
                TokenTree::Ident(ident) => {
                    line = ident.span().start().line;
                    // `{self}` is the module itself, `self::a` is not.
                    if ident != "self" || segments.is_empty() {
                        segments.push(ident.to_string());
                    }
                }
                TokenTree::Group(group) => {
                    let trees: Vec<TokenTree> = group.stream().into_iter().collect();
                    let mut from = 0;
                    while from < trees.len() {
                        from = self.import(&trees, from, &segments, inside, exported);
                    }
                    segments.clear();
                }
                _ => {}
            }
        }
        if !segments.is_empty() {
            let binds = binds.or_else(|| segments.last().cloned());
            self.named.push(Named { line, segments, inside: inside.to_vec(), binds, exported });
        }
        at
    }

    /// A doc comment becomes text; the strings and paths of other attributes count like those of code.
    fn attribute(&mut self, group: &Group, inside: &mut Vec<String>) {
        let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
        let [TokenTree::Ident(name), TokenTree::Punct(_), TokenTree::Literal(literal)] = tokens.as_slice()
        else {
            return self.walk(group.stream(), inside, false);
        };
        if name != "doc" {
            return self.walk(group.stream(), inside, false);
        }
        let Ok(syn::Lit::Str(string)) = syn::parse_str(&literal.to_string()) else { return };
        let (line, text) = (literal.span().start().line, string.value());
        match self.texts.last_mut() {
            Some(last) if last.doc && last.line + last.text.matches('\n').count() + 1 == line => {
                last.text.push('\n');
                last.text.push_str(&text);
            }
            _ => self.texts.push(Text { line, text, doc: true }),
        }
    }

    /// Leaves out the item at `at`, which is for tests; remembers it if it is a file.
    fn skip(&mut self, tokens: &[TokenTree], mut at: usize) -> usize {
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                TokenTree::Punct(punct) if punct.as_char() == ';' => break,
                TokenTree::Ident(ident) if ident == "mod" && is_punct(tokens.get(at + 1), ';') => {
                    self.test_modules.extend(tokens.get(at).map(ToString::to_string));
                }
                _ => {}
            }
        }
        at
    }
}

/// The words before the name of an item.
const DEFINES: [&str; 10] =
    ["struct", "enum", "union", "trait", "fn", "const", "static", "type", "mod", "macro_rules"];

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Whether the attribute is `cfg(test)`.
fn for_tests(attribute: &Group) -> bool {
    attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        Source::read(text).unwrap().named.iter().map(|named| named.segments.join("::")).collect()
    }

    #[test]
    fn a_use_tree_gives_every_path_in_it() {
        let all = paths("use crate::{model::{self, Rows as R, by::*}, kernel::session};");
        let expected = ["crate::model", "crate::model::Rows", "crate::model::by", "crate::kernel::session"];
        assert_eq!(all, expected);
    }

    #[test]
    fn paths_in_code_attributes_and_macros_count() {
        let all = paths(
            "#[arg(value_parser = span::interval)] fn f() -> impl Iterator<Item = u8> + use<'_> \
             { println!(\"{}\", crate::a::b()); std::fs::read(x) }",
        );
        assert_eq!(all, ["span::interval", "println!", "crate::a::b", "std::fs::read"]);
    }

    #[test]
    fn what_is_for_tests_is_left_out() {
        let source = Source::read(
            "#[cfg(test)] mod tests { use std::fs; } #[cfg(test)] #[path = \"x\"] mod outside; \
             #[cfg(test)] use std::env; #[cfg(not(test))] use std::time;",
        )
        .unwrap();
        let named: Vec<_> = source.named.iter().map(|named| named.segments.join("::")).collect();
        assert_eq!((named, source.test_modules), (vec!["std::time".to_owned()], vec!["outside".to_owned()]));
    }

    #[test]
    fn comments_and_strings_hold_no_paths() {
        assert!(paths("// std::fs\n/// [`crate::kernel`]\nconst A: &str = \"std::env\";").is_empty());
    }

    #[test]
    fn a_bound_name_is_put_out_in_full() {
        let source = Source::read("use std::io::{self as i}; fn f() { i::stdout(); }").unwrap();
        assert_eq!(source.in_full(&source.named[1]), ["std", "io", "stdout"]);
    }

    #[test]
    fn exports_definitions_and_inner_modules_are_told_apart() {
        let source = Source::read(
            "pub(crate) use a::B; use c::D; pub struct E; mod f { use super::G; } impl E { fn h() {} }",
        )
        .unwrap();
        let exported: Vec<_> = source.named.iter().map(|named| named.exported).collect();
        assert_eq!(exported, [true, false, false]);
        assert_eq!(source.named[2].inside, ["f"]);
        assert_eq!(source.defined, ["E"]);
    }

    #[test]
    fn texts_come_without_quotes_and_with_their_lines() {
        let source =
            Source::read("/// One\n/// two.\n\n/// Three.\nconst A: &str = \"four \\\n   five\";").unwrap();
        let texts: Vec<_> =
            source.texts.iter().map(|text| (text.line, text.text.as_str(), text.doc)).collect();
        // Docs that do not adjoin are two texts; both are of the same item here.
        assert_eq!(texts, [(1, " One\n two.", true), (4, " Three.", true), (5, "four five", false)]);
    }
}
