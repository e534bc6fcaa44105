//! `exitlat merge`: many dumps to one.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, anyhow};
use tempfile::{Builder, NamedTempFile};

use crate::{
    cli::MergeArgs,
    cmd::{DONE, Usage, input::Input},
    recording::merge::{Failure, merge},
    render::units,
};

/// This program, in a header.
const TOOL: &str = concat!("exitlat ", env!("CARGO_PKG_VERSION"));

/// Runs it.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub fn run(args: &MergeArgs) -> Result<u8> {
    let name = |index: usize| format!("cannot read the dump {}", args.files[index].display());
    if args.files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
        return Err(Usage("`-` is given twice; there is one standard input".into()).into());
    }
    let mut readers = Vec::new();
    for (index, file) in args.files.iter().enumerate() {
        let Input::Dump(reader) = Input::open(file).with_context(|| name(index))?.with_hosts() else {
            let what = "is a recording of perf's; make a dump of it first: exitlat report --write-dump";
            return Err(Usage(format!("{} {what}", file.display())).into());
        };
        readers.push(*reader);
    }
    let output = Output::open(&args.output, args.force)?;
    let merged = merge(&mut readers, TOOL, output).map_err(|failure| match failure {
        Failure::Read(index, error) => anyhow!(error).context(name(index)),
        Failure::Write(error) => anyhow!(error).context(format!("cannot write {}", args.output.display())),
        Failure::Merge(error) => anyhow!(error),
    });
    let (merged, output) = merged?;
    output.finish(args.force)?;
    for (file, reader) in args.files.iter().zip(&readers) {
        for note in reader.notes() {
            eprintln!("exitlat: {}: {note}", file.display());
        }
    }
    eprintln!(
        "exitlat: {} from {}, {} KiB in {}",
        units::plural(merged.intervals as usize, "interval"),
        units::plural(readers.len(), "dump"),
        merged.bytes.div_ceil(1024),
        args.output.display(),
    );
    Ok(DONE)
}

/// Where the merged dump goes. A file appears under its name when it is complete, not before.
enum Output<'a> {
    /// A new file beside the place it will take.
    New { path: &'a Path, file: BufWriter<NamedTempFile> },
    /// Standard output, a pipe, a device.
    Stream(Box<dyn Write>),
}

impl<'a> Output<'a> {
    fn open(path: &'a Path, force: bool) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stream(Box::new(io::stdout())));
        }
        match fs::metadata(path) {
            Ok(old) if !old.is_file() => {
                let file = OpenOptions::new().write(true).open(path);
                let file = file.with_context(|| format!("cannot open {}", path.display()))?;
                return Ok(Self::Stream(Box::new(file)));
            }
            Ok(_) if !force => return Err(exists(path)),
            _ => {}
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let mut builder = Builder::new();
        builder.prefix(".exitlat-merge-").permissions(Permissions::from_mode(0o666));
        let file = builder.tempfile_in(directory);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self::New { path, file: BufWriter::new(file) })
    }

    fn finish(self, force: bool) -> Result<()> {
        let Self::New { path, file } = self else { return Ok(()) };
        let cannot_write = || format!("cannot write {}", path.display());
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(cannot_write)?;
        let placed = if force { file.persist(path) } else { file.persist_noclobber(path) };
        match placed {
            Ok(_) => Ok(()),
            // It has come while the dumps were merged.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
            Err(error) => Err(error.error).with_context(cannot_write),
        }
    }
}

fn exists(path: &Path) -> anyhow::Error {
    Usage(format!("{} exists; use --force to overwrite it", path.display())).into()
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::New { file, .. } => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            // Nobody reads it before it is complete.
            Self::New { .. } => Ok(()),
            Self::Stream(stream) => stream.flush(),
        }
    }
}
