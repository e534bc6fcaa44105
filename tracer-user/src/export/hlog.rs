//! HdrHistogram's interval log, version 1.3: a compressed V2 histogram for each interval and group, in ns.
//!
//! Each interval begins with a line without a tag: all handled exits, for tools that know no tags. Lines with a
//! tag follow, one for each group; together they hold the same exits, and the idle ones. A tag may not hold a
//! comma or a space; such and other unusual characters are percent-encoded in it.
//!
//! Start and base time are the start of the first interval; the times of the lines count from there, by the clock that
//! [`span`] says. Another host's interval
//! that began a little earlier stands there too.

use core::time::Duration;
use std::io::{self, Write};

use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag},
    },
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    export::{Export, hdr, origin, span},
    model::provenance::Header,
    model::{Group, GroupBy, Groups, Interval, Selection, Stats, Threads},
};

/// What a part of a tag does not hold as it is: separators of the log, and of tags.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b',').add(b'%').add(b'/').add(b'"').add(b'#').add(b'=');

/// The heading of the columns, as HdrHistogram's own writer prints it.
const LEGEND: &str = r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#;

/// Writes an interval log.
pub struct Hlog {
    header: Header,
    groups: Groups,
    histogram: Histogram<u64>,
    serializer: V2DeflateSerializer,
    /// What the times of the lines count from.
    base_ns: Option<u64>,
}

impl Hlog {
    /// A log with a tag for each group.
    pub fn new(header: Header, by: GroupBy) -> Self {
        let serializer = V2DeflateSerializer::new();
        Self { header, groups: Groups::new(by), histogram: hdr::empty(), serializer, base_ns: None }
    }

    fn head(&mut self, out: &mut dyn Write, start_unix_ms: u64) -> io::Result<()> {
        let start = format!("{}.{:03} (seconds since epoch)]", start_unix_ms / 1000, start_unix_ms % 1000);
        // The crate's own lines for these times take a clock's reading; there is no clock here.
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(&format!("[{}]", origin(&self.header)))
            .add_comment("[times of exits in nanoseconds]")
            .add_comment(&format!("[StartTime: {start}"))
            .add_comment(&format!("[BaseTime: {start}"))
            .begin_log_with(&mut Output(out), &mut self.serializer)?;
        writeln!(out, "{LEGEND}")
    }
}

impl Export for Hlog {
    fn interval(
        &mut self,
        out: &mut dyn Write,
        interval: &Interval,
        threads: &Threads,
        selection: &Selection,
    ) -> io::Result<()> {
        let (start_ns, end_ns) = span(&self.header, interval);
        let elapsed_ns = end_ns.saturating_sub(start_ns);
        let base_ns = match self.base_ns {
            Some(base_ns) => base_ns,
            None => {
                self.head(out, interval.start_unix_ms())?;
                *self.base_ns.insert(start_ns)
            }
        };
        self.groups.clear();
        self.groups.add(interval, threads, selection);
        let start = Duration::from_nanos(start_ns.saturating_sub(base_ns));
        let mut total = Stats::default();
        self.groups.exits().filter(|group| !group.key.idle).for_each(|group| total.merge(&group.stats));
        let tagged = self.groups.exits().map(|group| (Some(tag(group)), &group.stats));
        let mut counted = Output(out);
        let mut log = IntervalLogWriterBuilder::new().begin_log_with(&mut counted, &mut self.serializer)?;
        for (tag, stats) in [(None, &total)].into_iter().chain(tagged) {
            hdr::fill(&mut self.histogram, stats);
            let tag = tag.as_deref().map(|tag| Tag::new(tag).expect("what a tag cannot hold is encoded"));
            log.write_histogram(&self.histogram, start, Duration::from_nanos(elapsed_ns), tag).map_err(
                |error| match error {
                    IntervalLogWriterError::IoError(error) => error,
                    IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
                },
            )?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.base_ns.is_none() {
            self.head(out, self.header.start_unix_ms)?;
        }
        Ok(())
    }
}

/// The tag of a group: its words, with slashes between them.
pub fn tag(group: &Group) -> String {
    let mut words: Vec<String> =
        group.labels().iter().map(|word| utf8_percent_encode(word, ENCODED).to_string()).collect();
    if group.key.idle && group.key.reason.is_none() {
        words.push("idle".to_owned());
    }
    if words.is_empty() { "all".to_owned() } else { words.join("/") }
}

/// The crate wants a type of known size.
struct Output<'a>(&'a mut dyn Write);

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        decode::Isa,
        model::{Parts, groups::Key},
    };

    proptest! {
        /// Whatever a tenant calls a guest, its tag is one word that a log can hold, and comes back.
        #[test]
        fn every_name_makes_a_tag(name in any::<String>()) {
            let key = Key { idle: false, host: None, vm: Some((7, name.clone())), thread: None, reason: Some((Isa::SVM, 0x72)), cause: None };
            let stats = Stats::default();
            let group = Group { key, thread: None, stats, parts: Parts::default() };
            let tag = tag(&group);
            prop_assert!(Tag::new(&tag).is_some() && tag.bytes().all(|byte| byte.is_ascii_graphic()), "{tag}");
            let (vm, reason) = tag.split_once('/').unwrap();
            let decoded = percent_encoding::percent_decode_str(vm).decode_utf8().unwrap();
            prop_assert_eq!((&*decoded, reason), (&*format!("{name}[7]"), "cpuid"));
        }
    }
}
