//! Files as the commands see them. This is the one place that decides what `-` is, what happens to a file
//! that exists, and when an output appears.
//!
//! | type | for | appears |
//! |---|---|---|
//! | [`Input`] | whatever is read | |
//! | [`AtomicOutput`] | what a command makes of recordings | whole, when it is complete |
//! | [`RotatingFiles`] | a recording in progress | when it begins; one file, or one after the other |

use crate::cli::{Location, Usage};

pub mod atomic;
mod foreign;
pub mod input;
mod packed;
pub mod rotating;

pub use atomic::AtomicOutput;
pub use input::Input;
pub use rotating::RotatingFiles;

/// What happens to a file that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays: an error.
    Keep,
    /// It is overwritten.
    Overwrite,
}

impl Existing {
    /// By `--force`.
    pub fn forced(force: bool) -> Self {
        if force { Self::Overwrite } else { Self::Keep }
    }
}

/// The error of a command that would overwrite a file without being told to.
fn exists(path: &std::path::Path) -> anyhow::Error {
    Usage(format!("{} exists; use --force to overwrite it", path.display())).into()
}

/// The context of an error while reading.
pub fn cannot_read(input: &Location) -> String {
    match input {
        Location::Stream => "cannot read standard input".to_owned(),
        Location::Path(path) => format!("cannot read {}", path.display()),
    }
}

/// The context of an error while writing.
pub fn cannot_write(output: &Location) -> String {
    match output {
        Location::Stream => "cannot write to standard output".to_owned(),
        Location::Path(path) => format!("cannot write {}", path.display()),
    }
}
