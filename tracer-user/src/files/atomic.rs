//! An output that appears under its name only when it is complete. Until then, and after an error, an older
//! file stays, which may be the input.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::{Builder, NamedTempFile};

use crate::{
    cli::Location,
    files::{Existing, cannot_write, exists},
};

/// An output under way. Without [`AtomicOutput::finish`] there is no file.
pub struct AtomicOutput {
    to: Destination,
    existing: Existing,
}

enum Destination {
    /// A new file beside the place it will take.
    New { path: PathBuf, file: BufWriter<NamedTempFile> },
    /// Standard output, a pipe, a device.
    Stream { location: Location, stream: BufWriter<Box<dyn Write>> },
}

impl AtomicOutput {
    /// Prepares to write. Nothing that exists is changed.
    ///
    /// # Errors
    /// [`crate::cli::Usage`] if there is a file to keep; others if it cannot be written there.
    pub fn open(location: &Location, existing: Existing) -> Result<Self> {
        let stream = |stream| {
            let to = Destination::Stream { location: location.clone(), stream: BufWriter::new(stream) };
            Ok(Self { to, existing })
        };
        let Location::Path(path) = location else { return stream(Box::new(io::stdout())) };
        let old = fs::metadata(path).ok();
        match &old {
            Some(old) if !old.is_file() => {
                let file = OpenOptions::new().write(true).open(path);
                return stream(Box::new(file.with_context(|| format!("cannot open {}", path.display()))?));
            }
            Some(_) if existing == Existing::Keep => return Err(exists(path)),
            _ => {}
        }
        // The new file keeps the permissions of the old one, and follows its symbolic link.
        let mode = old.as_ref().map_or(0o666, |old| old.permissions().mode() & 0o777);
        let path = if old.is_some() { fs::canonicalize(path)? } else { path.clone() };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let mut builder = Builder::new();
        builder.prefix(".exitlat-").permissions(Permissions::from_mode(mode));
        let file = builder.tempfile_in(directory);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        if old.is_some() {
            // The file gets this mode whatever the umask is.
            let set = file.as_file().set_permissions(Permissions::from_mode(mode));
            set.with_context(|| format!("cannot give {} its mode", path.display()))?;
        }
        Ok(Self { to: Destination::New { path, file: BufWriter::new(file) }, existing })
    }

    /// Makes the complete output appear.
    ///
    /// # Errors
    /// If the rest cannot be written, or another file has come meanwhile.
    pub fn finish(self) -> Result<()> {
        let (path, file) = match self.to {
            Destination::New { path, file } => (path, file),
            Destination::Stream { location, mut stream } => {
                return stream.flush().with_context(|| cannot_write(&location));
            }
        };
        let failed = || format!("cannot write {}", path.display());
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(failed)?;
        let placed = match self.existing {
            Existing::Overwrite => file.persist(&path),
            Existing::Keep => file.persist_noclobber(&path),
        };
        match placed {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&path)),
            Err(error) => Err(error.error).with_context(failed),
        }
    }
}

impl Write for AtomicOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            Destination::New { file, .. } => file.write(bytes),
            Destination::Stream { stream, .. } => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            // Nobody reads it before it is complete.
            Destination::New { .. } => Ok(()),
            Destination::Stream { stream, .. } => stream.flush(),
        }
    }
}
