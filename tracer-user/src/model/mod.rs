//! What was measured, and how it is summed up. Pure: reads no clock, environment, file or terminal.
//!
//! An [`Interval`] is what happened between two readings: [`Cell`]s by (vCPU thread, isa, code, subkey),
//! losses, and the exits that were still open. It comes from the kernel's maps or from a recording. A
//! [`Store`] sums intervals up; everything that is shown is made of an interval or of a store by [`Rows`], so
//! the same numbers come out whichever way they took.

pub mod account;
pub mod anonymize;
pub mod buckets;
pub mod calendar;
pub mod clock;
pub mod columns;
pub mod compare;
pub mod counter;
pub mod counters;
pub mod crowded;
pub mod disagreement;
mod finder;
pub mod group;
pub mod group_by;
pub mod ids;
pub mod interval;
mod inventory;
pub mod kinds;
pub mod last_exit;
pub mod losses;
pub mod packed;
pub mod parts;
pub mod pattern;
pub mod pivot;
pub mod provenance;
pub mod quantiles;
pub mod row;
pub mod selection;
pub mod self_check;
pub mod stats;
pub mod store;
pub mod threads;
mod vm_list;

pub use account::{Account, VcpuAccount};
pub use anonymize::Names;
pub use counter::{Counter, CounterId};
pub use counters::{CounterSums, Counters};
pub use crowded::Crowded;
pub use disagreement::Disagreement;
pub use group::Rows;
pub use group_by::{Across, GroupBy};
pub use ids::{HostId, Known, Origin, ThreadId, VmId};
pub use interval::{Cell, ClockChange, Interval, NamedInterval, OpenExit};
pub use inventory::{ListedThread, ListedVm};
pub use last_exit::{LastExit, LastReason};
pub use losses::{Loss, Losses};
pub use packed::{Packed, PackedBuckets};
pub use parts::{MeasuredParts, Parts};
pub use pattern::{NameList, NamePattern};
pub use pivot::Pivot;
pub use quantiles::{QUANTILES, Quantile, quantile_error};
pub use row::{Place, Row, Slice, VmAccount};
pub use selection::Selection;
pub use stats::Stats;
pub use store::Store;
pub use threads::{Thread, Threads, Unseen};
pub use vm_list::{VmList, VmPattern};
