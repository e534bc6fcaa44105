//! Where `record` writes: standard output, a file, or one file after the other.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{cmd::Usage, files::atomic::exists, recording::rotate::Store};

/// Files on a disk.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    /// The single file, opened before anything is traced; [`None`] where files get names of their own.
    single: Option<Single>,
}

/// What is written to.
#[derive(Debug)]
pub enum Target {
    /// Standard output.
    Stdout(io::Stdout),
    /// A file, or what else has a name.
    File(File),
}

impl Disk {
    /// Prepares to write to `path`, `-` being standard output; or, if `many`, to files whose names begin so. Nothing
    /// that exists is changed yet.
    ///
    /// # Errors
    /// If the file exists and `force` does not say to overwrite it, or if it cannot be written.
    pub fn prepare(path: &Path, many: bool, force: bool) -> Result<Self> {
        let stdout = path.as_os_str() == "-";
        if stdout && many {
            return Err(Usage("--switch-output needs a file name: -o FILE".to_owned()).into());
        }
        let single = if many { None } else { Some(Single::open(path, stdout, force)?) };
        let disk = Self { path: path.to_owned(), single };
        if many {
            // Better now than when a command runs.
            let directory = disk.directory();
            tempfile::tempfile_in(directory)
                .with_context(|| format!("cannot create files in {}", directory.display()))?;
        }
        Ok(disk)
    }

    fn directory(&self) -> &Path {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        directory.unwrap_or(Path::new("."))
    }

    fn named(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

impl Store for Disk {
    type File = Target;

    fn create(&mut self, suffix: &str) -> io::Result<Target> {
        match self.single.take() {
            Some(single) => single.begin(),
            None => {
                Ok(Target::File(OpenOptions::new().write(true).create_new(true).open(self.named(suffix))?))
            }
        }
    }

    fn remove(&mut self, suffix: &str) -> io::Result<()> {
        fs::remove_file(self.named(suffix))
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
        // The name is in the directory, which is a file of its own.
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

/// A single file. Until [`Single::begin`] an older dump is untouched, and a new file goes away again.
#[derive(Debug)]
struct Single {
    /// None is standard output.
    file: Option<File>,
    /// The file is new and has nothing in it yet.
    remove: Option<PathBuf>,
}

impl Single {
    fn open(path: &Path, stdout: bool, force: bool) -> Result<Self> {
        if stdout {
            return Ok(Self { file: None, remove: None });
        }
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self { file: Some(file), remove: Some(path.to_owned()) }),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("cannot create {}", path.display()))
            }
            Err(_) if force => {
                let file = OpenOptions::new().write(true).open(path);
                let file = file.with_context(|| format!("cannot open {}", path.display()))?;
                Ok(Self { file: Some(file), remove: None })
            }
            Err(_) => Err(exists(path)),
        }
    }

    fn begin(mut self) -> io::Result<Target> {
        self.remove = None;
        let Some(file) = self.file.take() else { return Ok(Target::Stdout(io::stdout())) };
        // Devices and pipes have no length.
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        Ok(Target::File(file))
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        if let Some(path) = &self.remove {
            // If it cannot be removed, `--force` overwrites it.
            let _ = fs::remove_file(path);
        }
    }
}
