//! The label tables of the running kernel, out of a tracefs `format` file.
//!
//! The `print fmt` line of `events/kvm/kvm_exit/format` holds the tables with which the kernel prints
//! a record:
//!
//! ```text
//! (REC->isa == 1) ? __print_symbolic(REC->exit_reason & 0xffff, { 0, "EXCEPTION_NMI" }, ...)
//!                 : __print_symbolic(REC->exit_reason, { 0x040 + 14, "PF excp" }, ..., { -1, "..." })
//! ```
//!
//! [`parse_format_symbols`] reads them and [`disagreements`] holds the tables of this crate against
//! them. The parser is strict: a table entry it cannot evaluate is an error, not a gap.

use super::{Isa, find, kvm_exit, reasons};

/// Why a `format` text could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// There is no `print fmt:` line.
    #[error("no \"print fmt:\" line in the format text")]
    NoPrintFmt,
    /// The line holds no `__print_symbolic(...)`.
    #[error("no __print_symbolic table in: {0}")]
    NoTable(String),
    /// A string, number or operator is malformed.
    #[error("cannot read the print fmt line at: {0}")]
    Lexical(String),
    /// A table is not of the form `(REC->field, { number, "name" }, ...)`.
    #[error("expected {expected} in the symbol table at: {found}")]
    Syntax {
        /// The text that would have been right.
        expected: &'static str,
        /// The text found there.
        found: String,
    },
    /// The number of an entry is no constant expression of a reason's size.
    #[error("cannot evaluate the number `{expression}` of \"{name}\"")]
    Number {
        /// The expression as the kernel prints it.
        expression: String,
        /// The entry's label.
        name: String,
    },
    /// A table of `exit_reason` does not say for which isa it is.
    #[error("cannot tell the isa of the exit_reason table at: {0}")]
    UnknownIsa(String),
}

/// One `__print_symbolic` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolTable {
    /// The record's field which the table names: `exit_reason`, or `reason` of `kvm_userspace_exit`.
    pub field: String,
    /// The isa to which it applies; only tables of `exit_reason` have one.
    pub isa: Option<Isa>,
    /// Number and label, in the kernel's order. Negative numbers are in two's complement.
    pub entries: Vec<(u32, String)>,
}

impl SymbolTable {
    /// The label of a number; as in the kernel, the first entry wins.
    pub fn name(&self, code: u32) -> Option<&str> {
        self.entries.iter().find(|(number, _)| *number == code).map(|(_, name)| name.as_str())
    }
}

/// Reads all symbol tables of a `format` text.
///
/// # Errors
///
/// If there is no `print fmt` line or no table in it, or anything in a table is not understood.
pub fn parse_format_symbols(format_text: &str) -> Result<Vec<SymbolTable>, FormatError> {
    let line = format_text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("print fmt:"))
        .ok_or(FormatError::NoPrintFmt)?;
    let tokens = tokenize(line)?;
    let mut tables: Vec<SymbolTable> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        // Also the 64-bit variant `__print_symbolic_u64`.
        if !matches!(token.kind, Kind::Ident(name) if name.starts_with("__print_symbolic")) {
            continue;
        }
        let mut cursor = Cursor { line, tokens: &tokens, at: at + 1, depth: 0 };
        let (field, entries) = cursor.table()?;
        let isa = if field == "exit_reason" {
            let isa = isa_of(&tokens[..at], &tables);
            Some(isa.ok_or_else(|| FormatError::UnknownIsa(excerpt(&line[token.start..])))?)
        } else {
            None
        };
        tables.push(SymbolTable { field, isa, entries });
    }
    if tables.is_empty() { Err(FormatError::NoTable(excerpt(line))) } else { Ok(tables) }
}

/// Holds our tables against the kernel's: every label of the kernel which we lack or spell otherwise.
///
/// Takes the `format` of `kvm_exit` (or another event with its reasons) or `kvm_userspace_exit`. The
/// other direction is not reported: older kernels know fewer reasons than we do.
///
/// # Errors
///
/// See [`parse_format_symbols`].
pub fn disagreements(format_text: &str) -> Result<Vec<String>, FormatError> {
    let mut found = Vec::new();
    for table in parse_format_symbols(format_text)? {
        let (whose, ours) = match (table.isa, table.field.as_str()) {
            (Some(isa), _) => (isa.to_string(), reasons(isa)),
            (None, "reason") => ("userspace".to_owned(), Some(kvm_exit::REASONS)),
            (None, _) => continue,
        };
        for (code, label) in &table.entries {
            match ours.and_then(|ours| find(ours, *code)) {
                Some(info) if info.name == label => {}
                Some(info) => found.push(format!(
                    "{whose} {code} ({code:#x}): the kernel says \"{label}\", our table \"{}\"",
                    info.name
                )),
                None => found.push(format!(
                    "{whose} {code} ({code:#x}): the kernel says \"{label}\", our table has nothing"
                )),
            }
        }
    }
    Ok(found)
}

