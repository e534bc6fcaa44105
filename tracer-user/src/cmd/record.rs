//! `exitlat record`: intervals to a dump.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::ExitStatus,
};

use anyhow::{Context as _, Result};

use crate::{
    cli::RecordArgs,
    cmd::{
        DONE, Usage,
        drive::{Schedule, Why, drive},
        live, select,
    },
    kernel::host::{self, Host},
    model::Losses,
    recording::{
        SCHEMA, Writer,
        lines::{Buckets, Header},
    },
    render::units,
};

/// Runs it.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub async fn run(args: RecordArgs) -> Result<u8> {
    let pids = select::pids(&args.trace)?;
    // Before anything is attached: a name that cannot be written costs nothing. Nor does it cost an older dump
    // anything until tracing works and the command runs.
    let output = Output::open(&args.output, args.force)?;
    let mut session = live::start(&args.trace, pids)?;
    let child = spawn(&args.command)?;
    let output = output.begin().with_context(|| cannot_write(&args.output))?;
    let mut writer =
        Writer::new(output, header(session.path())).with_context(|| cannot_write(&args.output))?;
    if args.command.is_empty() && args.trace.duration.is_none() {
        eprintln!("exitlat: recording to {}; Ctrl-C ends it", args.output.display());
    }
    let schedule = Schedule {
        display: args.trace.display.0,
        duration: args.trace.duration.map(|span| span.0),
        count: None,
        child,
    };
    let (mut losses, mut samples) = (Losses::default(), 0);
    let why = drive(&mut session, schedule, |session, interval| {
        losses.merge(&interval.losses);
        samples += interval.cells.iter().filter(|cell| cell.detail == 0).map(|cell| cell.count).sum::<u64>();
        writer.interval(interval, session.roster()).with_context(|| cannot_write(&args.output))
    })
    .await?;
    let (intervals, bytes) = (writer.intervals(), writer.bytes());
    writer.end(why.word()).with_context(|| cannot_write(&args.output))?;
    eprintln!(
        "exitlat: {samples} samples in {}, {} KiB in {}; losses: {losses}",
        units::plural(intervals as usize, "interval"),
        bytes.div_ceil(1024),
        args.output.display(),
    );
    Ok(match why {
        Why::Command(status) => status_of(status),
        _ => DONE,
    })
}

/// A command's status as a shell gives it: 128 + N after signal N.
fn status_of(status: ExitStatus) -> u8 {
    let number = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write to {}; what is there up to here stays readable", path.display())
}

/// Where the dump goes. Until [`Output::begin`] an older dump is untouched, and a new file goes away again.
struct Output<'a> {
    /// None is standard output.
    file: Option<File>,
    /// The file is new and has nothing in it yet.
    remove: Option<&'a Path>,
}

impl<'a> Output<'a> {
    fn open(path: &'a Path, force: bool) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self { file: None, remove: None });
        }
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self { file: Some(file), remove: Some(path) }),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("cannot create {}", path.display()))
            }
            Err(_) if force => {
                let file = OpenOptions::new().write(true).open(path);
                let file = file.with_context(|| format!("cannot open {}", path.display()))?;
                Ok(Self { file: Some(file), remove: None })
            }
            Err(_) => Err(Usage(format!("{} exists; use --force to overwrite it", path.display())).into()),
        }
    }

    fn begin(mut self) -> io::Result<Box<dyn Write>> {
        self.remove = None;
        let Some(file) = self.file.take() else { return Ok(Box::new(io::stdout())) };
        // Devices and pipes have no length.
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        Ok(Box::new(file))
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.remove {
            // If it cannot be removed, `--force` overwrites it.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn header(path: &str) -> Header {
    let Host { name, kernel, arch, cpu, backend } = Host::read();
    Header {
        schema: SCHEMA,
        tool: concat!("exitlat ", env!("CARGO_PKG_VERSION")).to_owned(),
        host: name,
        kernel,
        arch,
        cpu,
        backend,
        path: path.to_owned(),
        options: std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
        start_unix_ms: host::unix_ms(),
        buckets: Buckets::default(),
    }
}

fn spawn(command: &[String]) -> Result<Option<tokio::process::Child>> {
    let Some((program, arguments)) = command.split_first() else { return Ok(None) };
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .spawn()
        .map_err(|error| Usage(format!("cannot run {program}: {error}")))?;
    Ok(Some(child))
}

/// Opens a dump for reading; `-` is standard input.
///
/// # Errors
/// Those of open(2).
pub(super) fn open_dump(path: &Path) -> Result<Box<dyn io::BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Box::new(io::BufReader::new(file)))
}
