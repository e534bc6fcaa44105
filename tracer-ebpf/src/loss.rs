//! Every way in which an event can fail to become a sample. Each has a counter where it happens.

/// Losses of one vCPU thread, counted in [`crate::abi::Vcpu::lost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PerVcpu {
    /// An exit followed an exit: the entry between them was not seen. The newer exit is kept.
    UnpairedExit = 0,
    /// An entry came although no exit was open, for instance after a failed VM entry.
    UnpairedEntry = 1,
    /// The clock of the entry was before the clock of the exit.
    ClockBack = 2,
    /// No free slot was left for a new reason.
    SlotTableFull = 3,
    /// The vCPU had more rare exit codes than it has places for.
    RareCodesFull = 4,
    /// Few slots were left, and the process has more than the reserve gives to one.
    SlotQuota = 5,
    /// The vCPU went on in another thread, or the thread to another vCPU, while the exit was open.
    Moved = 6,
}

impl PerVcpu {
    /// Number of these losses.
    pub const COUNT: usize = Self::Moved as usize + 1;
}

/// Losses that cannot be charged to a vCPU thread, counted in the `LOST` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Global {
    /// An exit of a thread for which no place in the vCPU table was left.
    VcpuTableFull = 0,
    /// An entry of a thread of which no exit has been seen: a new vCPU's first entry, or the end of an exit
    /// that was under way when tracing began. Not counted while the vCPU table is full.
    EarlyEntries = 1,
    /// A field of the event record could not be read.
    ReadFailed = 2,
    /// An event of a process that is not judged yet, for which the filter had no place left.
    FilterFull = 3,
    /// An exit of a thread that was refused an entry: few were left, and its process has more than the
    /// reserve gives to one.
    VcpuQuota = 4,
}

impl Global {
    /// Number of these losses.
    pub const COUNT: usize = Self::VcpuQuota as usize + 1;
}
