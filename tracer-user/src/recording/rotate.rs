//! Recording for days: begins new files, deletes old ones, and survives a full disk. Pure: a [`Store`] has
//! the files, the caller gives the times.
//!
//! A file is never touched again once the next one has begun. Each begins with its own header, so each can be
//! read alone. Files exceed the size asked for by at most one interval. An interval that could be written
//! only in part is cut off again.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

use crate::{
    model::{Interval, Loss, Losses, NamedInterval, Threads, calendar, clock, provenance::Header},
    recording::Writer,
};

/// Keeps the files of a recording.
pub trait Store {
    /// An open file.
    type File: Write;

    /// Begins a new file; its name ends with `suffix`, which is empty if there is only one file.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if a file of that name exists.
    fn create(&mut self, suffix: &str) -> io::Result<Self::File>;

    /// Deletes the file with that suffix.
    ///
    /// # Errors
    /// If the store fails.
    fn remove(&mut self, suffix: &str) -> io::Result<()>;

    /// Shortens a file to this many bytes.
    ///
    /// # Errors
    /// If that is not possible, as for a pipe.
    fn cut(&mut self, file: &mut Self::File, length: u64) -> io::Result<()>;

    /// Makes a file outlive a crash of the machine.
    ///
    /// # Errors
    /// If the store fails.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;
}

/// When a new file begins. Without size and age that happens on request only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchPolicy {
    /// The current file has this many bytes.
    pub size: Option<u64>,
    /// The current file is this old.
    pub age_ns: Option<u64>,
}

/// When a file is synced, so that it outlives a crash of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// After every interval.
    Interval,
    /// When a file is complete.
    #[default]
    Switch,
    /// When the kernel writes them.
    Never,
}

/// How a recording is divided into files and synced.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// When a new file begins; [`None`] records into one file.
    pub switch: Option<SwitchPolicy>,
    /// The newest files that are kept; [`None`] keeps all.
    pub max_files: Option<usize>,
    /// When files are synced.
    pub fsync: Fsync,
}

/// Outcome of writing an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the recording.
    Written,
    /// The disk is full, for the first time in a row: the interval is lost, the recording goes on.
    Full,
    /// The disk is still full.
    StillFull,
    /// It is in the recording, after this many that are not.
    WrittenAgain(u64),
}

/// Size of a recording, and what it lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Intervals written.
    pub intervals: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Files begun.
    pub files: u64,
    /// Intervals for which there was no room.
    pub lost_intervals: u64,
    /// The exits in them.
    pub lost_samples: u64,
    /// Lost intervals that the recording does not mention, because there was no room for their report either.
    pub untold_intervals: u64,
}

/// Intervals for which there was no room. The next interval that is written reports them.
#[derive(Debug, Default)]
struct Unwritten {
    intervals: u64,
    losses: Losses,
    clock: Option<clock::Change>,
    /// The newest such interval, empty and of no length.
    place: Interval,
}

impl Unwritten {
    fn add(&mut self, interval: &Interval, change: Option<clock::Change>) {
        self.intervals += 1;
        self.losses.merge(&interval.losses);
        self.losses.add(Loss::Unwritten, interval.exits());
        self.clock = clock::both(self.clock, change);
        let Interval { number, end_ns, end_unix_ms, known, .. } = *interval;
        let host = interval.host.clone();
        self.place =
            Interval { number, start_ns: end_ns, end_ns, end_unix_ms, known, host, ..Interval::default() };
    }

    fn told_in(&self, mut interval: Interval, change: Option<clock::Change>) -> Interval {
        interval.losses.merge(&self.losses);
        interval.clock = clock::both(self.clock, change);
        interval
    }
}

/// Writes intervals to one file after the other.
pub struct Recorder<S: Store> {
    store: S,
    plan: Plan,
    header: Header,
    /// [`None`] while there is no room for a new file.
    writer: Option<Writer<S::File>>,
    suffixes: VecDeque<String>,
    opened_ns: u64,
    unwritten: Unwritten,
    totals: Totals,
}

impl<S: Store> Recorder<S> {
    /// Begins the first file.
    ///
    /// # Errors
    /// If the store fails.
    pub fn begin(store: S, plan: Plan, header: Header, now_ns: u64) -> io::Result<Self> {
        let start_unix_ms = header.start_unix_ms;
        let mut recorder = Self {
            store,
            plan,
            header,
            writer: None,
            suffixes: VecDeque::new(),
            opened_ns: now_ns,
            unwritten: Unwritten::default(),
            totals: Totals::default(),
        };
        recorder.open(start_unix_ms, now_ns)?;
        Ok(recorder)
    }

    /// Writes an interval. Afterwards begins a new file if one is due or `asked` for. `change` is what the
    /// clocks did in the interval.
    ///
    /// # Errors
    /// If the store fails. A full disk is an error only for a recording of a single file.
    pub fn interval(
        &mut self,
        of: NamedInterval<'_>,
        change: Option<clock::Change>,
        asked: bool,
    ) -> io::Result<Outcome> {
        let interval = of.interval;
        let missing = self.unwritten.intervals;
        match self.write(of, change) {
            Ok(()) => {
                self.unwritten = Unwritten::default();
                self.totals.intervals += 1;
            }
            Err(error) if self.plan.switch.is_some() && is_full(&error) => {
                self.unwritten.add(interval, change);
                self.totals.lost_intervals += 1;
                self.totals.lost_samples += interval.exits();
                return Ok(if missing == 0 { Outcome::Full } else { Outcome::StillFull });
            }
            Err(error) => return Err(error),
        }
        if asked || self.due(interval.end_ns) {
            self.close("switched")?;
            match self.open(interval.end_unix_ms, interval.end_ns) {
                Err(error) if !is_full(&error) => return Err(error),
                // The next interval tries again.
                _ => {}
            }
        }
        Ok(if missing == 0 { Outcome::Written } else { Outcome::WrittenAgain(missing) })
    }

