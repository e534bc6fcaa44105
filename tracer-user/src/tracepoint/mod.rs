//! Tracepoints as tracefs describes them. Pure: texts in, layouts out.

pub mod fields;
