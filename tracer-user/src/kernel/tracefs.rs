//! tracefs: where it is, and the `format` files of events.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::kernel::{Unsupported, arch};

/// The mount points, which are also those that aya tries.
const MOUNTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

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

/// The text of an event's `format` file; the event is `group:name`.
///
/// # Errors
/// [`Unsupported`] if the event does not exist, or its file cannot be read.
pub fn format_text(event: &str) -> Result<String, Unsupported> {
    let path = events()?.join(event.replace(':', "/")).join("format");
    fs::read_to_string(&path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Unsupported::new(
                format!("the kernel has no tracepoint {event}"),
                format!("load KVM first: {}", arch::host().load_hint),
            )
        } else {
            Unsupported::new(format!("cannot read {}: {error}", path.display()), "run as root")
        }
    })
}
