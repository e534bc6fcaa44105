//! Labels of rows. Names come from tenants: every label is harmless on a terminal.

use std::fmt::{self, Write};

use crate::{
    decode::decode,
    model::{GroupBy, Row, VmId},
    view::escape,
};

/// The label of a row that is idle and of no reason.
const IDLE: &str = "(idle)";

/// One dimension by which rows are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// The host.
    Host,
    /// The VM; with its host, unless there is a label for that.
    Vm {
        /// Whether the host stands before it.
        with_host: bool,
    },
    /// The vCPU.
    Vcpu,
    /// The exit reason.
    Reason,
    /// The part of the time.
    Part,
    /// Idle time, where no reason is shown that tells it.
    Idle,
    /// All guests together.
    Guests,
}

impl Dimension {
    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Host => "HOST",
            Self::Vm { .. } => "VM",
            Self::Vcpu => "vCPU",
            Self::Reason => "VM-EXIT",
            Self::Part => "Part",
            Self::Idle => "",
            Self::Guests => "GUESTS",
        }
    }

    /// Writes the label of a row.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write(self, out: &mut impl Write, row: &Row) -> fmt::Result {
        match self {
            Self::Host => escape::write_terminal(out, row.host().unwrap_or("-")),
            Self::Vm { with_host } => {
                row.vm().map_or(Ok(()), |vm| write_vm(out, row.host().filter(|_| with_host), vm, row.ended))
            }
            Self::Vcpu => row.thread().map_or(Ok(()), |thread| write!(out, "{thread}")),
            Self::Reason => row.reason.map_or(Ok(()), |(isa, code)| write!(out, "{}", decode(isa, code))),
            Self::Part => row.slice.map_or(Ok(()), |slice| out.write_str(slice.title())),
            Self::Idle => out.write_str(if row.idle { IDLE } else { "" }),
            Self::Guests => out.write_str("all"),
        }
    }
}

/// The dimensions of rows by `by`, in their order.
pub fn dimensions(by: GroupBy) -> impl Iterator<Item = Dimension> {
    [
        (by.host, Dimension::Host),
        (by.vm, Dimension::Vm { with_host: !by.host }),
        (by.vcpu, Dimension::Vcpu),
        (by.reason, Dimension::Reason),
        (by.part, Dimension::Part),
        (!by.reason && !by.part, Dimension::Idle),
    ]
    .into_iter()
    .filter_map(|(on, dimension)| on.then_some(dimension))
}

/// All labels of a row in one line.
pub fn line(by: GroupBy, row: &Row) -> String {
    let mut line = String::new();
    for dimension in dimensions(by).filter(|dimension| *dimension != Dimension::Idle || row.idle) {
        if !line.is_empty() {
            line.push(' ');
        }
        // Writing to a string does not fail.
        let _ = dimension.write(&mut line, row);
    }
    line
}

/// Writes a VM: the host if given, name and pid; for VMs that ended, their number.
///
/// # Errors
/// If `out` cannot be written.
pub fn write_vm(out: &mut impl Write, host: Option<&str>, vm: &VmId, ended: u64) -> fmt::Result {
    if let Some(host) = host {
        escape::write_terminal(out, host)?;
        out.write_char('/')?;
    }
    escape::write_terminal(out, &vm.name)?;
    match vm.pid {
        Some(_) => vm.write_process(out),
        None => write!(out, " ({ended})"),
    }
}
