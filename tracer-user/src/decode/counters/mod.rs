//! KVM's own statistics: what a name stands for, and the binary form of them.
//!
//! debugfs has one number in each file and says neither kind nor unit. Both are in a table that is made from
//! the kernel's sources. A name that is not in the table is shown as it is.

pub mod binary;
mod table;

/// The most buckets of a histogram that are read. The kernel's have 32.
pub const BUCKETS: usize = 1024;

/// How a statistic behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It only grows, unless somebody sets it to zero.
    Cumulative,
    /// It goes up and down.
    Instant,
    /// The highest value so far.
    Peak,
    /// Counts by ranges of equal width.
    LinearHist,
    /// Counts by ranges that double.
    LogHist,
    /// No number at all.
    Text,
    /// Neither the table nor a descriptor tells.
    #[default]
    Unknown,
}

/// What a statistic counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Things or events.
    None,
    /// 0 or 1; of several vCPUs, how many have it.
    Boolean,
    /// Bytes.
    Bytes,
    /// 1024 bytes.
    KiB,
    /// 1024 KiB.
    MiB,
    /// 1024 MiB.
    GiB,
    /// Cycles of the CPU.
    Cycles,
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
    /// Neither the table nor a descriptor tells, or it is a unit that has no name here.
    #[default]
    Unknown,
}

/// The names of kinds in machine-readable output and in recordings.
const KINDS: [(Kind, &str); 7] = [
    (Kind::Cumulative, "cumulative"),
    (Kind::Instant, "instant"),
    (Kind::Peak, "peak"),
    (Kind::LinearHist, "linear_hist"),
    (Kind::LogHist, "log_hist"),
    (Kind::Text, "text"),
    (Kind::Unknown, "unknown"),
];

/// The names of units. Two have none.
const UNITS: [(Unit, &str); 12] = [
    (Unit::None, ""),
    (Unit::Boolean, "boolean"),
    (Unit::Bytes, "bytes"),
    (Unit::KiB, "KiB"),
    (Unit::MiB, "MiB"),
    (Unit::GiB, "GiB"),
    (Unit::Cycles, "cycles"),
    (Unit::S, "s"),
    (Unit::Ms, "ms"),
    (Unit::Us, "us"),
    (Unit::Ns, "ns"),
    (Unit::Unknown, "unknown"),
];

impl Kind {
    /// Its name.
    pub fn id(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("unknown", |(_, id)| id)
    }

    /// The kind of a name; unknown if it is of a later version.
    pub fn from_id(id: &str) -> Self {
        KINDS.iter().find(|(_, known)| *known == id).map_or(Self::Unknown, |(kind, _)| *kind)
    }

    /// Whether it has several numbers. debugfs shows only the first of them.
    pub fn is_hist(self) -> bool {
        matches!(self, Self::LinearHist | Self::LogHist)
    }
}

impl Unit {
    /// Its name; empty for none.
    pub fn id(self) -> &'static str {
        UNITS.iter().find(|(unit, _)| *unit == self).map_or("unknown", |(_, id)| id)
    }

    /// The unit of a name; unknown if it is of a later version.
    pub fn from_id(id: &str) -> Self {
        UNITS.iter().find(|(_, known)| *known == id).map_or(Self::Unknown, |(unit, _)| *unit)
    }
}

/// Kind and unit of a file in debugfs, by its name.
///
/// ```
/// # use tracer_user::decode::counters::{Kind, Unit, meaning};
/// assert_eq!(meaning("exits"), (Kind::Cumulative, Unit::None));
/// assert_eq!(meaning("halt_wait_ns"), (Kind::Cumulative, Unit::Ns));
/// assert_eq!(meaning("halt_wait_hist"), (Kind::LogHist, Unit::Ns));
/// assert_eq!(meaning("mmu_rmaps_stat"), (Kind::Text, Unit::None));
/// assert_eq!(meaning("of another kernel"), (Kind::Unknown, Unit::Unknown));
/// ```
pub fn meaning(name: &str) -> (Kind, Unit) {
    let found = table::NAMES.binary_search_by_key(&name, |(known, _, _)| known);
    found.map_or_else(|_| Default::default(), |at| (table::NAMES[at].1, table::NAMES[at].2))
}

/// The number in a file of debugfs: all of KVM's are decimal, and one of them may be negative.
///
/// ```
/// # use tracer_user::decode::counters::number;
/// assert_eq!(number(b"42\n"), Some(42));
/// assert_eq!(number(b"-7\n"), Some(-7));
/// assert_eq!(number(b"18446744073709551615\n"), Some(u64::MAX.into()));
/// assert_eq!(number(b"18446744073709551616\n"), None);
/// assert_eq!(number(b"Rmap_Count:\t0\t1\n"), None);
/// assert_eq!(number(b""), None);
/// ```
pub fn number(text: &[u8]) -> Option<i128> {
    let text = str::from_utf8(text).ok()?.trim_end();
    text.parse::<u64>().map(i128::from).or_else(|_| text.parse::<i64>().map(i128::from)).ok()
}

/// The range of a bucket of a histogram, as in the kernel's Documentation/virt/kvm/api.rst; [`None`] for the
/// end of the last one. `size` is the width of a linear histogram's buckets.
///
/// ```
/// # use tracer_user::decode::counters::{Kind, range};
/// let log = |at| range(Kind::LogHist, at, 4, 0);
/// assert_eq!([log(0), log(1), log(2), log(3)], [(0, Some(1)), (1, Some(2)), (2, Some(4)), (4, None)]);
/// assert_eq!(range(Kind::LinearHist, 1, 3, 10), (10, Some(20)));
/// assert_eq!(range(Kind::LinearHist, 2, 3, 10), (20, None));
/// ```
pub fn range(kind: Kind, at: usize, count: usize, size: u32) -> (u64, Option<u64>) {
    let start = |at: usize| match kind {
        Kind::LinearHist => (at as u64).saturating_mul(size.into()),
        _ if at == 0 => 0,
        _ => u32::try_from(at - 1).ok().and_then(|shift| 1u64.checked_shl(shift)).unwrap_or(u64::MAX),
    };
    (start(at), (at + 1 < count).then(|| start(at + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_each_name_of_a_kind_is_its_own() {
        assert!(table::NAMES.is_sorted_by(|a, b| a.0 < b.0));
        for (kind, id) in KINDS {
            assert_eq!((Kind::from_id(id), kind.id()), (kind, id));
        }
        for (unit, id) in UNITS {
            assert_eq!((Unit::from_id(id), unit.id()), (unit, id));
        }
    }
}
