//! `exitlat merge`: many recordings to one.

use anyhow::{Result, anyhow};

use crate::{
    cli::{MergeArgs, location},
    cmd::{DONE, TOOL},
    files::{AtomicOutput, Existing, Input, cannot_read, cannot_write, input},
    recording::merge::{Failure, merge},
    render::units,
};

/// Runs the command.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub fn run(args: &MergeArgs) -> Result<u8> {
    location::read_once(&args.files)?;
    let mut readers = Vec::new();
    for file in &args.files {
        readers.push(Input::open(file)?.with_hosts().into_recording()?);
    }
    let output = AtomicOutput::open(&args.output, Existing::forced(args.force))?;
    let merged = merge(&mut readers, TOOL, output).map_err(|failure| match failure {
        Failure::Read(index, error) => anyhow!(error).context(cannot_read(&args.files[index])),
        Failure::Write(error) => anyhow!(error).context(cannot_write(&args.output)),
        Failure::Merge(error) => anyhow!(error),
    });
    let (merged, output) = merged?;
    output.finish()?;
    for (file, reader) in args.files.iter().zip(&readers) {
        input::print_notes(file, reader.notes());
    }
    say!(
        "exitlat: {} from {}, {} KiB in {}",
        units::plural(merged.intervals as usize, "interval"),
        units::plural(readers.len(), "recording"),
        merged.bytes.div_ceil(1024),
        args.output,
    );
    Ok(DONE)
}
