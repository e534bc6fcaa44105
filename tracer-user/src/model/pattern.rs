//! A name as typed on the command line: itself, or a glob.

use std::{convert::Infallible, str::FromStr};

use glob::Pattern;

/// What names are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    typed: String,
    /// None if what was typed is no glob.
    pattern: Option<Pattern>,
}

impl NamePattern {
    /// Whether a name is meant.
    ///
    /// ```
    /// # use tracer_user::model::NamePattern;
    /// let wanted: NamePattern = "web*".parse().unwrap();
    /// assert!(wanted.matches("web01") && wanted.matches("web*") && !wanted.matches("db"));
    /// ```
    pub fn matches(&self, name: &str) -> bool {
        self.typed == name || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(name))
    }

    /// As it was typed.
    pub fn typed(&self) -> &str {
        &self.typed
    }
}

impl FromStr for NamePattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self { typed: text.to_owned(), pattern: Pattern::new(text).ok() })
    }
}
