//! Every loss by name: one table for the counters, the screen, the recording and the documentation.

use std::fmt;

use tracer_ebpf::loss::PerVcpu;

/// A cause of loss, or an edge of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Loss {
    /// An exit followed an exit.
    UnpairedExits,
    /// An entry followed an entry.
    UnpairedEntries,
    /// An entry was stamped before its exit.
    ClockBack,
    /// Samples for which no slot was left.
    SlotTableFull,
    /// Samples of vCPUs with too many rare codes.
    RareCodesFull,
    /// Exits of threads for which the vCPU table had no place.
    VcpuTableFull,
    /// Samples of a process that had more slots than the reserve gives to one.
    SlotQuota,
    /// Exits of threads of a process that had more vCPUs than the reserve gives to one.
    VcpuQuota,
    /// Exits during which the vCPU went to another thread, or the thread to another vCPU.
    Moved,
    /// Fields of event records that could not be read.
    ReadFailed,
    /// An event of a process for which the filter had no place.
    FilterFull,
    /// Runs of the programs that the kernel skipped.
    MissedRuns,
    /// Samples that could not be read at the end.
    Unread,
    /// Records that perf lost, in a recording of perf's.
    LostRecords,
    /// Samples of intervals that could not be written to a dump.
    Unwritten,
    /// Runs of the programs that tell the parts of exits, which the kernel skipped.
    MissedParts,
    /// Threads that ended in the middle of an exit.
    DiedInExit,
    /// Entries of threads of which no exit had been seen.
    EarlyEntries,
    /// Samples whose exit code is in no table; they are shown by number.
    UnknownCodes,
    /// Runs that the kernel skipped of programs that were thought not to be preempted.
    DoubtfulRuns,
}

/// One row of the table of causes.
#[derive(Debug)]
pub struct LossInfo {
    /// The cause.
    pub loss: Loss,
    /// Name in machine-readable output.
    pub name: &'static str,
    /// Name on the screen.
    pub text: &'static str,
    /// What it means and what to do.
    pub meaning: &'static str,
    /// Samples are missing because of it; false for the edges of a measurement and for mere notes.
    pub missing: bool,
}

/// All causes, in the order of [`Loss`].
pub static LOSSES: [LossInfo; Loss::COUNT] = [
    info(
        Loss::UnpairedExits,
        "unpaired_exits",
        "unpaired exits",
        "an exit followed an exit: the entry between them was not seen; the newer exit is kept. In a perf.data also an exit whose entry may be among lost events",
        true,
    ),
    info(
        Loss::UnpairedEntries,
        "unpaired_entries",
        "unpaired entries",
        "an entry came without an exit before it, as after a failed VM entry, or after lost events in a perf.data",
        true,
    ),
    info(
        Loss::ClockBack,
        "clock_back",
        "clock went back",
        "an entry was stamped before its exit; the sample is left out",
        true,
    ),
    info(
        Loss::SlotTableFull,
        "slot_table_full",
        "slot table full",
        "no slot was free for a new reason; use a larger --slots",
        true,
    ),
    info(
        Loss::RareCodesFull,
        "rare_codes_full",
        "rare codes full",
        "a vCPU had more than 32 exit codes outside the usual ranges",
        true,
    ),
    info(
        Loss::VcpuTableFull,
        "vcpu_table_full",
        "vCPU table full",
        "exits of threads beyond the vCPU table; use a larger --max-vcpus",
        true,
    ),
    info(
        Loss::SlotQuota,
        "slot_quota",
        "slots refused",
        "the slot table, or that of causes without a histogram, was full but for its reserve, and this VM had its share (48 slots, 64 causes); use a larger --slots",
        true,
    ),
    info(
        Loss::VcpuQuota,
        "vcpu_quota",
        "vCPUs refused",
        "exits of threads that got no entry: the vCPU table was full but for its reserve, and their process had four or more; use a larger --max-vcpus",
        true,
    ),
    info(
        Loss::Moved,
        "moved",
        "vCPU moved",
        "the vCPU went on in another thread, or the thread ran another vCPU, while the exit was open; nothing to do, this VMM moves its vCPUs",
        true,
    ),
    info(
        Loss::ReadFailed,
        "read_failed",
        "unreadable records",
        "the reason could not be read; the sample is shown as `unreadable`",
        true,
    ),
    info(
        Loss::FilterFull,
        "filter_full",
        "filter full",
        "exits and entries of processes beyond the 4096 that a filter can judge at a time; trace without -g and -p, and choose with `report -g`",
        true,
    ),
    info(
        Loss::MissedRuns,
        "missed_runs",
        "missed runs",
        "the kernel skipped a program because it was already running on that CPU. A later entry may have closed an exit whose entry was skipped",
        true,
    ),
    info(
        Loss::Unread,
        "unread",
        "unread samples",
        "at the last snapshot a CPU stood still in the middle of an update for longer than exitlat waits",
        true,
    ),
    info(
        Loss::LostRecords,
        "lost_records",
        "lost records",
        "perf's buffer was full; record with a larger -m. An exit during which events were lost is no sample; it is counted as unpaired",
        true,
    ),
    info(
        Loss::Unwritten,
        "unwritten",
        "unwritten samples",
        "the disk was full while recording; the samples of those intervals are not in the recording",
        true,
    ),
    info(
        Loss::MissedParts,
        "missed_parts",
        "missed part events",
        "the kernel skipped a time-breakdown program because another was running on that CPU; no exit is missing, but some time is in another part",
        false,
    ),
    info(
        Loss::DiedInExit,
        "died_in_exit",
        "ended in an exit",
        "vCPU threads that ended before they entered the guest again",
        false,
    ),
    info(
        Loss::EarlyEntries,
        "early_entries",
        "early entries",
        "entries seen before the thread's first exit: a new vCPU's first entry, the end of an exit already under way, or an entry between attaching to entries and attaching to exits. Not counted for threads that the vCPU table has no place for",
        false,
    ),
    info(
        Loss::UnknownCodes,
        "unknown_codes",
        "unknown codes",
        "samples whose exit code is in no table; they are shown by number",
        false,
    ),
    info(
        Loss::DoubtfulRuns,
        "doubtful_runs",
        "doubtful runs",
        "threads lost their CPU in programs that this kernel was thought to protect. Samples of a vCPU that moved to another thread, reasons of nested guests on AMD, and the time breakdown are in doubt; use --attach tp",
        true,
    ),
];

