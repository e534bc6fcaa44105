//! Where intervals come from: host, kernel and tool of a recording, of the sources of a merged one, and the
//! differences that make two recordings hard to compare.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The schema of recordings that is written, and the newest one read.
pub const SCHEMA: u32 = 3;

/// How samples were put in buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// `log-linear`.
    pub layout: String,
    /// Buckets per power of two are `1 << sub_bits`.
    pub sub_bits: u32,
    /// Values of `1 << max_bits` ns and more are in the last bucket.
    pub max_bits: u32,
    /// How `hist` is encoded.
    pub encoding: String,
}

impl Default for Buckets {
    fn default() -> Self {
        use tracer_ebpf::histogram::{MAX_BITS, SUB_BITS};
        Self {
            layout: "log-linear".into(),
            sub_bits: SUB_BITS,
            max_bits: MAX_BITS,
            encoding: "base 32 text".into(),
        }
    }
}

/// Where a recording comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct Header {
    pub schema: u32,
    pub tool: String,
    pub host: String,
    pub kernel: String,
    pub arch: String,
    pub cpu: String,
    pub backend: String,
    pub path: String,
    pub options: Vec<String>,
    pub start_unix_ms: u64,
    pub buckets: Buckets,
    #[serde(default)]
    pub parts: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub exit_stamp: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
}

/// A header with the present schema and buckets, and nothing else filled in.
impl Default for Header {
    fn default() -> Self {
        let none = String::new;
        Self {
            schema: SCHEMA,
            tool: none(),
            host: none(),
            kernel: none(),
            arch: none(),
            cpu: none(),
            backend: none(),
            path: none(),
            options: Vec::new(),
            start_unix_ms: 0,
            buckets: Buckets::default(),
            parts: Vec::new(),
            exit_stamp: none(),
            sources: Vec::new(),
        }
    }
}

/// One of the recordings that a merged recording was made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are specified in the module above")]
pub struct Source {
    pub start_unix_ms: u64,
    pub host: String,
    pub tool: String,
    pub kernel: String,
    pub arch: String,
    pub cpu: String,
    pub backend: String,
    pub path: String,
    pub options: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub exit_stamp: String,
}

/// A fact of a header that two recordings may differ in.
struct Fact {
    name: &'static str,
    get: fn(&Source) -> &str,
    /// Reasons of exits mean something else.
    incomparable: bool,
}

const STAMPED: &str = "exits stamped";

const FACTS: [Fact; 7] = [
    Fact { name: "architecture", get: |source| &source.arch, incomparable: true },
    Fact { name: "host", get: |source| &source.host, incomparable: false },
    Fact { name: "kernel", get: |source| &source.kernel, incomparable: false },
    Fact { name: "CPU", get: |source| &source.cpu, incomparable: false },
    Fact { name: "KVM backend", get: |source| &source.backend, incomparable: false },
    Fact { name: "path", get: |source| &source.path, incomparable: false },
    Fact { name: STAMPED, get: |source| &source.exit_stamp, incomparable: false },
];

/// Something in which two recordings differ, other than what was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Name of the fact that differs.
    pub what: &'static str,
    /// Value in the base; several values in alphabetical order.
    pub base: String,
    /// Value in the new recording.
    pub new: String,
    /// The numbers mean different things.
    pub incomparable: bool,
}

/// The sources of a recording: itself, or the recordings that were merged.
pub fn sources(header: &Header) -> Vec<Source> {
    if !header.sources.is_empty() {
        return header.sources.clone();
    }
    vec![Source {
        start_unix_ms: header.start_unix_ms,
        host: header.host.clone(),
        tool: header.tool.clone(),
        kernel: header.kernel.clone(),
        arch: header.arch.clone(),
        cpu: header.cpu.clone(),
        backend: header.backend.clone(),
        path: header.path.clone(),
        options: header.options.clone(),
        exit_stamp: header.exit_stamp.clone(),
    }]
}

