//! Names of guests come from tenants: nothing in them may act on a terminal or a spreadsheet.

use std::{borrow::Cow, fmt};

/// Replaces control characters by `\u{..}` escapes, so that a name cannot move the cursor.
///
/// ```
/// # use tracer_user::view::escape::terminal;
/// assert_eq!(terminal("web01"), "web01");
/// assert_eq!(terminal("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
/// ```
pub fn terminal(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    // Writing to a string does not fail.
    let _ = write_terminal(&mut out, text);
    Cow::Owned(out)
}

/// Writes what [`terminal`] gives.
///
/// # Errors
/// If `out` cannot be written.
pub fn write_terminal(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    text.chars()
        .try_for_each(|c| if acts(c) { write!(out, "{}", c.escape_default()) } else { out.write_char(c) })
}

/// Whether a terminal acts on the character rather than showing it.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Puts an apostrophe before text that a spreadsheet would take for a formula.
///
/// ```
/// # use tracer_user::view::escape::formula;
/// assert_eq!(formula("=1+2"), "'=1+2");
/// ```
pub fn formula(text: &str) -> Cow<'_, str> {
    let text = terminal(text);
    if text.starts_with(['=', '+', '-', '@']) { Cow::Owned(format!("'{text}")) } else { text }
}
