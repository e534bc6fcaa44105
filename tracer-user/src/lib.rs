//! exitlat's user side, as a library so that tests can reach every part.
//!
//! Dependency order, each part knows only those before it:
//! [`model`] and [`decode`] (pure) · [`recording`], [`render`], [`replay`] (pure) · [`perfdata`] (pure) · [`kernel`] (the
//! only one that names aya) · `cmd` (where they meet) · `cli` (arguments as typed).

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
pub mod kernel;
pub mod model;
pub mod perfdata;
pub mod recording;
pub mod render;
pub mod replay;
pub mod tracepoint;
pub mod view;
