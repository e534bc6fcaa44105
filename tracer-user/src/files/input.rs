//! What `report` reads: a dump, or a recording of perf's, told apart by how they begin.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read as _},
    path::Path,
    time::UNIX_EPOCH,
};

use anyhow::{Context as _, Result};

use crate::{
    cmd::Usage,
    model::provenance::Header,
    model::{Interval, Threads},
    perfdata::{self, PerfData},
    recording::Reader,
};

/// How much of perf's file comes through a pipe: its formats stand behind its data, so all of it is held in memory.
const MAX_PIPED: u64 = 1 << 28;

/// Intervals from a file.
pub enum Input {
    /// Of a dump.
    Dump(Box<Reader<Box<dyn BufRead>>>),
    /// Of a recording, which is one interval; it has been given out or not.
    Perf(Box<PerfData>, bool),
}

impl Input {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// If it cannot be read, or is neither a dump nor a recording.
    pub fn open(path: &Path) -> Result<Self> {
        let piped = path.as_os_str() == "-";
        let file = if piped { None } else { Some(File::open(path)?) };
        let meta = file.as_ref().and_then(|file| file.metadata().ok());
        let written = meta.filter(|meta| meta.is_file()).and_then(|meta| meta.modified().ok());
        let written_ms = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let written_ms = written_ms.map_or(0, |since| since.as_millis() as u64);
        match file {
            None => Self::read(Box::new(io::stdin().lock()), None, written_ms),
            Some(file) => {
                let again = file.try_clone()?;
                Self::read(Box::new(BufReader::new(file)), Some(again), written_ms)
            }
        }
    }

    /// Decides by the beginning. `file` is the same input where it can be read from anywhere.
    fn read(mut input: Box<dyn BufRead>, file: Option<File>, written_ms: u64) -> Result<Self> {
        let beginning = input.fill_buf()?;
        if !perfdata::is_perf(beginning) {
            let reader = Reader::new(input)?;
            let has_end = file.is_some_and(|file| file.metadata().is_ok_and(|meta| meta.is_file()));
            return Ok(Self::Dump(Box::new(if has_end { reader.with_end() } else { reader })));
        }
        let recording = match file {
            _ if perfdata::is_stream(beginning) => perfdata::read_stream(input, written_ms)?,
            Some(file) if file.metadata()?.is_file() => {
                perfdata::read_file(BufReader::new(file), written_ms)?
            }
            _ => {
                let mut all = Vec::new();
                input.take(MAX_PIPED + 1).read_to_end(&mut all)?;
                if all.len() as u64 > MAX_PIPED {
                    return Err(Usage("a perf.data of more than 256 MiB must be given by name".into()).into());
                }
                perfdata::read_file(Cursor::new(all), written_ms)?
            }
        };
        Ok(Self::Perf(Box::new(recording), false))
    }

    /// Gives threads and intervals that name no host that of the header.
    #[must_use]
    pub fn with_hosts(self) -> Self {
        match self {
            Self::Dump(reader) => Self::Dump(Box::new(reader.with_hosts())),
            Self::Perf(mut recording, given) => {
                let host = Some(recording.header.host.clone());
                recording.interval.host.clone_from(&host);
                for thread in &mut recording.threads.list {
                    thread.host.clone_from(&host);
                }
                Self::Perf(recording, given)
            }
        }
    }

    /// Where it comes from.
    pub fn header(&self) -> &Header {
        match self {
            Self::Dump(reader) => reader.header(),
            Self::Perf(recording, _) => &recording.header,
        }
    }

    /// The threads seen so far.
    pub fn threads(&self) -> &Threads {
        match self {
            Self::Dump(reader) => reader.threads(),
            Self::Perf(recording, _) => &recording.threads,
        }
    }

    /// What is worth knowing about it. Complete after the last interval.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Dump(reader) => reader.notes(),
            Self::Perf(recording, _) => &recording.notes,
        }
    }

    /// Reads the next interval into `interval`; false at the end.
    ///
    /// # Errors
    /// See [`crate::recording::ReadError`].
    pub fn next_interval(&mut self, interval: &mut Interval) -> Result<bool> {
        match self {
            Self::Dump(reader) => Ok(reader.next_interval(interval)?),
            Self::Perf(recording, given) => {
                if !std::mem::replace(given, true) {
                    interval.clone_from(&recording.interval);
                    return Ok(true);
                }
                Ok(false)
            }
        }
    }
}

/// Names the file in an error.
///
/// # Errors
/// The one given, with the file's name.
pub fn named<T>(outcome: Result<T>, path: &Path) -> Result<T> {
    outcome.with_context(|| format!("cannot read {}", path.display()))
}
