//! `exitlat export`: a recording in the format of another tool.

use std::{fs, io::Write, path::Path};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use crate::{
    cli::{ExportArgs, ExportFormat, Location, NamesMode, Usage, location},
    cmd::{
        DONE,
        select::{self, Recorded},
    },
    export::{
        Export,
        folded::Folded,
        hdr, hgrm,
        hlog::Hlog,
        html::{Data, Html},
        long::{Form, Long},
        openmetrics::{self, OpenMetrics},
    },
    files::{AtomicOutput, Existing, Input, cannot_write},
    model::{
        GroupBy, HostId, Interval, NamedInterval, Names, Rows, Selection, Store, Threads, anonymize::Policy,
        provenance::Header,
    },
    render::units,
};

/// A key that is shorter can be guessed.
const SHORTEST_KEY: usize = 16;

/// Runs the command.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub fn run(args: &ExportArgs) -> Result<u8> {
    let format = format_of(args)?;
    if args.diff_base.is_some() && format != ExportFormat::Html {
        return Err(Usage("--diff-base is for html".to_owned()).into());
    }
    location::read_once(args.diff_base.iter().chain([&args.file]))?;
    let mut names = Names::new(policy(args)?);
    // Threads are chosen by their real names, so that only reasons are left to choose.
    let mut asked = Selection { fields: None, ..Selection::from(&args.select) };
    let files: Vec<_> = args.diff_base.iter().chain([&args.file]).collect();
    select::settle(&mut asked, &files)?;
    let base = match &args.diff_base {
        Some(base) => Some(page_data(base, args, &asked, &mut names)?),
        None => None,
    };
    let mut source = Source::open(&args.file, by_host(args))?;
    let header = source.header(&names);
    let rows = rows(args, format);
    let mut export: Box<dyn Export> = match format {
        ExportFormat::Hgrm => return curves(args, &asked, source, &mut names, rows),
        ExportFormat::Hlog => Box::new(Hlog::new(header, rows)),
        ExportFormat::Csv => Box::new(Long::new(header, rows, Form::Csv)),
        ExportFormat::Json => Box::new(Long::new(header, rows, Form::Json)),
        ExportFormat::Prometheus => Box::new(OpenMetrics::new(header, rows, openmetrics::Form::Prometheus)),
        ExportFormat::Openmetrics => Box::new(OpenMetrics::new(header, rows, openmetrics::Form::OpenMetrics)),
        ExportFormat::Folded => Box::new(Folded::new(rows)),
        ExportFormat::Html => Box::new(Html::new(Data::new(header, rows), base)),
    };
    let (to, existing) = (&args.output, Existing::forced(args.force));
    write(to, existing, |out| {
        source.each(&asked, &mut names, |interval| {
            export.interval(out, interval).with_context(|| cannot_write(to))
        })?;
        export.finish(out).with_context(|| cannot_write(to))
    })?;
    Ok(DONE)
}

/// Empty rows, grouped as asked for. Threads are chosen earlier, so that only reasons are left to choose.
fn rows(args: &ExportArgs, format: ExportFormat) -> Rows {
    let selection = Selection { fields: args.select.exits.fields.clone(), ..Selection::default() };
    Rows::new(args.by.unwrap_or_else(|| default_by(format))).with_selection(selection)
}

fn by_host(args: &ExportArgs) -> bool {
    args.by.is_some_and(|by| by.host) || !args.select.host.is_empty()
}

/// The grouping of a format unless another is asked for.
fn default_by(format: ExportFormat) -> GroupBy {
    let (vm, vcpu) = match format {
        ExportFormat::Csv | ExportFormat::Json => (true, true),
        ExportFormat::Prometheus | ExportFormat::Openmetrics | ExportFormat::Folded => (true, false),
        ExportFormat::Hlog | ExportFormat::Hgrm | ExportFormat::Html => (false, false),
    };
    GroupBy { vm, vcpu, ..GroupBy::REASON }
}

fn format_of(args: &ExportArgs) -> Result<ExportFormat> {
    let extension = args.output.path().and_then(Path::extension).and_then(|extension| extension.to_str());
    let known = || ExportFormat::EXTENSIONS.iter().find(|(name, _)| Some(*name) == extension);
    args.format.or_else(|| known().map(|(_, format)| *format)).ok_or_else(|| {
        let known = ExportFormat::EXTENSIONS.map(|(name, _)| format!(".{name}")).join(", ");
        Usage(format!("which format? Give --format, or -o FILE with one of the extensions {known}")).into()
    })
}

