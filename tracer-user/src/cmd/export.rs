//! `exitlat export`: a dump in the format of another tool.

use std::{
    fs::{self, File},
    io::{Read as _, Write},
    path::Path,
};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use crate::{
    cli::{ExportArgs, ExportFormat, NamesMode},
    cmd::{DONE, Usage, select},
    export::{
        Export, hdr, hgrm,
        hlog::Hlog,
        html::{Data, Html},
        long::{Form, Long},
        openmetrics::OpenMetrics,
    },
    files::{
        atomic::{Output, cannot_write},
        input::Input,
    },
    model::provenance::Header,
    model::{GroupBy, Interval, NamedInterval, Names, Rows, Selection, Store, Threads, anonymize::Policy},
};

/// A key that is shorter can be guessed.
const SHORTEST_KEY: usize = 16;

/// Runs it.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub fn run(args: &ExportArgs) -> Result<u8> {
    let format = format_of(args)?;
    if args.diff_base.is_some() && format != ExportFormat::Html {
        return Err(Usage("--diff-base is for html".to_owned()).into());
    }
    if args.by.is_some_and(|by| by.part) {
        return Err(Usage(
            "exports have the parts of each row as columns or labels: leave `part` out".to_owned(),
        )
        .into());
    }
    let mut names = Names::new(policy(args)?);
    let base = match &args.diff_base {
        Some(path) => Some(page_data(path, args, &mut names)?),
        None => None,
    };
    let mut source = Source::open(&args.file, by_host(args))?;
    let header = source.header(&names);
    let rows = rows(args, format);
    let mut export: Box<dyn Export> = match format {
        ExportFormat::Hgrm => return curves(args, source, &mut names, rows),
        ExportFormat::Hlog => Box::new(Hlog::new(header, rows)),
        ExportFormat::Csv => Box::new(Long::new(header, rows, Form::Csv)),
        ExportFormat::Json => Box::new(Long::new(header, rows, Form::Json)),
        ExportFormat::Openmetrics => Box::new(OpenMetrics::new(header, rows)),
        ExportFormat::Html => Box::new(Html::new(Data::new(header, rows), base)),
    };
    let path = args.output.as_deref().unwrap_or(Path::new("-"));
    write(path, args.force, |out| {
        source.each(args, &mut names, |interval| {
            export.interval(out, interval).with_context(|| cannot_write(path))
        })?;
        export.finish(out).with_context(|| cannot_write(path))
    })?;
    Ok(DONE)
}

/// Rows as asked for, none yet. Threads are chosen before, by their own names, whatever is shown; left are reasons.
fn rows(args: &ExportArgs, format: ExportFormat) -> Rows {
    let selection = Selection { fields: args.fields.clone(), ..Selection::default() };
    Rows::new(args.by.unwrap_or_else(|| default_by(format))).with_selection(selection)
}

fn by_host(args: &ExportArgs) -> bool {
    args.by.is_some_and(|by| by.host) || !args.host.is_empty()
}

/// What is told apart unless asked otherwise.
fn default_by(format: ExportFormat) -> GroupBy {
    let (vm, vcpu) = match format {
        ExportFormat::Csv | ExportFormat::Json => (true, true),
        ExportFormat::Openmetrics => (true, false),
        ExportFormat::Hlog | ExportFormat::Hgrm | ExportFormat::Html => (false, false),
    };
    GroupBy { vm, vcpu, ..GroupBy::REASON }
}

fn format_of(args: &ExportArgs) -> Result<ExportFormat> {
    let ending = args.output.as_deref().and_then(Path::extension).and_then(|ending| ending.to_str());
    let known = || ExportFormat::ENDINGS.iter().find(|(name, _)| Some(*name) == ending);
    args.format.or_else(|| known().map(|(_, format)| *format)).ok_or_else(|| {
        let endings: Vec<_> = ExportFormat::ENDINGS.iter().map(|(name, _)| format!(".{name}")).collect();
        Usage(format!(
            "which format? Give --format, or -o FILE with one of the endings {}",
            endings.join(", ")
        ))
        .into()
    })
}

/// What becomes of names; reads or makes the key.
fn policy(args: &ExportArgs) -> Result<Policy> {
    match (args.names, &args.names_key) {
        (NamesMode::Hash, None) => {
            let mut key = vec![0; 32];
            File::open("/dev/urandom")
                .and_then(|mut source| source.read_exact(&mut key))
                .context("cannot make a key from /dev/urandom")?;
            Ok(Policy::Hash(key))
        }
        (NamesMode::Hash, Some(path)) => {
            let mut key =
                fs::read(path).with_context(|| format!("cannot read the key {}", path.display()))?;
            if key.last() == Some(&b'\n') {
                key.pop();
            }
            if key.len() < SHORTEST_KEY {
                let what = format!("the key in {} has {} bytes", path.display(), key.len());
                return Err(Usage(format!("{what}; {SHORTEST_KEY} are needed")).into());
            }
            Ok(Policy::Hash(key))
        }
        (_, Some(_)) => Err(Usage("--names-key is for --names hash".to_owned()).into()),
        (NamesMode::Keep, None) => Ok(Policy::Keep),
        (NamesMode::None, None) => Ok(Policy::None),
    }
}