/// The isa of the `exit_reason` table after `before`: the `N` of `(REC->isa == N) ?`, or, for the last
/// branch, the number after those already seen.
fn isa_of(before: &[Token<'_>], earlier: &[SymbolTable]) -> Option<Isa> {
    let mut kinds = before.iter().rev().map(|token| token.kind.clone()).peekable();
    while kinds.next_if_eq(&Kind::Punct("(")).is_some() {}
    match kinds.next()? {
        Kind::Punct("?") => {
            while kinds.next_if_eq(&Kind::Punct(")")).is_some() {}
            let Kind::Number(number) = kinds.next()? else { return None };
            let compared = [Kind::Punct("=="), Kind::Ident("isa"), Kind::Punct("->"), Kind::Ident("REC")];
            if !compared.into_iter().all(|kind| kinds.next() == Some(kind)) {
                return None;
            }
            u32::try_from(number).ok().map(Isa)
        }
        Kind::Punct(":") => {
            let seen: Vec<_> = earlier.iter().filter_map(|table| table.isa).collect();
            match seen[..] {
                [Isa::VMX] => Some(Isa::SVM),
                [Isa::VMX, Isa::SVM] => Some(Isa::PVM),
                _ => None,
            }
        }
        _ => None,
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind<'a> {
    Ident(&'a str),
    Number(i128),
    Text(String),
    Punct(&'a str),
}

#[derive(Debug, Clone)]
struct Token<'a> {
    kind: Kind<'a>,
    start: usize,
    end: usize,
}

fn tokenize(line: &str) -> Result<Vec<Token<'_>>, FormatError> {
    let lexical = |at: usize| FormatError::Lexical(excerpt(&line[at..]));
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = line[start..].chars().next() {
        let rest = &line[start..];
        let (kind, length) = match first {
            _ if first.is_whitespace() => {
                start += first.len_utf8();
                continue;
            }
            '"' => string(rest).ok_or_else(|| lexical(start))?,
            _ if first.is_ascii_digit() => {
                let word = word(rest);
                (Kind::Number(number(word).ok_or_else(|| lexical(start))?), word.len())
            }
            _ if first.is_ascii_alphabetic() || first == '_' => (Kind::Ident(word(rest)), word(rest).len()),
            _ if first.is_ascii_punctuation() => {
                let pairs = ["->", "==", "!=", "<=", ">=", "<<", ">>", "&&", "||"];
                let length = if pairs.iter().any(|pair| rest.starts_with(pair)) { 2 } else { 1 };
                (Kind::Punct(&rest[..length]), length)
            }
            _ => return Err(lexical(start)),
        };
        tokens.push(Token { kind, start, end: start + length });
        start += length;
    }
    Ok(tokens)
}

fn word(rest: &str) -> &str {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    &rest[..end]
}

/// A C integer constant: decimal, hexadecimal or octal, with any of the suffixes.
fn number(word: &str) -> Option<i128> {
    let digits = word.trim_end_matches(['u', 'U', 'l', 'L']);
    if word.len() - digits.len() > 3 {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = if let Some(hex) = lower.strip_prefix("0x") {
        (hex, 16)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (&lower[1..], 8)
    } else {
        (lower.as_str(), 10)
    };
    u64::from_str_radix(digits, radix).ok().map(i128::from)
}

/// A string constant at the start of `rest`, and its length with the quotes.
fn string(rest: &str) -> Option<(Kind<'_>, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Kind::Text(text), at + 1)),
            '\\' => text.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            _ => text.push(c),
        }
    }
    None
}

/// The start of a text, for messages.
fn excerpt(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

struct Cursor<'a> {
    line: &'a str,
    tokens: &'a [Token<'a>],
    at: usize,
    /// Parentheses open around the current number.
    depth: u32,
}