    /// Ends the last file. An interval of no length reports the losses since the last one that was written,
    /// if there is room for it.
    ///
    /// # Errors
    /// If the store fails.
    pub fn end(mut self, why: &str) -> io::Result<Totals> {
        if self.unwritten.intervals != 0 {
            let place = self.unwritten.place.clone();
            match self.write(place.with(&Threads::default()), None) {
                Ok(()) => {}
                Err(error) if is_full(&error) => self.totals.untold_intervals = self.unwritten.intervals,
                Err(error) => return Err(error),
            }
        }
        self.close(why)?;
        Ok(self.totals)
    }

    /// Whether a new file is due after an interval that ended then.
    fn due(&self, now_ns: u64) -> bool {
        let Some(when) = self.plan.switch else { return false };
        let bytes = self.writer.as_ref().map_or(0, Writer::bytes);
        when.size.is_some_and(|size| bytes >= size)
            || when.age_ns.is_some_and(|age| now_ns.saturating_sub(self.opened_ns) >= age)
    }

    fn write(&mut self, of: NamedInterval<'_>, change: Option<clock::Change>) -> io::Result<()> {
        let NamedInterval { interval, threads } = of;
        if self.writer.is_none() {
            self.open(interval.start_unix_ms(), interval.start_ns)?;
        }
        let writer = self.writer.as_mut().expect("just opened");
        let whole = writer.bytes();
        let written = if self.unwritten.intervals == 0 && change.is_none() {
            writer.interval(of)
        } else {
            writer.interval(self.unwritten.told_in(interval.clone(), change).with(threads))
        };
        if let Err(error) = written {
            // Cutting fails for a pipe, but a pipe has no full disk.
            let cut = self.store.cut(writer.get_mut(), whole);
            return Err(if is_full(&error) { cut.err().unwrap_or(error) } else { error });
        }
        if self.plan.fsync == Fsync::Interval
            && let Err(error) = self.store.sync(writer.get_mut())
        {
            if !is_full(&error) {
                return Err(error);
            }
            // Some file systems notice a full disk only at a sync. Bytes that may be missing count as lost.
            self.store.cut(writer.get_mut(), whole)?;
            writer.take_back(whole);
            return Err(error);
        }
        self.totals.bytes += writer.bytes() - whole;
        Ok(())
    }

    fn open(&mut self, unix_ms: u64, now_ns: u64) -> io::Result<()> {
        // Deleting comes first: on a full disk it makes room.
        if let Some(max) = self.plan.max_files {
            while self.suffixes.len() >= max {
                let oldest = self.suffixes.pop_front().unwrap_or_default();
                match self.store.remove(&oldest) {
                    // Another process may have deleted it.
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        let (file, suffix) = self.create(unix_ms)?;
        let header = Header { start_unix_ms: unix_ms, ..self.header.clone() };
        match Writer::new(file, header) {
            Ok(writer) => {
                self.totals.bytes += writer.bytes();
                self.totals.files += 1;
                self.opened_ns = now_ns;
                // Without a limit no file is deleted, so its name is not needed.
                if self.plan.max_files.is_some() {
                    self.suffixes.push_back(suffix);
                }
                self.writer = Some(writer);
                Ok(())
            }
            Err(error) => {
                // A file without a header is useless. Report the first error, not that of deleting.
                if self.plan.switch.is_some() {
                    let _ = self.store.remove(&suffix);
                }
                Err(error)
            }
        }
    }

    /// Creates a file named after `unix_ms`, or after the next ms at which the name is free.
    fn create(&mut self, unix_ms: u64) -> io::Result<(S::File, String)> {
        const TRIES: u64 = 1000;
        if self.plan.switch.is_none() {
            return Ok((self.store.create("")?, String::new()));
        }
        for later in 0..TRIES {
            let suffix = suffix(unix_ms + later);
            match self.store.create(&suffix) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return Ok((other?, suffix)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn close(&mut self, why: &str) -> io::Result<()> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let whole = writer.bytes();
        if let Err(error) = writer.finish(why) {
            if !is_full(&error) {
                return Err(error);
            }
            // The file is readable without its end line.
            self.store.cut(writer.get_mut(), whole)?;
        }
        self.totals.bytes += writer.bytes() - whole;
        if self.plan.fsync == Fsync::Never { Ok(()) } else { self.store.sync(writer.get_mut()) }
    }
}

/// Whether the disk or a quota is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The end of a file's name: `.20261121T140507.042Z`, which sorts by time.
///
/// ```
/// # use tracer_user::recording::rotate::suffix;
/// assert_eq!(suffix(951_827_696_042), ".20000229T123456.042Z");
/// ```
pub fn suffix(unix_ms: u64) -> String {
    format!(".{}Z", calendar::compact(unix_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        for (unix_ms, text) in [
            (0, ".19700101T000000.000Z"),
            (68_256_000_000, ".19720301T000000.000Z"),
            (1_709_164_799_999, ".20240228T235959.999Z"),
            (1_735_689_600_000, ".20250101T000000.000Z"),
            (4_107_542_400_000, ".21000301T000000.000Z"),
        ] {
            assert_eq!(suffix(unix_ms), text);
        }
    }
}
