//! exitlat's user side, as a library so that tests can reach every part.
//!
//! Layers; ARCHITECTURE.md has the table. The core is pure: [`decode`], [`identity`], [`model`],
//! [`recording`], [`render`], [`replay`], [`perfdata`], [`export`] read no clock, environment, terminal or
//! file. [`kernel`] is the only module that names aya. [`cli`] has the arguments as typed, [`files`] the
//! inputs and outputs, [`run`] the loop of a measurement; [`cmd`] puts them together, one module for each
//! command.
#![deny(unsafe_code)]

/// A line to standard error. If nobody reads it any more, that is no reason to stop.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

pub mod cli;
pub mod cmd;
pub mod decode;
pub mod export;
pub mod files;
pub mod identity;
pub mod kernel;
pub mod model;
pub mod perfdata;
pub mod recording;
pub mod render;
pub mod replay;
pub mod run;
pub mod snapshot;
pub mod tracepoint;
pub mod view;