/// The BPF side's per-vCPU counters, each with its cause of loss.
pub const PER_VCPU: [(PerVcpu, Loss); PerVcpu::COUNT] = [
    (PerVcpu::UnpairedExit, Loss::UnpairedExits),
    (PerVcpu::UnpairedEntry, Loss::UnpairedEntries),
    (PerVcpu::ClockBack, Loss::ClockBack),
    (PerVcpu::SlotTableFull, Loss::SlotTableFull),
    (PerVcpu::RareCodesFull, Loss::RareCodesFull),
    (PerVcpu::SlotQuota, Loss::SlotQuota),
    (PerVcpu::Moved, Loss::Moved),
];

const fn info(
    loss: Loss,
    name: &'static str,
    text: &'static str,
    meaning: &'static str,
    missing: bool,
) -> LossInfo {
    LossInfo { loss, name, text, meaning, missing }
}

impl Loss {
    /// Number of causes.
    pub const COUNT: usize = Self::DoubtfulRuns as usize + 1;

    /// The cause with this machine-readable name.
    pub fn from_name(name: &str) -> Option<Self> {
        LOSSES.iter().find(|info| info.name == name).map(|info| info.loss)
    }
}

/// A counter for each cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses([u64; Loss::COUNT]);

impl Losses {
    /// The counter of one cause.
    pub fn get(&self, loss: Loss) -> u64 {
        self.0[loss as usize]
    }

    /// Adds to one cause.
    pub fn add(&mut self, loss: Loss, count: u64) {
        let counter = &mut self.0[loss as usize];
        *counter = counter.saturating_add(count);
    }

    /// Adds all causes.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// The losses since `earlier`; a counter that went back counts as zero.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut out = *self;
        for (mine, theirs) in out.0.iter_mut().zip(earlier.0) {
            *mine = mine.saturating_sub(theirs);
        }
        out
    }

    /// The causes that have counted, with their table rows.
    pub fn nonzero(&self) -> impl Iterator<Item = (&'static LossInfo, u64)> {
        LOSSES.iter().zip(self.0).filter(|(_, count)| *count != 0)
    }

    /// Whether samples are missing.
    pub fn any_missing(&self) -> bool {
        self.nonzero().any(|(info, _)| info.missing)
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        // Missing samples first; mere notes follow after a semicolon.
        for (info, count) in self.nonzero().filter(|(info, _)| info.missing) {
            let separator = if first { "" } else { ", " };
            first = false;
            write!(f, "{separator}{} {count}", info.text)?;
        }
        if first {
            f.write_str("none")?;
        }
        for (info, count) in self.nonzero().filter(|(info, _)| !info.missing) {
            write!(f, "; {} {count}", info.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, info) in LOSSES.iter().enumerate() {
            assert_eq!(info.loss as usize, index);
            assert_eq!(Loss::from_name(info.name), Some(info.loss));
        }
    }

    #[test]
    fn only_what_counted_is_printed() {
        let mut losses = Losses::default();
        assert_eq!(losses.to_string(), "none");
        losses.add(Loss::EarlyEntries, 2);
        assert!(!losses.any_missing());
        losses.add(Loss::UnpairedExits, 1);
        assert!(losses.any_missing());
        assert_eq!(losses.to_string(), "unpaired exits 1; early entries 2");
    }
}
