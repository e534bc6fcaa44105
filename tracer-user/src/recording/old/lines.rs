//! The lines as types.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;

use crate::recording::told::End;

/// Nanoseconds by name of the part, without the parts that are 0.
pub(super) type PartsNs<'a> = BTreeMap<Cow<'a, str>, u64>;

/// The samples of one cell.
#[derive(Debug, Deserialize)]
pub(super) struct Slot<'a> {
    pub interval: u64,
    #[serde(borrow, default)]
    pub host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub vm: Cow<'a, str>,
    pub pid: u32,
    pub tid: u32,
    pub vcpu: Option<u32>,
    pub isa: u32,
    pub reason: u32,
    #[serde(default)]
    pub detail: u64,
    pub count: u64,
    pub sum_ns: u64,
    pub min_ns: u64,
    pub max_ns: u64,
    #[serde(borrow, default)]
    pub parts: PartsNs<'a>,
    /// Left out of a cause that is kept without a histogram.
    #[serde(borrow, default)]
    pub hist: Cow<'a, str>,
}

/// Where a vCPU's time went.
#[derive(Debug, Deserialize)]
pub(super) struct VcpuLine<'a> {
    pub interval: u64,
    #[serde(borrow, default)]
    pub host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub vm: Cow<'a, str>,
    pub pid: u32,
    pub tid: u32,
    pub vcpu: Option<u32>,
    pub elapsed_ns: u64,
    pub guest_ns: u64,
    #[serde(borrow)]
    pub parts: PartsNs<'a>,
}

/// A loss.
#[derive(Debug, Deserialize)]
pub(super) struct LossLine<'a> {
    pub interval: u64,
    #[serde(borrow)]
    pub cause: Cow<'a, str>,
    pub count: u64,
}

/// An open exit.
#[derive(Debug, Deserialize)]
pub(super) struct InFlight<'a> {
    pub interval: u64,
    #[serde(borrow, default)]
    pub host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub vm: Cow<'a, str>,
    pub pid: u32,
    pub tid: u32,
    pub vcpu: Option<u32>,
    pub isa: u32,
    pub reason: u32,
    pub age_ns: u64,
}

/// Threads that ended in exits of a reason.
#[derive(Debug, Deserialize)]
pub(super) struct LastExitLine<'a> {
    pub interval: u64,
    #[serde(borrow, default)]
    pub host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub vm: Cow<'a, str>,
    pub pid: u32,
    pub tid: u32,
    pub vcpu: Option<u32>,
    pub isa: u32,
    pub reason: u32,
    #[serde(default)]
    pub user_exit: Option<u32>,
    pub count: u64,
}

/// What the clocks did in an interval.
#[derive(Debug, Deserialize)]
pub(super) struct ClockLine {
    pub suspended_ms: u64,
    pub stepped_ms: i64,
}

/// The end of an interval.
#[derive(Debug, Deserialize)]
pub(super) struct IntervalLine {
    pub interval: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub end_unix_ms: u64,
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default)]
    pub parts: Option<Vec<String>>,
}

/// Any line.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Header,
    #[serde(borrow)]
    Slot(Slot<'a>),
    #[serde(borrow)]
    Vcpu(VcpuLine<'a>),
    #[serde(borrow)]
    Loss(LossLine<'a>),
    #[serde(borrow)]
    InFlight(InFlight<'a>),
    #[serde(borrow)]
    LastExit(LastExitLine<'a>),
    Clock(ClockLine),
    Interval(IntervalLine),
    End(End),
    #[serde(other)]
    Unknown,
}
