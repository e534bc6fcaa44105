//! Tests that need nothing but the build: scenarios through the pure functions, dumps, the command line.

mod cli;
mod diff;
mod dump;
mod export;
mod files;
mod merge;
mod scenarios;
