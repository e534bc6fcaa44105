//! What was measured, and how it is summed up. Pure: reads no clock, environment, file or terminal.
//!
//! An [`Interval`] is what happened between two readings: [`Cell`]s by (vCPU thread, isa, code), losses, and
//! the exits that were still open. It comes from the kernel's maps or from a recording; everything that is
//! shown is made of intervals by [`Rows`], so the same numbers come out whichever way they took.

pub mod anonymize;
pub mod calendar;
pub mod clock;
pub mod columns;
pub mod compare;
pub mod group_by;
pub mod groups;
pub mod interval;
pub mod kinds;
pub mod losses;
pub mod parts;
pub mod pattern;
pub mod provenance;
pub mod quantiles;
pub mod rows;
pub mod stats;

pub use anonymize::Names;
pub use group_by::GroupBy;
pub use groups::{Group, Groups};
pub use interval::{Cell, ClockChange, Interval, OpenExit, Thread, Threads, VcpuTime};
pub use losses::{Loss, Losses};
pub use parts::{MeasuredParts, Parts};
pub use pattern::NamePattern;
pub use quantiles::{QUANTILES, Quantile};
pub use rows::{Row, Rows, Selection, Slice, VmTime};
pub use stats::Stats;
