//! exitlat's user side, as a library so that tests can reach every part.
//!
//! Dependency order, each part knows only those before it:
//! [`model`] and [`decode`] (pure) · [`recording`], [`render`], [`replay`] (pure) · [`perfdata`] (pure) · [`kernel`] (the
//! only one that names aya) · `cmd` (where they meet) · `cli` (arguments as typed).

pub mod cli;
pub mod cmd;
pub mod decode;
pub mod kernel;
pub mod model;
pub mod perfdata;
pub mod recording;
pub mod render;
pub mod replay;