/// A dump that is read.
struct Source<'a> {
    path: &'a Path,
    reader: Input,
}

impl<'a> Source<'a> {
    /// `hosts` are to be told apart, even if there is only one.
    fn open(path: &'a Path, hosts: bool) -> Result<Self> {
        let mut reader = Input::open(path).with_context(|| unreadable(path))?;
        if hosts {
            reader = reader.with_hosts();
        }
        Ok(Self { path, reader })
    }

    fn header(&self, names: &Names) -> Header {
        self.reader.header().clone().with_names(names)
    }

    /// Gives each interval to `take`, with the names replaced.
    fn each(
        &mut self,
        args: &ExportArgs,
        names: &mut Names,
        mut take: impl FnMut(NamedInterval<'_>) -> Result<()>,
    ) -> Result<()> {
        let asked = Selection {
            vcpus: args.vcpu.clone(),
            pids: args.pid.clone(),
            hosts: args.host.clone(),
            guests: args.guest.clone(),
            fields: None,
        };
        let mut interval = Interval::default();
        names.next_threads();
        while self.reader.next_interval(&mut interval).with_context(|| unreadable(self.path))? {
            let threads = self.reader.threads();
            if asked.wants_host(interval.host.as_deref()) {
                narrow(&mut interval, threads, &asked);
                interval.host = interval.host.as_deref().map(|host| names.told_host(host));
                take(interval.with(names.threads(threads)))?;
            }
        }
        select::found(&asked, &[(self.reader.header(), self.reader.threads())])?;
        for note in self.reader.notes() {
            say!("exitlat: {}: {note}", self.path.display());
        }
        Ok(())
    }
}

/// Leaves in an interval what is of the chosen threads, and what is of none.
fn narrow(interval: &mut Interval, threads: &Threads, asked: &Selection) {
    let wanted = |thread: usize| asked.wants_thread(&threads.list[thread]);
    interval.cells.retain(|cell| wanted(cell.thread));
    interval.vcpus.retain(|vcpu| wanted(vcpu.thread));
    interval.open.retain(|open| wanted(open.thread));
}

fn unreadable(path: &Path) -> String {
    format!("cannot read the dump {}", path.display())
}

/// The data of a page for a whole dump.
fn page_data(path: &Path, args: &ExportArgs, names: &mut Names) -> Result<Data> {
    let mut source = Source::open(path, by_host(args))?;
    let mut data = Data::new(source.header(names), rows(args, ExportFormat::Html));
    source.each(args, names, |interval| {
        data.add(interval);
        Ok(())
    })?;
    data.settle();
    Ok(data)
}

/// Percentile tables: one to a file or standard output, several to a directory.
fn curves(args: &ExportArgs, mut source: Source<'_>, names: &mut Names, mut rows: Rows) -> Result<u8> {
    let mut store = Store::keeping(usize::MAX);
    source.each(args, names, |interval| {
        store.add(interval);
        Ok(())
    })?;
    rows.of_store(&store);
    let mut histogram = hdr::empty();
    let files = hgrm::file_names(rows.exits());
    let directory = args
        .output
        .as_deref()
        .filter(|path| path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/"));
    let Some(directory) = directory else {
        let [(_, row)] = files.as_slice() else {
            let rows = files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Usage(format!(
                "a percentile table holds one row, and here are {}: {rows}; choose one with -f, or give -o a directory",
                files.len()
            ))
            .into());
        };
        hdr::fill(&mut histogram, &row.stats);
        let path = args.output.as_deref().unwrap_or(Path::new("-"));
        table(path, args.force, &histogram)?;
        return Ok(DONE);
    };
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for (name, row) in &files {
        hdr::fill(&mut histogram, &row.stats);
        table(&directory.join(name), args.force, &histogram)?;
    }
    say!("exitlat: {} in {}", crate::render::units::plural(files.len(), "table"), directory.display());
    Ok(DONE)
}

/// A percentile table.
fn table(path: &Path, force: bool, histogram: &Histogram<u64>) -> Result<()> {
    write(path, force, |out| hgrm::print(out, histogram).with_context(|| cannot_write(path)))
}

/// Makes a file by `fill`, or writes to standard output.
fn write(path: &Path, force: bool, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut output = Output::open(path, force)?;
    fill(&mut output)?;
    output.finish()
}
