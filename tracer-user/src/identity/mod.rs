//! Identity of a VM: what its process, control groups and managers call it.
//!
//! Pure. The parsers take texts as the kernel and the managers write them and give facts; [`Identity`] keeps
//! the best of each [`Kind`] with its [`Source`]; a [`Selector`] chooses VMs by them. Reading the texts is
//! `kernel::identify`'s part. Tenants choose much of what is read here: every parser takes any bytes, and
//! everything that is kept is bounded.

pub mod argv;
pub mod cgroup;
pub mod debugfs;
pub mod descriptor;
pub mod fact;
mod known;
pub mod process;
pub mod select;
pub mod status_xml;
pub mod text;
pub mod thread;

pub use fact::{Kind, Source};
pub use known::{Fact, Facts, Identity};
pub use select::{Match, Selector};