/// Deeper parentheses around a number are refused, so that no text exhausts the stack.
const MAX_DEPTH: u32 = 32;

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<&'a Kind<'a>> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn accept(&mut self, punct: &str) -> bool {
        let accepted = matches!(self.peek(), Some(Kind::Punct(found)) if *found == punct);
        self.at += usize::from(accepted);
        accepted
    }

    fn expect(&mut self, punct: &str, expected: &'static str) -> Result<(), FormatError> {
        if self.accept(punct) { Ok(()) } else { Err(self.syntax(expected)) }
    }

    fn syntax(&self, expected: &'static str) -> FormatError {
        let start = self.tokens.get(self.at).map_or(self.line.len(), |token| token.start);
        FormatError::Syntax { expected, found: excerpt(&self.line[start..]) }
    }

    /// `( REC->field [& mask] , { number, "name" } , ... )`; in place of the field, too, an expression in
    /// brackets that makes a number of it, as s390 has it for instructions.
    fn table(&mut self) -> Result<(String, Vec<(u32, String)>), FormatError> {
        self.expect("(", "`(`")?;
        let bracketed = matches!(self.peek(), Some(Kind::Punct("(")));
        let field = if bracketed { self.computed()? } else { self.field()? };
        let mut entries = Vec::new();
        while self.accept(",") {
            self.expect("{", "`{`")?;
            entries.push(self.entry()?);
        }
        self.expect(")", "`,` or `)`")?;
        if entries.is_empty() { Err(self.syntax("an entry")) } else { Ok((field, entries)) }
    }

    /// `( ... REC->field ... )`: names the field and skips the computation.
    fn computed(&mut self) -> Result<String, FormatError> {
        let mut field = None;
        let mut open = 0;
        loop {
            match self.peek() {
                Some(Kind::Ident("REC")) if field.is_none() => field = Some(self.field()?),
                Some(Kind::Punct("(")) => open += 1,
                Some(Kind::Punct(")")) => open -= 1,
                Some(_) => {}
                None => return Err(self.syntax("`)`")),
            }
            self.at += 1;
            if open == 0 {
                return field.ok_or_else(|| self.syntax("`REC->field`"));
            }
        }
    }

    /// `REC->field`, with an optional mask, which says nothing about the names.
    fn field(&mut self) -> Result<String, FormatError> {
        let wanted = "`REC->field`";
        let Some(Kind::Ident("REC")) = self.peek() else { return Err(self.syntax(wanted)) };
        self.at += 1;
        self.expect("->", wanted)?;
        let Some(Kind::Ident(field)) = self.peek() else { return Err(self.syntax(wanted)) };
        self.at += 1;
        if self.accept("&") {
            self.unary().ok_or_else(|| self.syntax("a constant mask"))?;
        }
        Ok((*field).to_owned())
    }

    /// Parses the rest of an entry, after its `{`.
    fn entry(&mut self) -> Result<(u32, String), FormatError> {
        let first = self.at;
        let value = self.expression();
        let complete = matches!(self.peek(), Some(Kind::Punct(",")));
        // The number ends at the comma, whether it could be evaluated or not.
        while !matches!(self.peek(), Some(Kind::Punct("," | "}")) | None) {
            self.at += 1;
        }
        let last = self.at;
        self.expect(",", "`,` after the number")?;
        let mut name = None::<String>;
        while let Some(Kind::Text(text)) = self.peek() {
            // Adjacent strings are one, as in C: { 2, "KVM_EXIT_" "IO" }.
            name.get_or_insert_default().push_str(text);
            self.at += 1;
        }
        let name = name.ok_or_else(|| self.syntax("a string"))?;
        self.expect("}", "`}`")?;
        match value.filter(|_| complete).and_then(reason) {
            Some(code) => Ok((code, name)),
            None => {
                let tokens = &self.tokens[first..last];
                let expression = match tokens {
                    [] => String::new(),
                    [start, ..] => self.line[start.start..tokens[tokens.len() - 1].end].to_owned(),
                };
                Err(FormatError::Number { expression, name })
            }
        }
    }

    /// A constant expression: `|` binds weakest, then `<<`, then `+` and `-`.
    fn expression(&mut self) -> Option<i128> {
        let mut value = self.shift()?;
        while self.accept("|") {
            value |= self.shift()?;
        }
        Some(value)
    }

    fn shift(&mut self) -> Option<i128> {
        let mut value = self.sum()?;
        while self.accept("<<") {
            let by = u32::try_from(self.sum()?).ok().filter(|by| *by < 64)?;
            value = i128::from(i64::try_from(value).ok()?) << by;
        }
        Some(value)
    }

    fn sum(&mut self) -> Option<i128> {
        let mut value = self.unary()?;
        loop {
            if self.accept("+") {
                value = value.checked_add(self.unary()?)?;
            } else if self.accept("-") {
                value = value.checked_sub(self.unary()?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn unary(&mut self) -> Option<i128> {
        let mut signs = Vec::new();
        loop {
            if self.accept("-") {
                signs.push('-');
            } else if self.accept("~") {
                signs.push('~');
            } else {
                break;
            }
        }
        let value = match self.peek()? {
            Kind::Number(number) => {
                self.at += 1;
                *number
            }
            Kind::Punct("(") if self.depth < MAX_DEPTH => {
                self.at += 1;
                self.depth += 1;
                let value = self.expression();
                self.depth -= 1;
                value.filter(|_| self.accept(")"))?
            }
            _ => return None,
        };
        Some(
            signs
                .iter()
                .rev()
                .fold(value, |value, sign| if *sign == '-' { value.wrapping_neg() } else { !value }),
        )
    }
}

/// The 32 bits which a record holds for a table's number.
///
/// Newer headers write -1 as `-1ull`: 64 bits, of which the record keeps the lower half. So a number
/// must fit into 32 bits, or be a negative 32-bit number in whatever width.
fn reason(value: i128) -> Option<u32> {
    let signed = if value > i128::from(i64::MAX) { value - (1 << 64) } else { value };
    u32::try_from(signed).ok().or_else(|| i32::try_from(signed).ok().map(i32::cast_unsigned))
}

#[cfg(test)]
mod tests;