/// How names are anonymized; reads or makes the key.
fn policy(args: &ExportArgs) -> Result<Policy> {
    match (args.names, &args.names_key) {
        (NamesMode::Hash, None) => {
            let mut key = vec![0; 32];
            getrandom::fill(&mut key)
                .map_err(std::io::Error::from)
                .context("cannot make a key: the kernel gives no random numbers")?;
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

/// A recording that is read.
struct Source(Input);

impl Source {
    /// `hosts` are to be told apart, even if there is only one.
    fn open(location: &Location, hosts: bool) -> Result<Self> {
        let input = Input::open(location)?;
        Ok(Self(if hosts { input.with_hosts() } else { input }))
    }

    fn header(&self, names: &Names) -> Header {
        self.0.header().clone().with_names(names)
    }

    /// Gives each interval to `take`, with the names replaced.
    fn each(
        &mut self,
        asked: &Selection,
        names: &mut Names,
        mut take: impl FnMut(NamedInterval<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut interval = Interval::default();
        names.next_threads();
        while self.0.next_interval(&mut interval)? {
            let threads = self.0.threads();
            if asked.wants_host(interval.host.as_deref()) {
                narrow(&mut interval, threads, asked);
                names.counters(&mut interval);
                interval.host = interval.host.as_deref().map(|host| names.told_host(host));
                take(interval.with(names.threads(threads)))?;
            }
        }
        select::found(asked, &[Recorded { header: self.0.header(), threads: self.0.threads() }])?;
        self.0.print_notes();
        Ok(())
    }
}

/// Removes the cells and times of all other threads from an interval.
fn narrow(interval: &mut Interval, threads: &Threads, asked: &Selection) {
    let wanted = |thread: usize| asked.wants_thread(&threads.list[thread]);
    interval.cells.retain(|cell| wanted(cell.thread));
    interval.vcpus.retain(|vcpu| wanted(vcpu.thread));
    interval.open.retain(|open| wanted(open.thread));
    interval.last_exits.retain(|last| wanted(last.thread));
    let host = HostId::new(interval.host.as_deref());
    interval.counters.retain(|counter| asked.wants_counter(&host, &counter.id));
}

/// The data of a page for a whole recording.
fn page_data(location: &Location, args: &ExportArgs, asked: &Selection, names: &mut Names) -> Result<Data> {
    let mut source = Source::open(location, by_host(args))?;
    let mut data = Data::new(source.header(names), rows(args, ExportFormat::Html));
    source.each(asked, names, |interval| {
        data.add(interval);
        Ok(())
    })?;
    data.settle();
    Ok(data)
}

/// Percentile tables: one to a file or standard output, several to a directory.
fn curves(
    args: &ExportArgs,
    asked: &Selection,
    mut source: Source,
    names: &mut Names,
    mut rows: Rows,
) -> Result<u8> {
    let mut store = Store::keeping(usize::MAX);
    source.each(asked, names, |interval| {
        store.add(interval);
        Ok(())
    })?;
    rows.of_store(&store);
    let mut histogram = hdr::empty();
    let files = hgrm::file_names(rows.exits());
    let existing = Existing::forced(args.force);
    let directory = args
        .output
        .path()
        .filter(|path| path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/"));
    let Some(directory) = directory else {
        let [(_, row)] = files.as_slice() else {
            let rows = files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Usage(format!(
                "a percentile table holds one row, and there are {}: {rows}; choose one with -f, or give -o a directory",
                files.len()
            ))
            .into());
        };
        hdr::fill(&mut histogram, &row.stats);
        table(&args.output, existing, &histogram)?;
        return Ok(DONE);
    };
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for (name, row) in &files {
        hdr::fill(&mut histogram, &row.stats);
        table(&directory.join(name).as_path().into(), existing, &histogram)?;
    }
    say!("exitlat: {} in {}", units::plural(files.len(), "table"), directory.display());
    Ok(DONE)
}

/// Writes a percentile table.
fn table(to: &Location, existing: Existing, histogram: &Histogram<u64>) -> Result<()> {
    write(to, existing, |out| hgrm::print(out, histogram).with_context(|| cannot_write(to)))
}

/// Makes an output by `fill`.
fn write(to: &Location, existing: Existing, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut output = AtomicOutput::open(to, existing)?;
    fill(&mut output)?;
    output.finish()
}
