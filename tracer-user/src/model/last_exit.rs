//! Exits that no entry followed because their thread ended: what a VM died of, or was at when it was killed.

use std::fmt;

use tracer_ebpf::subkey::{self, kind};

use crate::decode::{Isa, decode, kvm_exit, subkey::label};

/// Identifies an exit in which its thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LastReason {
    /// Instruction set of the code.
    pub isa: Isa,
    /// The exit code.
    pub code: u32,
    /// The KVM_EXIT_* reason with which KVM_RUN had returned to the VMM, if it had and the kernel names it.
    pub user_exit: Option<u32>,
}

impl LastReason {
    /// From an exit and the reason with which KVM_RUN returned to the VMM during it. VMMs can write to that
    /// reason: a value that no kernel has is left out.
    pub fn new(isa: Isa, code: u32, user_exit: Option<u32>) -> Self {
        Self { isa, code, user_exit: user_exit.filter(|reason| kvm_exit::decode(*reason).known) }
    }

    /// The name of the KVM_EXIT_* reason; [`None`] if there is none.
    pub fn user_exit_label(&self) -> Option<String> {
        let subkey = subkey::new(kind::USER_EXIT, self.user_exit?.into());
        label(self.isa, subkey).map(|label| label.into_owned())
    }
}

/// Written like a cause below a reason in the table: `shutdown > KVM_EXIT_SHUTDOWN`.
impl fmt::Display for LastReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decode(self.isa, self.code).fmt(f)?;
        self.user_exit_label().map_or(Ok(()), |label| write!(f, " > {label}"))
    }
}

/// Exits of one reason in which a thread ended, and their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastExit {
    /// Index into [`Threads::list`](crate::model::Threads::list).
    pub thread: usize,
    /// The exit that they have in common.
    pub reason: LastReason,
    /// Number of such exits.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_no_kernel_has_is_left_out() {
        let shown = |user_exit| LastReason::new(Isa::SVM, 0x7f, user_exit).to_string();
        assert_eq!(shown(Some(8)), "shutdown > KVM_EXIT_SHUTDOWN");
        assert_eq!((shown(None), shown(Some(123_456))), ("shutdown".into(), "shutdown".into()));
    }
}
