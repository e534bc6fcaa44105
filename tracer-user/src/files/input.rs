//! A recording, or a perf.data, told apart by how they begin; either may be packed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read as _},
    time::UNIX_EPOCH,
};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Location, Usage},
    files::packed::Unpacked,
    files::{cannot_read, foreign, packed},
    model::{Interval, Threads, provenance::Header},
    perfdata::{self, PerfData},
    recording::Reader,
    view::escape,
};

/// Limit in bytes of a perf.data that comes through a pipe, or packed. Its formats follow its data, so all of
/// it is held in memory.
const MAX_PIPED: u64 = 1 << 28;

/// Intervals from a file or from standard input.
pub struct Input {
    location: Location,
    content: Content,
}

enum Content {
    Recording(Box<Reader<Box<dyn BufRead>>>),
    PerfData(Box<OneInterval>),
}

/// All of a perf.data, which is one interval.
struct OneInterval {
    data: PerfData,
    /// The interval, until it has been given out.
    interval: Option<Interval>,
}

impl Input {
    /// Opens a file or standard input.
    ///
    /// # Errors
    /// Names the input: it cannot be read, or is neither a recording nor a perf.data.
    pub fn open(location: &Location) -> Result<Self> {
        let content = Content::open(location).with_context(|| cannot_read(location))?;
        Ok(Self { location: location.clone(), content })
    }

    /// Gives threads and intervals that name no host that of the header.
    #[must_use]
    pub fn with_hosts(self) -> Self {
        let content = match self.content {
            Content::Recording(reader) => Content::Recording(Box::new(reader.with_hosts())),
            Content::PerfData(mut whole) => {
                let host = Some(whole.data.header.host.clone());
                for thread in &mut whole.data.threads.list {
                    thread.host.clone_from(&host);
                }
                if let Some(interval) = &mut whole.interval {
                    interval.host = host;
                }
                Content::PerfData(whole)
            }
        };
        Self { content, ..self }
    }

    /// The reader of a recording, for uses that a perf.data does not allow.
    ///
    /// # Errors
    /// [`Usage`] for a perf.data.
    pub fn into_recording(self) -> Result<Reader<Box<dyn BufRead>>, Usage> {
        match self.content {
            Content::Recording(reader) => Ok(*reader),
            Content::PerfData(_) => Err(Usage(format!(
                "{} is a perf.data; make a recording of it first: exitlat report --save",
                self.location
            ))),
        }
    }

    /// The header, which tells where the input comes from.
    pub fn header(&self) -> &Header {
        match &self.content {
            Content::Recording(reader) => reader.header(),
            Content::PerfData(whole) => &whole.data.header,
        }
    }

    /// The threads seen so far.
    pub fn threads(&self) -> &Threads {
        match &self.content {
            Content::Recording(reader) => reader.threads(),
            Content::PerfData(whole) => &whole.data.threads,
        }
    }

    /// Notes for the user about the input. Complete after the last interval.
    pub fn notes(&self) -> &[String] {
        match &self.content {
            Content::Recording(reader) => reader.notes(),
            Content::PerfData(whole) => &whole.data.notes,
        }
    }

    /// Prints the notes to standard error, with the name of the input.
    pub fn print_notes(&self) {
        print_notes(&self.location, self.notes());
    }

    /// Reads the next interval into `interval`; false at the end.
    ///
    /// # Errors
    /// Names the input; see [`crate::recording::ReadError`].
    pub fn next_interval(&mut self, interval: &mut Interval) -> Result<bool> {
        match &mut self.content {
            Content::Recording(reader) => {
                reader.next_interval(interval).with_context(|| cannot_read(&self.location))
            }
            Content::PerfData(whole) => {
                let Some(whole) = whole.interval.take() else { return Ok(false) };
                *interval = whole;
                Ok(true)
            }
        }
    }
}

/// Prints notes about an input to standard error. They may quote the file, such as perf's options.
pub fn print_notes(location: &Location, notes: &[String]) {
    for note in notes {
        say!("exitlat: {location}: {}", escape::terminal(note));
    }
}

impl Content {
    fn open(location: &Location) -> Result<Self> {
        let Location::Path(path) = location else {
            return Self::read(Box::new(io::stdin().lock()), None, 0);
        };
        let file = File::open(path)?;
        if path.is_dir()
            && let Some(explained) = foreign::explain_directory(path)
        {
            return Err(explained);
        }
        let meta = file.metadata().ok().filter(std::fs::Metadata::is_file);
        let written = meta.and_then(|meta| meta.modified().ok());
        let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let again = file.try_clone()?;
        let written_ms = written.map_or(0, |since| since.as_millis() as u64);
        Self::read(Box::new(BufReader::new(file)), Some(again), written_ms)
    }

    /// Recognises the format by its beginning. `file` is the same input if it can be read at any offset.
    fn read(input: Box<dyn BufRead>, file: Option<File>, written_ms: u64) -> Result<Self> {
        let file = file.filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()));
        let ends = file.is_some();
        // A packed input has no offsets to seek to.
        let (mut input, file, too_large) = match packed::unpacked(input)? {
            Unpacked::Plain(input) => (input, file, "a perf.data of more than 256 MiB must be given by name"),
            Unpacked::From(input) => {
                (input, None, "a packed perf.data of more than 256 MiB must be unpacked first")
            }
        };
        let beginning = input.fill_buf()?;
        if !perfdata::is_perf(beginning) {
            if let Some(explained) = foreign::explain(beginning) {
                return Err(explained);
            }
            let reader = Reader::new(input)?;
            let reader = if ends { reader.with_end() } else { reader };
            return Ok(Self::Recording(Box::new(reader)));
        }
        let mut data = match file {
            _ if perfdata::is_stream(beginning) => perfdata::read_stream(input, written_ms)?,
            Some(file) => perfdata::read_file(BufReader::new(file), written_ms)?,
            None => {
                let mut all = Vec::new();
                input.take(MAX_PIPED + 1).read_to_end(&mut all)?;
                if all.len() as u64 > MAX_PIPED {
                    return Err(Usage::new(too_large).into());
                }
                perfdata::read_file(Cursor::new(all), written_ms)?
            }
        };
        let interval = Some(std::mem::take(&mut data.interval));
        Ok(Self::PerfData(Box::new(OneInterval { data, interval })))
    }
}
