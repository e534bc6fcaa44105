//! Files of `/proc/PID`: start time, time on CPUs, root directory.

use crate::identity::{fact::Kind, known::Facts, text::is_id};

/// What `/proc/PID/stat` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// State, one letter.
    pub state: char,
    /// Start, in clock ticks since the system started.
    pub start_ticks: u64,
}

/// Reads `/proc/PID/stat`. The name in it, in parentheses, may have anything in it, parentheses too.
///
/// ```
/// # use tracer_user::identity::process::stat;
/// let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 8600 12 13";
/// assert_eq!(stat(text).unwrap().start_ticks, 8600);
/// assert_eq!(stat("7 (a) S 1"), None);
/// ```
pub fn stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(") ")?;
    // The third field of proc_pid_stat(5) is the first one here, the 22nd is the start.
    let mut fields = fields.split(' ');
    let state = fields.next()?.chars().next()?;
    Some(Stat { state, start_ticks: fields.nth(18)?.trim_end().parse().ok()? })
}

/// Start of the system in seconds since 1970, of `/proc/stat`.
pub fn boot_unix_s(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Time of a thread, of `/proc/PID/task/TID/schedstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedstat {
    /// On CPUs.
    pub cpu_ns: u64,
    /// Runnable, waiting for a CPU.
    pub wait_ns: u64,
}

/// Reads a schedstat.
///
/// ```
/// # use tracer_user::identity::process::{Schedstat, schedstat};
/// assert_eq!(schedstat("5799420 413307 10\n"), Some(Schedstat { cpu_ns: 5_799_420, wait_ns: 413_307 }));
/// assert_eq!(schedstat("5"), None);
/// ```
pub fn schedstat(text: &str) -> Option<Schedstat> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok());
    Some(Schedstat { cpu_ns: fields.next()??, wait_ns: fields.next()?? })
}

/// The directory that is the root of a process, of its `/proc/PID/mountinfo`. The link `/proc/PID/root` does
/// not show it: after pivot_root, as Firecracker's jailer does it, that is `/`. [`None`] if it is a file
/// system's own root.
///
/// ```
/// # use tracer_user::identity::process::root;
/// let jail = "65 43 254:0 /srv/jailer/firecracker/fc-7/root / rw,relatime - ext4 /dev/vda rw\n";
/// assert_eq!(root(jail).as_deref(), Some("/srv/jailer/firecracker/fc-7/root"));
/// assert_eq!(root("27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"), None);
/// ```
pub fn root(mountinfo: &str) -> Option<String> {
    let mut roots = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        (place == "/").then_some(root)
    });
    // What was mounted last lies on top.
    roots.next_back().filter(|root| *root != "/").map(|root| root.replace("\\040", " "))
}

/// What the root directory says: the jailer makes `BASE/FILE/ID/root`, the file's name having `firecracker`
/// in it (Firecracker's docs/jailer.md).
pub fn facts_of_root(root: &str) -> Facts {
    let mut parts = root.rsplit('/');
    let jail = (parts.next(), parts.next(), parts.next());
    match jail {
        (Some("root"), Some(id), Some(file)) if file.contains("firecracker") && is_id(id) => {
            vec![(Kind::Id, id.to_owned())]
        }
        _ => Facts::new(),
    }
}

/// The user that a process runs as, of `/proc/PID/status`: the effective one.
///
/// ```
/// # use tracer_user::identity::process::user;
/// assert_eq!(user("Name:\tqemu\nUid:\t1000\t107\t107\t107\n"), Some(107));
/// ```
pub fn user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}
