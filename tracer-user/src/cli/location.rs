//! A file on the command line: a path, or `-` for the standard stream.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use crate::cli::Usage;

/// Where a command reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `-`: standard input of what is read, standard output of what is written.
    Stream,
    /// Anything else.
    Path(PathBuf),
}

impl Location {
    /// The path; [`None`] for the standard stream.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Stream => None,
            Self::Path(path) => Some(path),
        }
    }
}

impl From<OsString> for Location {
    fn from(typed: OsString) -> Self {
        if typed == "-" { Self::Stream } else { Self::Path(typed.into()) }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        path.as_os_str().to_owned().into()
    }
}

impl fmt::Display for Location {
    /// As typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream => f.write_str("-"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// There is one standard input: `-` may be named once among the inputs of a command.
///
/// # Errors
/// [`Usage`] if it is named more often.
pub fn read_once<'a>(inputs: impl IntoIterator<Item = &'a Location>) -> Result<(), Usage> {
    let streams = inputs.into_iter().filter(|input| **input == Location::Stream).count();
    if streams > 1 { Err(Usage::new("`-` is given twice; there is one standard input")) } else { Ok(()) }
}
