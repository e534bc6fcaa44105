//! Tests that need nothing but the build: scenarios through the pure functions, dumps, recording for days,
//! perf's recordings, the command line, snapshots of outputs.

mod cli;
mod counters;
mod diff;
mod disagreements;
mod docs;
mod dump;
mod ended;
mod export;
mod files;
mod generated;
mod identity;
mod lines;
mod merge;
mod merged;
mod names;
mod narrow;
mod numbers;
mod overwrite;
mod perfdata;
mod portable;
mod rotate;
mod scenarios;
mod shown;
mod snapshots;
mod switch;
mod usage;
