//! tracefs: where it is, what the KVM events look like on this kernel.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::tracepoint::fields::{Field, field};

use crate::kernel::{Unsupported, host};

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

impl Layout {
    fn all(&self) -> impl Iterator<Item = Field> {
        [Some(self.exit_reason), self.exit_isa, self.exit_vcpu].into_iter().flatten()
    }
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

/// Whether there is an event of this name in KVM's group.
pub fn has(event: &str) -> bool {
    events().is_ok_and(|events| events.join("kvm").join(event).is_dir())
}

/// Whether the records of the events between exit and entry are as the classic programs on them read them.
pub fn part_records_are_known() -> bool {
    let has = |event: &str, name: &str, offset: u32, size: u32| {
        format_text(event).is_ok_and(|text| field(&text, name) == Some(Field { offset, size }))
    };
    has("kvm_userspace_exit", "reason", 8, 4)
        && has("kvm_userspace_exit", "errno", 12, 4)
        && has("kvm_vcpu_wakeup", "ns", 8, 8)
        && has("kvm_vcpu_wakeup", "waited", 16, 1)
        && has("kvm_fpu", "load", 8, 4)
}

/// The text of an event's `format` file.
///
/// # Errors
/// [`Unsupported`] if the event does not exist.
pub fn format_text(event: &str) -> Result<String, Unsupported> {
    let (group, event) = event.split_once(':').unwrap_or(("kvm", event));
    let path = events()?.join(group).join(event).join("format");
    fs::read_to_string(&path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Unsupported::new(
                format!("the kernel has no tracepoint {group}:{event}"),
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
    let layout = Layout { exit_reason, exit_isa: field(&exit, "isa"), exit_vcpu: field(&exit, "vcpu_id") };
    if layout.all().any(|field| field.size != 4) {
        return Err(Unsupported::new(
            "a field of this kernel's kvm_exit record is not of 32 bits",
            "please report it with the contents of events/kvm/kvm_exit/format",
        ));
    }
    Ok(layout)
}

/// Where the fields of the scheduler's records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedLayout {
    /// `sched_switch`'s `prev_pid`.
    pub prev_pid: u32,
    /// The lower half of its `prev_state`.
    pub prev_state: u32,
    /// Its `next_pid`.
    pub next_pid: u32,
    /// `sched_wakeup`'s `pid`.
    pub woken_pid: u32,
}

/// Reads the layout of the scheduler's records.
///
/// # Errors
/// [`Unsupported`] if an event or a field does not exist.
pub fn sched_layout() -> Result<SchedLayout, Unsupported> {
    let (switch, wakeup) = (format_text("sched:sched_switch")?, format_text("sched:sched_wakeup")?);
    let find = |text: &str, event: &str, name: &str| {
        let field = field(text, name).filter(|field| [4, 8].contains(&field.size)).ok_or_else(|| {
            Unsupported::new(
                format!("this kernel's {event} record has no field `{name}` of 32 or 64 bits"),
                "use --no-sched, and please report it with the event's format file",
            )
        })?;
        // Only the lower half of a `long` is read.
        let lower = if cfg!(target_endian = "big") { field.size.saturating_sub(4) } else { 0 };
        Ok(field.offset + lower)
    };
    Ok(SchedLayout {
        prev_pid: find(&switch, "sched_switch", "prev_pid")?,
        prev_state: find(&switch, "sched_switch", "prev_state")?,
        next_pid: find(&switch, "sched_switch", "next_pid")?,
        woken_pid: find(&wakeup, "sched_wakeup", "pid")?,
    })
}
