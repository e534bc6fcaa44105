//! Where a command writes what it makes of a dump. A file appears under its name when it is complete, not before: an
//! older one, which may be what is read, stays until then, and after an error.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::{Builder, NamedTempFile};

use crate::cmd::Usage;

/// Where it goes. Without [`Output::finish`] there is no file.
pub struct Output {
    to: To,
    force: bool,
}

enum To {
    /// A new file beside the place it will take.
    New { path: PathBuf, file: BufWriter<NamedTempFile> },
    /// Standard output, a pipe, a device.
    Stream { path: PathBuf, stream: BufWriter<Box<dyn Write>> },
}

impl Output {
    /// Prepares to write to `path`, `-` being standard output. Nothing that exists is changed.
    ///
    /// # Errors
    /// If there is a file and `force` does not say to overwrite it, or if it cannot be written there.
    pub fn open(path: &Path, force: bool) -> Result<Self> {
        let stream = |stream| {
            let to = To::Stream { path: path.to_owned(), stream: BufWriter::new(stream) };
            Ok(Self { to, force })
        };
        if path.as_os_str() == "-" {
            return stream(Box::new(io::stdout()));
        }
        let old = fs::metadata(path).ok();
        match &old {
            Some(old) if !old.is_file() => {
                let file = OpenOptions::new().write(true).open(path);
                return stream(Box::new(file.with_context(|| format!("cannot open {}", path.display()))?));
            }
            Some(_) if !force => return Err(exists(path)),
            _ => {}
        }
        // Who may read the old one may read the new one, and it is where a link points to.
        let mode = old.as_ref().map_or(0o666, |old| old.permissions().mode() & 0o777);
        let path = if old.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let mut builder = Builder::new();
        builder.prefix(".exitlat-").permissions(Permissions::from_mode(mode));
        let file = builder.tempfile_in(directory);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        if old.is_some() {
            // Without what the umask took away.
            let set = file.as_file().set_permissions(Permissions::from_mode(mode));
            set.with_context(|| format!("cannot give {} its mode", path.display()))?;
        }
        Ok(Self { to: To::New { path, file: BufWriter::new(file) }, force })
    }

    /// It is complete.
    ///
    /// # Errors
    /// If what is left cannot be written, or another file has come meanwhile.
    pub fn finish(self) -> Result<()> {
        let (path, file) = match self.to {
            To::New { path, file } => (path, file),
            To::Stream { path, mut stream } => return stream.flush().with_context(|| cannot_write(&path)),
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        let file = file.with_context(|| cannot_write(&path))?;
        let placed = if self.force { file.persist(&path) } else { file.persist_noclobber(&path) };
        match placed {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&path)),
            Err(error) => Err(error.error).with_context(|| cannot_write(&path)),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            To::New { file, .. } => file.write(bytes),
            To::Stream { stream, .. } => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            // Nobody reads it before it is complete.
            To::New { .. } => Ok(()),
            To::Stream { stream, .. } => stream.flush(),
        }
    }
}

/// The error of a command that would overwrite a file without being told to.
pub fn exists(path: &Path) -> anyhow::Error {
    Usage(format!("{} exists; use --force to overwrite it", path.display())).into()
}

/// What an error of the output is called.
pub fn cannot_write(path: &Path) -> String {
    if path.as_os_str() == "-" {
        return "cannot write to standard output".to_owned();
    }
    format!("cannot write {}", path.display())
}
