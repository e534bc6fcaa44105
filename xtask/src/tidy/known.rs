//! Known breaches of the rules. An entry without a breach fails tidy, so these lists only get shorter.

/// Files with lines that are too long.
pub const LONG_LINES: &[&str] = &[];

/// Documents and sources of the help with a refused phrase or a sentence that is too long.
pub const ENGLISH: &[&str] = &[];

/// Uses of one file by another, below `tracer-user/src`, without which there would be fewer circles.
pub const CIRCLES: &[(&str, &str)] = &[];

/// Files and the paths that they must not name, and do.
pub const WORDS: &[(&str, &str)] = &[];

/// The kinds of change that must have a list in CONTRIBUTING.md.
pub const CHANGES: &[&str] = &["cause", "column", "export"];
