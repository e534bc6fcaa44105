//! The lines of a dump as types; the module above is their specification.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How samples were put in buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// `log-linear`.
    pub layout: String,
    /// Buckets per power of two are `1 << sub_bits`.
    pub sub_bits: u32,
    /// Values of `1 << max_bits` ns and more are in the last bucket.
    pub max_bits: u32,
    /// How `hist` is encoded.
    pub encoding: String,
}

impl Default for Buckets {
    fn default() -> Self {
        use tracer_ebpf::histogram::{MAX_BITS, SUB_BITS};
        Self {
            layout: "log-linear".into(),
            sub_bits: SUB_BITS,
            max_bits: MAX_BITS,
            encoding: "HdrHistogram V2, base64".into(),
        }
    }
}

/// Where a dump comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct Header {
    pub schema: u32,
    pub tool: String,
    pub host: String,
    pub kernel: String,
    pub arch: String,
    pub cpu: String,
    pub backend: String,
    pub path: String,
    pub options: Vec<String>,
    pub start_unix_ms: u64,
    pub buckets: Buckets,
}

/// The samples of one cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct Slot<'a> {
    pub interval: u64,
    #[serde(borrow)]
    pub vm: Cow<'a, str>,
    pub pid: u32,
    pub tid: u32,
    pub vcpu: Option<u32>,
    pub isa: u32,
    pub reason: u32,
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    pub count: u64,
    pub sum_ns: u64,
    pub min_ns: u64,
    pub max_ns: u64,
    #[serde(borrow)]
    pub hist: Cow<'a, str>,
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
    #[serde(borrow)]
    pub vm: Cow<'a, str>,
    pub pid: u32,
    pub tid: u32,
    pub vcpu: Option<u32>,
    pub isa: u32,
    pub reason: u32,
    pub age_ns: u64,
}

/// The end of an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct IntervalLine {
    pub interval: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub end_unix_ms: u64,
}

/// The end of a dump.
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
    Loss(LossLine<'a>),
    #[serde(borrow)]
    InFlight(InFlight<'a>),
    Interval(IntervalLine),
    End(End),
    #[serde(other)]
    Unknown,
}
