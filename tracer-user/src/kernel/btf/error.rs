//! What can be wrong with a kernel's type information.

use std::io;
use std::path::PathBuf;

/// Why BTF gave no offset. None of these is fatal: tracepoints need no BTF.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// A file exists but cannot be read, or `vmlinux` does not exist.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The bytes are no BTF, or a BTF this reader must not guess at.
    #[error("not BTF: {0}")]
    Format(&'static str),
    /// The bytes start as BTF and then contradict themselves.
    #[error("damaged BTF: {0}")]
    Damaged(&'static str),
    /// A kind of type newer than this reader, in a file that does not say how long it is.
    #[error("BTF holds a type of unknown kind {0}")]
    UnknownKind(u8),
    /// No such type: on most kernels, no BTF of the module that has it.
    #[error("BTF has no type {0}")]
    NoType(String),
    /// The structure lacks the member, or has it in a form that cannot be read.
    #[error("{owner}.{member}: {why}")]
    Member {
        /// The structure asked.
        owner: String,
        /// The member asked for.
        member: String,
        /// The problem with the member.
        why: &'static str,
    },
    /// Types that nest or refer to each other beyond reason.
    #[error("BTF types nest without end")]
    Endless,
    /// The raw tracepoint has arguments other than those known.
    #[error("raw tracepoint {event}: {why}")]
    Prototype {
        /// The event.
        event: String,
        /// The problem with its prototype.
        why: &'static str,
    },
}