/// The differences between two recordings, those that make them incomparable first.
pub fn differences(base: &Header, new: &Header) -> Vec<Difference> {
    let (base, new) = (sources(base), sources(new));
    let facts = FACTS.iter().map(|fact| {
        let of = |sources: &[Source]| joined(sources.iter().map(fact.get));
        Difference { what: fact.name, base: of(&base), new: of(&new), incomparable: fact.incomparable }
    });
    let options = |sources: &[Source]| joined(sources.iter().map(|source| options(&source.options)));
    let options =
        Difference { what: "options", base: options(&base), new: options(&new), incomparable: false };
    // Older recordings do not say where exits were stamped.
    let is_known = |it: &Difference| it.what != STAMPED || !(it.base.is_empty() || it.new.is_empty());
    facts
        .chain([options])
        .filter(|difference| difference.base != difference.new && is_known(difference))
        .collect()
}

/// The options that change what is measured: without the name of the file and what runs meanwhile.
fn options(words: &[String]) -> String {
    const FILE: [&str; 2] = ["-o", "--output"];
    let mut kept: Vec<&str> = Vec::new();
    let mut words = words.iter().map(String::as_str).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let names_file = |option: &str| {
            word.strip_prefix(option).is_some_and(|rest| rest.starts_with('=') || !option.starts_with("--"))
        };
        if FILE.contains(&word) {
            words.next();
        } else if word != "--force" && !FILE.iter().any(|option| names_file(option)) {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// The distinct values, joined.
pub fn joined(values: impl Iterator<Item = impl Into<String>>) -> String {
    values.map(Into::into).collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>().join(" + ")
}

/// Why recordings cannot become one.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Nothing to merge.
    #[error("there is nothing to merge")]
    Nothing,
    /// Samples would be counted twice.
    #[error(
        "{host}'s recording of {start_unix_ms} ms since 1970 (`{options}`) is in more than one of the dumps: its samples would be counted twice"
    )]
    Twice {
        /// Host of the source.
        host: String,
        /// Its start.
        start_unix_ms: u64,
        /// Its command line.
        options: String,
    },
    /// The header names all sources, and would be too long.
    #[error(
        "the dumps have {sources} sources, whose descriptions make a header longer than {most} bytes, which cannot be read: merge fewer at a time"
    )]
    Sources {
        /// Number of the sources.
        sources: usize,
        /// Longest line of a header.
        most: u64,
    },
    /// The buckets are cut in different ways.
    #[error("the dumps' histograms differ in layout: {0} and {1}; this version merges equal layouts only")]
    Layout(String, String),
}

