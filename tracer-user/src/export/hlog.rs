//! HdrHistogram's interval log, version 1.3: a compressed V2 histogram for each interval and row, in ns.
//!
//! Each interval begins with a line without a tag: all handled exits, for tools that know no tags. Lines with
//! a tag follow, one for each row; together they hold the same exits, and the idle ones. A tag may not hold a
//! comma or a space; such and other unusual characters are percent-encoded in it.
//!
//! Start and base time are the start of the first interval; the times of the lines count from there, by the
//! clock that [`span`] says. Another host's interval that began a little earlier stands there too.
//!
//! HdrHistogram_c reads the lines before the first histogram into 128 bytes. It takes the rest of a longer
//! line for one that is neither comment nor histogram, and gives up. So long comments are broken.

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
    model::{NamedInterval, Row, Rows, Stats},
};

/// Characters that a part of a tag encodes: separators of the log, and of tags.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b',').add(b'%').add(b'/').add(b'"').add(b'#').add(b'=');

/// The heading of the columns, as HdrHistogram's own writer prints it.
const LEGEND: &str = r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#;

/// Bytes of a comment's text: with the marks around it and a line feed it fits into the 128 bytes that
/// HdrHistogram_c reads a line into, one of which ends the string.
const COMMENT_BYTES: usize = 120;

/// Writes an interval log.
pub struct Hlog {
    header: Header,
    rows: Rows,
    histogram: Histogram<u64>,
    serializer: V2DeflateSerializer,
    /// Start of the first interval, from which the times of the lines count.
    base_ns: Option<u64>,
}

impl Hlog {
    /// A log with a tag for each of these rows.
    pub fn new(header: Header, rows: Rows) -> Self {
        let serializer = V2DeflateSerializer::new();
        Self { header, rows, histogram: hdr::empty(), serializer, base_ns: None }
    }

    fn head(&mut self, out: &mut dyn Write, start_unix_ms: u64) -> io::Result<()> {
        let start = format!("{}.{:03} (seconds since epoch)]", start_unix_ms / 1000, start_unix_ms % 1000);
        // The crate's own lines for these times read a clock; there is no clock here.
        let mut log = IntervalLogWriterBuilder::new();
        log.add_comment("[Histogram log format version 1.3]");
        for line in comments(&format!("[{}]", origin(&self.header))) {
            log.add_comment(&line);
        }
        log.add_comment(
            "[Times of exits in nanoseconds; Interval_Max too, in place of the usual milliseconds]",
        )
        .add_comment(&format!("[StartTime: {start}"))
        .add_comment(&format!("[BaseTime: {start}"))
        .begin_log_with(&mut Output(out), &mut self.serializer)?;
        writeln!(out, "{LEGEND}")
    }
}

impl Export for Hlog {
    fn interval(&mut self, out: &mut dyn Write, of: NamedInterval<'_>) -> io::Result<()> {
        let interval = of.interval;
        let (start_ns, end_ns) = span(&self.header, interval);
        let elapsed_ns = end_ns.saturating_sub(start_ns);
        let base_ns = match self.base_ns {
            Some(base_ns) => base_ns,
            None => {
                self.head(out, interval.start_unix_ms())?;
                *self.base_ns.insert(start_ns)
            }
        };
        self.rows.of_interval(of);
        let start = Duration::from_nanos(start_ns.saturating_sub(base_ns));
        let mut total = Stats::default();
        self.rows.exits().filter(|row| !row.idle).for_each(|row| total.merge(&row.stats));
        let tagged = self.rows.exits().map(|row| (Some(tag(row)), &row.stats));
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

/// A text as comments of at most [`COMMENT_BYTES`], broken at spaces where there are any. Comments after the
/// first begin with a space: the log reads no word of theirs as one of its own comments, such as
/// `[StartTime:`.
fn comments(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let mut rest = word;
        while !rest.is_empty() {
            let line = lines.last_mut().expect("never empty");
            if line.len() + rest.trim_end().len() <= COMMENT_BYTES {
                line.push_str(rest);
                break;
            }
            // A word longer than a line is cut.
            if line.len() <= 1 {
                let (head, tail) = rest.split_at(rest.floor_char_boundary(COMMENT_BYTES - line.len()));
                line.push_str(head);
                rest = tail;
            }
            lines.push(" ".to_owned());
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// The tag of a row: its words, with slashes between them.
pub fn tag(row: &Row) -> String {
    let mut words: Vec<String> =
        row.labels().iter().map(|word| utf8_percent_encode(word, ENCODED).to_string()).collect();
    if row.idle && row.reason.is_none() {
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
        model::{Cell, GroupBy, Interval, Thread, Threads},
    };

    #[test]
    fn a_comment_is_broken_between_words() {
        assert_eq!(comments("[recorded on lab]"), ["[recorded on lab]"]);
        let model = "Intel(R) Xeon(R) Platinum 8480+ CPU @ 2.00GHz";
        let text = format!(
            "[recorded on node-17.example.com (Linux 6.12.48+deb13-amd64, kvm_intel, raw tracepoints, {model}) by exitlat 0.1.0]"
        );
        assert_eq!(
            comments(&text),
            [
                "[recorded on node-17.example.com (Linux 6.12.48+deb13-amd64, kvm_intel, raw tracepoints, Intel(R) Xeon(R) Platinum 8480+",
                " CPU @ 2.00GHz) by exitlat 0.1.0]"
            ]
        );
    }

    proptest! {
        /// Comments of any header are short, only the first may begin like one of the log's own, and nothing
        /// is lost.
        #[test]
        fn every_origin_fits(text in "[a-z é仮]{0,40}( [a-z仮é]{0,300}){0,5}") {
            let lines = comments(&text);
            prop_assert!(lines.iter().all(|line| line.len() <= COMMENT_BYTES), "{lines:?}");
            prop_assert!(lines.iter().skip(1).all(|line| line.starts_with(' ')), "{lines:?}");
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }

        /// The tag of any guest name is one word that a log can hold, and decodes to the name.
        #[test]
        fn every_name_makes_a_tag(name in any::<String>()) {
            let threads = Threads::from(vec![Thread { pid: 7, vm: name.clone(), ..Thread::default() }]);
            let cell = Cell { isa: Isa::SVM, code: 0x72, count: 1, ..Cell::default() };
            let interval = Interval { cells: vec![cell], ..Interval::default() };
            let mut rows = Rows::new(GroupBy { vm: true, ..GroupBy::REASON });
            rows.of_interval(interval.with(&threads));
            let tag = tag(rows.exits().next().unwrap());
            prop_assert!(Tag::new(&tag).is_some() && tag.bytes().all(|byte| byte.is_ascii_graphic()), "{tag}");
            let (vm, reason) = tag.split_once('/').unwrap();
            let decoded = percent_encoding::percent_decode_str(vm).decode_utf8().unwrap();
            prop_assert_eq!((&*decoded, reason), (&*format!("{name}[7]"), "cpuid"));
        }
    }
}
