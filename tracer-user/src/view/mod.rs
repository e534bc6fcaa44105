//! Rows as pure data for every output: labels and values, without colour, width or markup. May use `model`
//! and `decode`, but none of the outputs.

pub mod escape;
pub mod label;
pub mod table;

pub use table::TableModel;