/// The header of a merged recording; it does not depend on the order of the headers.
///
/// # Errors
/// See [`MergeError`].
pub fn merged<'a>(headers: impl Iterator<Item = &'a Header>, tool: &str) -> Result<Header, MergeError> {
    let (mut all, mut layout) = (Vec::new(), None::<&Buckets>);
    let mut parts = None::<Vec<String>>;
    for header in headers {
        let buckets = &header.buckets;
        if let Some(first) = layout.replace(buckets).filter(|first| *first != buckets) {
            let name = |buckets: &Buckets| format!("{} bits of {}", buckets.sub_bits, buckets.max_bits);
            return Err(MergeError::Layout(name(first), name(buckets)));
        }
        all.extend(sources(header));
        let both = |parts: Vec<String>| parts.into_iter().filter(|id| header.parts.contains(id)).collect();
        parts = Some(parts.map_or_else(|| header.parts.clone(), both));
    }
    all.sort();
    if let Some([Source { start_unix_ms, host, options, .. }, _]) =
        // Recordings without a start time cannot be told apart.
        all.array_windows().find(|[one, next]| one == next && one.start_unix_ms != 0)
    {
        let (host, start_unix_ms, options) = (host.clone(), *start_unix_ms, options.join(" "));
        return Err(MergeError::Twice { host, start_unix_ms, options });
    }
    let of = |get: fn(&Source) -> &str| joined(all.iter().map(get));
    Ok(Header {
        schema: SCHEMA,
        tool: tool.to_owned(),
        host: of(|source| &source.host),
        kernel: of(|source| &source.kernel),
        arch: of(|source| &source.arch),
        cpu: of(|source| &source.cpu),
        backend: of(|source| &source.backend),
        path: of(|source| &source.path),
        options: vec!["merge".to_owned()],
        start_unix_ms: all.first().ok_or(MergeError::Nothing)?.start_unix_ms,
        buckets: layout.ok_or(MergeError::Nothing)?.clone(),
        parts: parts.unwrap_or_default(),
        exit_stamp: of(|source| &source.exit_stamp),
        sources: all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(host: &str, options: &[&str]) -> Header {
        Header {
            schema: SCHEMA,
            tool: "exitlat".into(),
            host: host.into(),
            kernel: "6.1".into(),
            arch: "x86_64".into(),
            cpu: "a CPU".into(),
            backend: "kvm_amd".into(),
            path: "classic tracepoints".into(),
            options: options.iter().map(|word| (*word).to_owned()).collect(),
            start_unix_ms: 5,
            buckets: Buckets::default(),
            parts: Vec::new(),
            exit_stamp: String::new(),
            sources: Vec::new(),
        }
    }

    #[test]
    fn a_merged_header_does_not_depend_on_order() {
        let (a, b, c) = (header("a", &[]), header("b", &[]), header("c", &["x"]));
        let merge = |headers: &[&Header]| merged(headers.iter().copied(), "t").unwrap();
        let all = merge(&[&a, &b, &c]);
        assert_eq!(all, merge(&[&c, &a, &b]));
        assert_eq!(all, merge(&[&c, &merge(&[&b, &a])]));
        assert_eq!((all.host.as_str(), all.kernel.as_str(), all.sources.len()), ("a + b + c", "6.1", 3));
    }

    #[test]
    fn what_cannot_be_merged_is_refused() {
        let a = header("a", &["record"]);
        assert!(merged([&a, &a].into_iter(), "t").unwrap_err().to_string().contains("twice"));
        assert!(matches!(merged([].into_iter(), "t"), Err(MergeError::Nothing)));
        let mut fine = header("b", &[]);
        fine.buckets.sub_bits = 5;
        let error = merged([&a, &fine].into_iter(), "t").unwrap_err();
        assert!(error.to_string().contains("4 bits of 36 and 5 bits of 36"), "{error}");
    }

    #[test]
    fn what_differs_is_named() {
        let base = header("a", &["record", "-o", "base", "-d", "2", "--", "make"]);
        assert_eq!(differences(&base, &header("a", &["record", "-onew", "--force", "-d", "2"])), []);
        let mut new = header("b", &["record", "--output=new", "-d", "5"]);
        new.arch = "aarch64".into();
        let found = differences(&base, &new);
        assert_eq!(
            found.iter().map(|found| found.what).collect::<Vec<_>>(),
            ["architecture", "host", "options"]
        );
        assert!(found[0].incomparable && !found[1].incomparable);
        assert_eq!((found[2].base.as_str(), found[2].new.as_str()), ("record -d 2", "record -d 5"));
    }

    #[test]
    fn where_exits_are_stamped_is_named_where_both_sides_know() {
        let stamped = |at: &str| Header { exit_stamp: at.into(), ..header("a", &[]) };
        let (early, late) = (stamped("before interrupts"), stamped("after interrupts"));
        let found = differences(&late, &early);
        assert_eq!(found.iter().map(|found| found.what).collect::<Vec<_>>(), ["exits stamped"]);
        assert!(!found[0].incomparable);
        assert_eq!([&found[0].base, &found[0].new], ["after interrupts", "before interrupts"]);
        assert_eq!(differences(&early, &early), []);
        assert_eq!(differences(&stamped(""), &early), []);
    }
}
