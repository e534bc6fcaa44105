//! The commands that are not modules of their own: each wires the parts together.

pub mod build;
pub mod counters;
pub mod demo;
pub mod dist;
pub mod lab;
