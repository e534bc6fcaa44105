//! tracefs: where it is, what the KVM events look like on this kernel.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::kernel::{
    Unsupported,
    format::{Field, field},
    host,
};

/// The mount points that aya looks at too.
const MOUNTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Where the fields that the programs read are; [`None`] for those this kernel's record lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `kvm_exit`'s reason.
    pub exit_reason: Field,
    /// `kvm_exit`'s instruction set.
    pub exit_isa: Option<Field>,
    /// `kvm_exit`'s vCPU number.
    pub exit_vcpu: Option<Field>,
}

/// The `events` directory.
///
/// # Errors
/// [`Unsupported`] if tracefs is not mounted or not readable.
pub fn events() -> Result<PathBuf, Unsupported> {
    let mut denied = false;
    for mount in MOUNTS {
        let events = Path::new(mount).join("events");
        match fs::read_dir(&events) {
            Ok(_) => return Ok(events),
            Err(error) => denied |= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    Err(if denied {
        Unsupported::new("tracefs is not readable", "run as root, or with CAP_DAC_READ_SEARCH")
    } else {
        Unsupported::new(
            format!("tracefs is not mounted at {}", MOUNTS.join(" or ")),
            "mount it: mount -t tracefs tracefs /sys/kernel/tracing",
        )
    })
}

/// The text of an event's `format` file.
///
/// # Errors
/// [`Unsupported`] if the event does not exist.
pub fn format_text(event: &str) -> Result<String, Unsupported> {
    let path = events()?.join("kvm").join(event).join("format");
    fs::read_to_string(&path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Unsupported::new(
                format!("the kernel has no tracepoint kvm:{event}"),
                format!("load KVM first: {}", host::LOAD_KVM),
            )
        } else {
            Unsupported::new(format!("cannot read {}: {error}", path.display()), "run as root")
        }
    })
}

/// Reads the layout of the two events.
///
/// # Errors
/// [`Unsupported`] if an event or a field that is needed does not exist.
pub fn layout() -> Result<Layout, Unsupported> {
    let exit = format_text("kvm_exit")?;
    format_text("kvm_entry")?;
    let exit_reason = field(&exit, "exit_reason").ok_or_else(|| {
        Unsupported::new(
            "this kernel's kvm_exit record has no field `exit_reason`",
            "please report it with the contents of events/kvm/kvm_exit/format",
        )
    })?;
    Ok(Layout { exit_reason, exit_isa: field(&exit, "isa"), exit_vcpu: field(&exit, "vcpu_id") })
}
