//! Names of guests come from tenants: nothing in them may act on a terminal or a spreadsheet.

use std::borrow::Cow;

/// Replaces control characters by `\u{..}` escapes, so that a name cannot move the cursor.
///
/// ```
/// # use tracer_user::render::escape::terminal;
/// assert_eq!(terminal("web01"), "web01");
/// assert_eq!(terminal("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
/// ```
pub fn terminal(text: &str) -> Cow<'_, str> {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if acts(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Puts an apostrophe before text that a spreadsheet would take for a formula.
///
/// ```
/// # use tracer_user::render::escape::formula;
/// assert_eq!(formula("=1+2"), "'=1+2");
/// ```
pub fn formula(text: &str) -> Cow<'_, str> {
    let text = terminal(text);
    if text.starts_with(['=', '+', '-', '@']) { Cow::Owned(format!("'{text}")) } else { text }
}
