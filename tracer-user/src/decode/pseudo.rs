//! Names for exits without a code: [`tracer_ebpf::abi::pseudo`].

use super::ReasonInfo;

/// The codes of [`super::Isa::NONE`].
pub static REASONS: &[ReasonInfo] = reasons![
    (1, "unreadable", "the exit code could not be read"),
    (2, "entry_failed", "KVM_RUN returned, and no exit was reported since the entry"),
    (3, "unreported", "the exit was stamped, and the event that tells its reason was missed"),
];
