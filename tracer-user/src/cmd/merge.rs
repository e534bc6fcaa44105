//! `exitlat merge`: many dumps to one.

use anyhow::{Context as _, Result, anyhow};

use crate::{
    cli::MergeArgs,
    cmd::{DONE, TOOL, Usage},
    files::{
        atomic::{Output, cannot_write},
        input::Input,
    },
    recording::merge::{Failure, merge},
    render::units,
};

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
            let what = "is a recording of perf's; make a dump of it first: exitlat report --save";
            return Err(Usage(format!("{} {what}", file.display())).into());
        };
        readers.push(*reader);
    }
    let output = Output::open(&args.output, args.force)?;
    let merged = merge(&mut readers, TOOL, output).map_err(|failure| match failure {
        Failure::Read(index, error) => anyhow!(error).context(name(index)),
        Failure::Write(error) => anyhow!(error).context(cannot_write(&args.output)),
        Failure::Merge(error) => anyhow!(error),
    });
    let (merged, output) = merged?;
    output.finish()?;
    for (file, reader) in args.files.iter().zip(&readers) {
        for note in reader.notes() {
            say!("exitlat: {}: {note}", file.display());
        }
    }
    say!(
        "exitlat: {} from {}, {} KiB in {}",
        units::plural(merged.intervals as usize, "interval"),
        units::plural(readers.len(), "dump"),
        merged.bytes.div_ceil(1024),
        args.output.display(),
    );
    Ok(DONE)
}
