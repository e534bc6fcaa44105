//! Tests that need nothing but the build: scenarios through the pure functions, dumps, the command line.

mod cli;
mod dump;
mod portable;
mod scenarios;
