//! What may be asked of the plan.

use crate::{kernel::arch::Arch, model::kinds};

/// By which tracepoints exits are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// Raw ones where the kernel's types allow, else tracepoints.
    #[default]
    Auto,
    /// Raw tracepoints.
    Raw,
    /// Tracepoints.
    Tp,
}

/// Where exits are stamped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExitStamp {
    /// At the exit event.
    #[default]
    Event,
    /// Before the host's interrupts run; at the exit event where it comes before them.
    IrqOff,
}

/// Which causes are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Causes {
    /// The causes that the table of events marks.
    #[default]
    Usual,
    /// These kinds ([`tracer_ebpf::subkey::kind`]).
    Only(Vec<u8>),
}

impl Causes {
    /// Reads a list such as `cr`, or `none`; the kinds are those of the architecture's events.
    ///
    /// # Errors
    /// In words, if a kind is not among them.
    pub fn parse(list: &str, arch: &Arch) -> Result<Self, String> {
        if list == "none" {
            return Ok(Self::Only(Vec::new()));
        }
        let id = |kind: u8| kinds::id(tracer_ebpf::subkey::new(kind, 0));
        let known: Vec<(u8, String)> = arch.causes().map(|kind| (kind, id(kind))).collect();
        let find = |name: &str| known.iter().find(|(_, id)| id == name).map(|(kind, _)| *kind);
        let found: Option<Vec<u8>> = list.split(',').map(find).collect();
        found.map(Self::Only).ok_or_else(|| {
            let names: Vec<_> = known.iter().map(|(_, id)| id.as_str()).collect();
            format!("use `none` or a list of {}", names.join(", "))
        })
    }

    pub(super) fn has(&self, kind: u8, by_default: bool) -> bool {
        match self {
            Self::Usual => by_default,
            Self::Only(kinds) => kinds.contains(&kind),
        }
    }
}

/// Requests to the plan.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// By which tracepoints exits are seen.
    pub attach: Attach,
    /// Where exits are stamped.
    pub exit_stamp: ExitStamp,
    /// Whether the scheduler's events are followed.
    pub sched: bool,
    /// Which causes are told.
    pub causes: Causes,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { attach: Attach::Auto, exit_stamp: ExitStamp::Event, sched: true, causes: Causes::Usual }
    }
}
