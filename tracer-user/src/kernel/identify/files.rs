//! Files that others may have made: bounded, and never waited for.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// What came of asking a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It told something of this VM.
    Told,
    /// It was read, and has nothing of this VM.
    Silent,
    /// It does not exist.
    Absent,
    /// This process may not read it.
    Denied,
    /// Reading it failed, or what it says was refused.
    Failed(String),
}

impl Outcome {
    /// What an error of the kernel means.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Absent,
            io::ErrorKind::PermissionDenied => Self::Denied,
            // What a process that has ended gives.
            _ if error.raw_os_error() == Some(libc::ESRCH) => Self::Absent,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Whether debugfs is mounted here, and no other file system.
pub(super) fn is_debugfs(path: &Path) -> bool {
    // The type of its number differs by architecture.
    rustix::fs::statfs(path).is_ok_and(|place| place.f_type as u64 == libc::DEBUGFS_MAGIC as u64)
}

/// Opens a regular file. A pipe in its place would make us wait, a link would lead elsewhere.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(file)
}

/// The first bytes of a file.
pub(super) fn bytes(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The first bytes of a file as text.
pub(super) fn text(path: &Path, most: usize) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&bytes(path, most)?).into_owned())
}

/// The first names in a directory.
pub(super) fn names(path: &Path, most: usize) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(path)?.flatten().take(most);
    Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}
