//! The lines of a recording of schema 3, but for its header: each type says how a line is written and read.
//! [`crate::recording`] is their specification.
//!
//! A line is an object with one key, which says what the line is. Threads and reasons have lines of their own
//! that give them numbers; the lines of samples name those.

mod decode;
mod encode;
mod hist;

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

pub(super) use decode::Decoder;
pub(super) use encode::Encoder;

/// Any line. One of the fields is there, or none if the line is of a kind that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    slot: Option<Slot<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vcpu: Option<Vcpu>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    thread: Option<ThreadLine<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    reason: Option<ReasonLine<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    loss: Option<LossLine<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_flight: Option<InFlight>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_exit: Option<LastExitLine>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    counter: Option<CounterLine<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readings: Option<Readings>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    interval: Option<IntervalLine<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval_end: Option<IntervalEnd>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    end: Option<EndLine<'a>>,
    /// Of a header.
    #[serde(borrow, default, rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<Cow<'a, str>>,
}

/// The samples of one cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Slot<'a> {
    at: At,
    count: u64,
    ns: Times,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<u64>,
    /// Left out of a cause that is kept without a histogram.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    hist: Cow<'a, str>,
}

/// The numbers of a thread and of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct At(u32, u32);

/// Sum, minimum and maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Times(u64, u64, u64);

/// Where a vCPU's time went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Vcpu {
    thread: u32,
    elapsed_ns: u64,
    guest_ns: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<u64>,
}

/// A vCPU thread gets a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ThreadLine<'a> {
    number: u32,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    vm: Cow<'a, str>,
    pid: u32,
    tid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vcpu: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_unix_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    vm_number: u64,
    /// By kind: value and source. In the first line only that names a thread of the VM.
    #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
    facts: BTreeMap<Cow<'a, str>, (Cow<'a, str>, Cow<'a, str>)>,
}

/// A reason, or what is told apart below it, gets a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReasonLine<'a> {
    number: u32,
    isa: u32,
    code: u32,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_zero")]
    detail: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    cause: Option<Cow<'a, str>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LossLine<'a> {
    #[serde(borrow)]
    cause: Cow<'a, str>,
    count: u64,
}

/// An open exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct InFlight {
    at: At,
    age_ns: u64,
}

/// Threads that ended in exits of a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LastExitLine {
    at: At,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_exit: Option<u32>,
    count: u64,
}

/// One of KVM's own counters gets a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CounterLine<'a> {
    number: u32,
    #[serde(borrow)]
    vm: Cow<'a, str>,
    pid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vm_fd: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vcpu: Option<u32>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    unit: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_zero_width")]
    bucket_size: u32,
}

fn is_zero_width(size: &u32) -> bool {
    *size == 0
}

/// Readings of counters, all of them after the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Readings {
    #[serde(default, skip_serializing_if = "is_zero")]
    over_ns: u64,
    /// The number of a counter, its value, and how much it has grown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<(u32, Option<i128>, Option<u64>)>,
    /// The number of a histogram, and its buckets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hist: Vec<(u32, Vec<u64>)>,
}

/// The beginning of an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IntervalLine<'a> {
    number: u64,
    start_ns: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<Vec<String>>,
}

/// The end of an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IntervalEnd {
    end_ns: u64,
    end_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clock: Option<Clock>,
}

/// What the clocks did in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Clock {
    suspended_ms: u64,
    stepped_ms: i64,
}

/// The end of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct EndLine<'a> {
    intervals: u64,
    #[serde(borrow)]
    why: Cow<'a, str>,
}
