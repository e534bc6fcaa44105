//! The rows of a grouping, as data.

use tracer_ebpf::part::Part;

use crate::{
    decode::{Isa, decode},
    model::{Account, HostId, MeasuredParts, OpenExit, Parts, Stats, ThreadId, VmId, kinds, parts::PARTS},
};

/// Which time of a vCPU a row of a table of parts stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slice {
    /// Running in the guest.
    Guest,
    /// A part of its exits.
    Of(Part),
    /// Lost with unpaired events.
    Unaccounted,
}

impl Slice {
    /// Name in machine-readable output.
    pub fn id(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Of(part) => PARTS[part as usize].id,
            Self::Unaccounted => "unaccounted",
        }
    }

    /// Name on the screen.
    pub fn title(self) -> &'static str {
        match self {
            Self::Guest => "Guest",
            Self::Of(part) => PARTS[part as usize].title,
            Self::Unaccounted => "Unaccounted",
        }
    }
}

/// Whose samples a row has, as far as rows are told apart by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The host, where rows are by host or by VM, and hosts are told apart.
    pub host: HostId,
    /// The VM, where rows are by VM.
    pub vm: Option<VmId>,
    /// The vCPU, where rows are by vCPU.
    pub thread: Option<ThreadId>,
}

/// One row of a table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose samples they are.
    pub place: std::sync::Arc<Place>,
    /// How many VMs it stands for, if they ended and are no longer told apart; else 0.
    pub ended: u64,
    /// Isa and code of the reason, where rows are by reason and the samples are of one.
    pub reason: Option<(Isa, u32)>,
    /// Which time, where rows are by part.
    pub slice: Option<Slice>,
    /// The cause below the reason, or another kind of sample than exits; see [`tracer_ebpf::subkey`].
    pub cause: Option<u64>,
    /// The guest had nothing to do; such time is not part of `Time%`. Only where idle time was not measured,
    /// so that the reason has to tell.
    pub idle: bool,
    /// The samples. Of a row by part only the sum.
    pub stats: Stats,
    /// What their time consists of; idle time included, whether or not it is in `stats`.
    pub parts: Parts,
    /// Which parts were measured.
    pub measured: MeasuredParts,
    /// Where its causes are among the rows in their order.
    pub(super) causes: std::ops::Range<usize>,
    /// Its place among the rows in their order.
    pub(super) rank: usize,
    pub(super) touched: bool,
}

impl Row {
    /// The host, where rows are by host or by VM, and hosts are told apart.
    pub fn host(&self) -> Option<&str> {
        self.place.host.name()
    }

    /// The VM, where rows are by VM.
    pub fn vm(&self) -> Option<&VmId> {
        self.place.vm.as_ref()
    }

    /// The vCPU, where rows are by vCPU.
    pub fn thread(&self) -> Option<&ThreadId> {
        self.place.thread.as_ref()
    }

    /// The reason as it is printed; "" if rows are not by reason.
    pub fn reason_label(&self) -> String {
        self.reason.map(|(isa, code)| decode(isa, code).to_string()).unwrap_or_default()
    }

    /// The words that tell it from the others: host, VM, vCPU, reason, as far as rows are by them.
    pub fn labels(&self) -> Vec<String> {
        let host = self.host().map(str::to_owned);
        let vm = self.vm().map(|vm| match vm.pid {
            Some(_) => vm.to_string(),
            None => format!("{vm} ({})", self.ended),
        });
        let vcpu = self.thread().map(|thread| match (thread.vcpu, thread.tid) {
            (Some(vcpu), _) => format!("vcpu{vcpu}"),
            (None, Some(tid)) => format!("tid{tid}"),
            (None, None) => "vcpu-".to_owned(),
        });
        let reason = self.reason.is_some().then(|| self.reason_label());
        [host, vm, vcpu, reason].into_iter().flatten().collect()
    }

    /// The cause below the reason as it is printed; "" for the exits themselves.
    pub fn cause_label(&self) -> String {
        let isa = self.reason.map_or(Isa(0), |(isa, _)| isa);
        self.cause.map(|cause| kinds::label(isa, cause)).unwrap_or_default()
    }
}

/// Where the time of one VM's vCPUs went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmAccount {
    /// The VM.
    pub vm: VmId,
    /// How many VMs it stands for, if they ended and are no longer told apart; else 0.
    pub ended: u64,
    /// Its vCPU threads.
    pub vcpus: u64,
    /// All their time.
    pub account: Account,
}

/// An exit that was open at the end, and whose it was.
#[derive(Clone, Debug)]
pub struct OpenRow {
    /// Its thread.
    pub thread: ThreadId,
    /// The exit; its own index of a thread means nothing here.
    pub exit: OpenExit,
}

/// Sums over all rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Samples of handled exits.
    pub handled_count: u64,
    /// Their time.
    pub handled_ns: u64,
    /// Samples of idle exits.
    pub idle_count: u64,
    /// Their time, and the measured idle time of the others.
    pub idle_ns: u64,
    /// Time of all rows by part.
    pub slices_ns: u64,
    /// Idle rows have a share, too.
    pub with_idle: bool,
}

impl Totals {
    /// All samples.
    pub fn count(&self) -> u64 {
        self.handled_count.saturating_add(self.idle_count)
    }
}
