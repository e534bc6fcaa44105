//! A recording in progress: standard output, one file, or one file after the other.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Location, Usage},
    files::{Existing, exists},
    recording::rotate::Store,
};

/// The files of one recording.
#[derive(Debug)]
pub struct RotatingFiles(Files);

#[derive(Debug)]
enum Files {
    /// One output; [`None`] once it has begun.
    One { directory: PathBuf, pending: Option<Pending> },
    /// Files whose names begin with this path.
    Many(PathBuf),
}

/// An open output.
#[derive(Debug)]
pub enum Target {
    /// Standard output.
    Stdout(io::Stdout),
    /// A file, a pipe or a device.
    File(File),
}

impl RotatingFiles {
    /// Prepares one output. An older file is not changed before the recording begins.
    ///
    /// # Errors
    /// [`Usage`] if there is a file to keep; others if it cannot be written.
    pub fn one(location: &Location, existing: Existing) -> Result<Self> {
        let directory = location.path().map_or_else(PathBuf::new, |path| directory_of(path).to_owned());
        let pending = match location {
            Location::Stream => Pending::Stdout,
            Location::Path(path) => Pending::open(path, existing)?,
        };
        Ok(Self(Files::One { directory, pending: Some(pending) }))
    }

    /// Prepares files whose names begin with a path. None of them replaces another file.
    ///
    /// # Errors
    /// [`Usage`] for standard output; others if no file can be created there.
    pub fn many(location: &Location) -> Result<Self> {
        let Location::Path(path) = location else {
            return Err(Usage::new("--switch-output needs a file name: -o FILE").into());
        };
        // Fails now rather than while a command runs.
        let directory = directory_of(path);
        tempfile::tempfile_in(directory)
            .with_context(|| format!("cannot create files in {}", directory.display()))?;
        Ok(Self(Files::Many(path.clone())))
    }

    fn directory(&self) -> &Path {
        match &self.0 {
            Files::One { directory, .. } => directory,
            Files::Many(path) => directory_of(path),
        }
    }
}

impl Store for RotatingFiles {
    type File = Target;

    fn create(&mut self, suffix: &str) -> io::Result<Target> {
        match &mut self.0 {
            Files::One { pending, .. } => pending.take().ok_or(io::ErrorKind::AlreadyExists)?.begin(),
            Files::Many(path) => {
                let path = with_suffix(path, suffix);
                Ok(Target::File(OpenOptions::new().write(true).create_new(true).open(path)?))
            }
        }
    }

    fn remove(&mut self, suffix: &str) -> io::Result<()> {
        match &self.0 {
            Files::One { .. } => Err(io::ErrorKind::Unsupported.into()),
            Files::Many(path) => fs::remove_file(with_suffix(path, suffix)),
        }
    }

    fn cut(&mut self, file: &mut Target, length: u64) -> io::Result<()> {
        match file {
            Target::File(file) if file.metadata()?.is_file() => {
                file.set_len(length)?;
                file.seek(SeekFrom::Start(length)).map(|_| ())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn sync(&mut self, file: &mut Target) -> io::Result<()> {
        let Target::File(file) = file else { return Ok(()) };
        if !file.metadata()?.is_file() {
            return Ok(());
        }
        file.sync_all()?;
        // The directory holds the name, and is a file of its own.
        File::open(self.directory())?.sync_all()
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// One output that has not begun. Dropped without [`Pending::begin`], an older recording is untouched, and a
/// new file goes away again.
#[derive(Debug)]
enum Pending {
    Stdout,
    /// There was something of that name: a file to overwrite, a pipe, a device.
    Old(File),
    New(NewFile),
}

/// A file that was created for this recording.
#[derive(Debug)]
struct NewFile {
    file: Option<File>,
    path: PathBuf,
}

impl Pending {
    fn open(path: &Path, existing: Existing) -> Result<Self> {
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self::New(NewFile { file: Some(file), path: path.to_owned() })),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("cannot create {}", path.display()))
            }
            Err(_) if existing == Existing::Keep => Err(exists(path)),
            Err(_) => {
                let file = OpenOptions::new().write(true).open(path);
                Ok(Self::Old(file.with_context(|| format!("cannot open {}", path.display()))?))
            }
        }
    }

    fn begin(self) -> io::Result<Target> {
        match self {
            Self::Stdout => Ok(Target::Stdout(io::stdout())),
            Self::New(mut new) => new.file.take().map(Target::File).ok_or(io::ErrorKind::NotFound.into()),
            Self::Old(file) => {
                // Devices and pipes have no length.
                if file.metadata()?.is_file() {
                    file.set_len(0)?;
                }
                Ok(Target::File(file))
            }
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // If it cannot be removed, `--force` overwrites it.
            let _ = fs::remove_file(&self.path);
        }
    }
}
