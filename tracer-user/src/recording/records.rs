//! The lines of a recording as types; [`crate::recording`] is their specification.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::model::provenance::Header;

/// Nanoseconds by name of the part, without the parts that are 0.
pub type PartsNs = BTreeMap<Cow<'static, str>, u64>;

/// The samples of one cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct Slot<'a> {
    pub interval: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub vm: Cow<'a, str>,
    pub pid: u32,
    pub tid: u32,
    pub vcpu: Option<u32>,
    pub isa: u32,
    pub reason: u32,
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub detail: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cow<'a, str>>,
    pub count: u64,
    pub sum_ns: u64,
    pub min_ns: u64,
    pub max_ns: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: PartsNs,
    /// Left out of a cause that is kept without a histogram.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub hist: Cow<'a, str>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Where a vCPU's time went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct VcpuLine<'a> {
    pub interval: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub vm: Cow<'a, str>,
    pub pid: u32,
    pub tid: u32,
    pub vcpu: Option<u32>,
    pub elapsed_ns: u64,
    pub guest_ns: u64,
    pub parts: PartsNs,
}

/// A loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct LossLine<'a> {
    pub interval: u64,
    #[serde(borrow)]
    pub cause: Cow<'a, str>,
    pub count: u64,
}

/// An open exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct InFlight<'a> {
    pub interval: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct LastExitLine<'a> {
    pub interval: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub vm: Cow<'a, str>,
    pub pid: u32,
    pub tid: u32,
    pub vcpu: Option<u32>,
    pub isa: u32,
    pub reason: u32,
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_exit: Option<u32>,
    pub count: u64,
}

/// What the clocks did in an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct ClockLine {
    pub interval: u64,
    pub suspended_ms: u64,
    pub stepped_ms: i64,
}

/// The end of an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct IntervalLine {
    pub interval: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub end_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<String>>,
}

/// The end of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct End {
    pub intervals: u64,
    pub why: String,
}

/// Any line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs, reason = "one variant for each `type` specified in the module above")]
pub enum Line<'a> {
    Header(Header),
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
