//! Rows as pure data for whoever shows them: labels and values, without colour, width or markup. Text, and
//! what comes beside it, read it. May use `model` and `decode`; knows nothing of its readers.

pub mod escape;
pub mod label;
pub mod table;

pub use table::TableModel;
