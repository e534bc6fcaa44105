//! The error of a wrong command line.

/// The command line, or a file that it names, is wrong: exit status 2. The text says what to type instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

impl Usage {
    /// The error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
