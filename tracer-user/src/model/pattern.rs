//! Names as typed on the command line: exact ones, globs, and lists of both.

use std::{convert::Infallible, str::FromStr};

use glob::Pattern;

use crate::identity::text::{bounded_name, split_at_commas};

/// A name or a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    typed: String,
    /// [`None`] if what was typed is no glob, or if there is something of exactly that name.
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

    /// Notes that this name exists. If it is the text as typed, nothing else is meant from now on.
    fn notice(&mut self, name: &str) {
        if self.typed == name {
            self.pattern = None;
        }
    }
}

impl FromStr for NamePattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self { typed: bounded_name(text).into_owned(), pattern: Pattern::new(text).ok() })
    }
}

/// The value of one option: names and globs with commas between them.
///
/// Names may contain commas and brackets. A doubled comma stands for one, as on QEMU's command line. Names
/// that exist win: if the whole text is a name, only that is meant; if one of the globs is a name, that glob
/// means nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameList {
    typed: String,
    names: Vec<NamePattern>,
}

impl NameList {
    /// Whether a name is meant, given the names noticed so far; see [`NameList::notice`].
    pub fn matches(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| wanted.matches(name))
    }

    /// The names and globs.
    pub fn names(&self) -> &[NamePattern] {
        &self.names
    }

    /// Notes that this name exists.
    ///
    /// ```
    /// # use tracer_user::model::NameList;
    /// let mut wanted: NameList = "win[10]".parse().unwrap();
    /// assert!(wanted.matches("win1") && wanted.matches("win[10]"));
    /// wanted.notice("win[10]");
    /// assert!(!wanted.matches("win1") && wanted.matches("win[10]"));
    ///
    /// let mut wanted: NameList = "foo=1,bar=2".parse().unwrap();
    /// assert!(wanted.matches("bar=2"));
    /// wanted.notice("foo=1,bar=2");
    /// assert!(wanted.matches("foo=1,bar=2") && !wanted.matches("bar=2"));
    ///
    /// let wanted: NameList = "foo=1,,bar=2,web*".parse().unwrap();
    /// assert!(wanted.matches("foo=1,bar=2") && wanted.matches("web01") && !wanted.matches("bar=2"));
    /// ```
    pub fn notice(&mut self, name: &str) {
        if self.typed == name {
            self.names = vec![NamePattern { typed: self.typed.clone(), pattern: None }];
        }
        self.names.iter_mut().for_each(|wanted| wanted.notice(name));
    }

    /// Whether it means the same whatever names exist.
    pub fn is_settled(&self) -> bool {
        let plain =
            |wanted: &NamePattern| wanted.pattern.is_none() || !wanted.typed.contains(['*', '?', '[']);
        !self.typed.contains(',') && self.names.iter().all(plain)
    }
}

impl FromStr for NameList {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let names = split_at_commas(text).iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        Ok(Self { typed: bounded_name(text).into_owned(), names })
    }
}
