//! Verdicts of a comparison, and the reasons why there is none. The outputs choose the words for them.

/// The verdict on a metric, a row or the whole comparison; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Not judged, for this reason.
    Unjudged(Unjudged),
    /// No change beyond chance, or none that is large enough to matter.
    Same,
    /// Less, or shorter.
    Improved,
    /// The distribution differs, in no direction.
    Changed,
    /// More, or longer.
    Regressed,
}

impl Verdict {
    /// Why there is no verdict; `None` if there is one.
    pub fn unjudged(self) -> Option<Unjudged> {
        match self {
            Self::Unjudged(why) => Some(why),
            _ => None,
        }
    }
}

/// Why a metric, a row or a comparison is not judged.
///
/// Rows without a verdict stand below the others in the reverse of this order: those with too few samples
/// first, those of idle time last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unjudged {
    /// The guest had nothing to do.
    Idle,
    /// There is one interval, which does not tell how much the value fluctuates.
    OneInterval,
    /// The metric is not one of those that are judged.
    NotSelected,
    /// The numbers of both sides do not mean the same.
    NotComparable,
    /// A side has fewer samples than [`Settings::min_samples`](super::Settings::min_samples).
    TooFewSamples,
    /// All of a side's samples are of one block, so that their fluctuation over time is not known.
    OneBlock,
    /// A side has no samples.
    OneSideEmpty,
    /// The maximum is a single sample, which has no distribution to test.
    Maximum,
    /// Too few samples lie above the quantile.
    ShortTail,
    /// The quantile lies in the last bucket, which has no upper end.
    OpenBucket,
    /// Neither side has a row.
    NoRows,
}

/// On which sides a row has samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// On both.
    Both,
    /// None before.
    New,
    /// None after.
    Vanished,
}
