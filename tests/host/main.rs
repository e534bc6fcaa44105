//! Tests that need nothing but the build: scenarios through the pure functions, dumps, perf's recordings, the command line.

mod cli;
mod dump;
mod perfdata;
mod scenarios;
