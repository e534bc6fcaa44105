//! The parts of an exit interval. They exclude each other and sum to it exactly.

/// A part, and its index in every array of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Part {
    /// Running in KVM: what is left when the others are taken off.
    Kernel = 0,
    /// Halt polling: spinning in the hope that the guest's wait is short.
    Poll = 1,
    /// Asleep because the guest has nothing to do.
    Halt = 2,
    /// Asleep in the kernel for any other cause.
    Blocked = 3,
    /// Runnable, waiting for a CPU: the host's steal.
    Runqueue = 4,
    /// Running in the VMM.
    User = 5,
    /// The VMM's vCPU thread is asleep.
    UserBlocked = 6,
    /// The process was stopped, by SIGSTOP or a debugger, or the whole VM was paused.
    Stopped = 7,
}

impl Part {
    /// Number of parts.
    pub const COUNT: usize = Self::ALL.len();
    /// All parts, in the order of their indices.
    pub const ALL: [Self; 8] = [
        Self::Kernel,
        Self::Poll,
        Self::Halt,
        Self::Blocked,
        Self::Runqueue,
        Self::User,
        Self::UserBlocked,
        Self::Stopped,
    ];
}
